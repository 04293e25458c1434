/** 2,000 x /bin/true: `everycore run` with its embedded start against GNU parallel and xargs, as a user would type. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onPath } from "../../packages/cli/src/local/child.ts";
import { coresHere } from "../../packages/cli/src/local/cores.ts";
import { atLeast, msText } from "../figure.ts";
import type { Figure, Row } from "../figure.ts";
import { median, percentile } from "../statistics.ts";

const command = fileURLToPath(new URL("../../packages/cli/bin/everycore.js", import.meta.url));
const items = 2_000;
const timesText = (factor: number): string => `${factor.toFixed(2)} x`;

type Contender = "everycore" | "parallel" | "xargs";

export const programs: Figure = {
  name: "programs",
  run: async ({ repeat, say, signal }) => {
    const folder = await mkdtemp(join(tmpdir(), "everycore-bench-"));
    try {
      const commands = contenders();
      if (commands.parallel === undefined) say("  GNU parallel is not installed here: it is left out");
      const measured: Record<Contender, number[]> = { everycore: [], parallel: [], xargs: [] };
      const environment = cleanEnvironment(folder);
      for (let turn = 0; turn < repeat; turn += 1) {
        for (const name of Object.keys(measured) as Contender[]) {
          const argv = commands[name];
          if (argv !== undefined) measured[name].push(await timeMs(argv, environment, signal));
        }
        const texts = (Object.keys(measured) as Contender[]).map(
          (name) => `${name} ${msText(measured[name].at(-1) ?? Number.NaN)}`,
        );
        say(`  ${turn + 1}/${repeat}: ${texts.join(", ")}`);
      }
      return { rows: rowsOf(measured), details: measured };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

function contenders(): Record<Contender, readonly string[] | undefined> {
  const jobs = String(coresHere().cores);
  const numbers = `seq ${items} |`;
  return {
    everycore: [process.execPath, command, "run", "--range", `1-${items}`, "--", "/bin/true", "{}"],
    parallel:
      onPath("parallel") === undefined
        ? undefined
        : ["sh", "-c", `${numbers} parallel --will-cite -j${jobs} /bin/true {}`],
    xargs: ["sh", "-c", `${numbers} xargs -P${jobs} -n1 /bin/true`],
  };
}

/** No running `up`, no configuration: each run starts its own cluster. */
function cleanEnvironment(folder: string): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = { ...process.env, XDG_RUNTIME_DIR: folder, XDG_CONFIG_HOME: folder };
  for (const name of Object.keys(environment)) if (name.startsWith("EVERYCORE_")) delete environment[name];
  return environment;
}

async function timeMs(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: ["ignore", "ignore", "pipe"],
    env: environment,
    signal,
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (data: string) => (errors = (errors + data).slice(-2_000)));
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code}: ${errors}`);
  return performance.now() - startedAt;
}

function rowsOf({ everycore, parallel, xargs }: Record<Contender, number[]>): Row[] {
  const what = "2,000 x /bin/true, embedded start included";
  const ours: Row = {
    what: `${what}: everycore run`,
    target: "",
    measured: msText(median(everycore)),
    ratio: Number.NaN,
    spread: `${msText(percentile(everycore, 0))} .. ${msText(percentile(everycore, 1))}`,
  };
  const against = (name: string, others: readonly number[]): Row[] => {
    if (others.length === 0) return [];
    const values = everycore.map((ms, turn) => (others[turn] ?? Number.NaN) / ms);
    const row = atLeast({ what: `${what}: faster than ${name}`, target: 2, values, text: timesText });
    return [name === "xargs" ? { ...row, target: "", ratio: Number.NaN } : row];
  };
  return [ours, ...against("GNU parallel", parallel), ...against("xargs", xargs)];
}
