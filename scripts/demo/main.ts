/**
 * `npm run demo [-- --python | -- --exec] [--out FILE]`: a whole cluster on this machine (nats-server, one
 * coordinator, two agents, each a process) and one job on all cores. What it says goes to stderr; stdout has the
 * picture's path alone. Ctrl-C cancels the job and takes the cluster down; nothing is left behind.
 */
import { parseArgs } from "node:util";
import { EverycoreError } from "@everycore/protocol";
import { startTemporaryCluster } from "../temporary-cluster.ts";
import { gzipFiles } from "./gzip-files.ts";
import { drawPicture } from "./picture.ts";
import { rankPython } from "./python-files.ts";

const exitCodes = { good: 0, failed: 1, usage: 2, cancelled: 3, left: 130 } as const;
const agents = 2;

const usage = `npm run demo               a picture of the Mandelbrot set, 3840 x 2160
npm run demo -- --python   the most complex functions of Python's standard library
npm run demo -- --exec     what gzip -9 saves in node_modules
                --out FILE where the picture goes (default ./everycore-demo.png)
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const flags = readFlags();
  if (flags === undefined) return exitCodes.usage;
  if (flags.help) {
    process.stdout.write(usage);
    return exitCodes.good;
  }
  const demo = flags.python ? rankPython : flags.exec ? gzipFiles : drawPicture;
  const say = (text: string): void => void process.stderr.write(text);
  const interrupted = new AbortController();
  const interrupt = (): void => {
    if (interrupted.signal.aborted) process.exit(exitCodes.left); // the cluster holds our pipes and ends with us
    say("\nending; once more to leave at once\n");
    interrupted.abort(new EverycoreError("cancelled", "interrupted"));
  };
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  const { signal } = interrupted;
  try {
    const startedAt = performance.now();
    await using local = await startTemporaryCluster({
      agents,
      say: (line) => say(`${line}\n`),
      signal,
    });
    const { cluster, slots } = local;
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(2);
    say(`nats-server, a coordinator and ${agents} agents with ${slots} cores are up after ${seconds} s\n`);
    await demo({ cluster, slots, out: flags.out, say, signal });
    return exitCodes.good;
  } catch (error) {
    if (signal.aborted) return exitCodes.cancelled;
    const { message } = error as Error;
    const hint = error instanceof EverycoreError && error.hint !== "" ? `  ${error.hint}\n` : "";
    say(`demo: ${message}\n${hint}`);
    return exitCodes.failed;
  }
}

function readFlags(): { python: boolean; exec: boolean; help: boolean; out: string | undefined } | undefined {
  try {
    const { values } = parseArgs({
      options: {
        python: { type: "boolean", default: false },
        exec: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
        out: { type: "string" },
      },
    });
    if (values.python && values.exec) throw new Error("one demo at a time: --python or --exec");
    return { ...values, out: values.out };
  } catch (error) {
    process.stderr.write(`demo: ${(error as Error).message}\n${usage}`);
    return undefined;
  }
}
