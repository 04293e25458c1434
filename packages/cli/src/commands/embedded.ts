/**
 * `everycore embedded` (not for people): an embedded cluster for the process that holds our stdin. Says on stdout, in
 * one JSON line, where it is or why there is none, and ends when stdin ends.
 */
import { loadConfig } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import { Command } from "commander";
import { parseCount } from "../input/values.ts";
import { Interrupts } from "../interrupts.ts";
import { startEmbeddedCluster } from "../local/embedded.ts";

interface EmbeddedFlags {
  readonly slots?: number;
  readonly quiet?: boolean;
}

export const embeddedCommand = (): Command =>
  new Command("embedded")
    .description("a cluster for the program that holds our stdin (used by the TypeScript client)")
    .option("--slots <count>", "workers at once", parseCount("--slots", { min: 1, max: 4096 }))
    .option("-q, --quiet", "no remarks on stderr")
    .action(embedded);

async function embedded(flags: EmbeddedFlags): Promise<void> {
  // Whoever started us may be gone at any time: what we say then goes nowhere, and our end is under way.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  using interrupts = new Interrupts("leave");
  const signal = AbortSignal.any([interrupts.signal, lifeline()]);
  try {
    const config = loadConfig({ flags: flags.slots === undefined ? {} : { slots: String(flags.slots) } });
    await using cluster = await startEmbeddedCluster({ config, quiet: flags.quiet ?? false, signal });
    const { address, secret, slots } = cluster;
    say({ ready: true, address, secret, slots });
    await new Promise((ended) => {
      signal.addEventListener("abort", ended, { once: true });
      if (signal.aborted) ended(undefined);
    });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof EverycoreError)) throw error;
    const { code, message, hint } = error;
    say({ ready: false, code, message, hint });
    process.exitCode = error.exitCode;
  }
}

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** Aborted when our stdin ends: the one who started us closed it, or died. */
function lifeline(): AbortSignal {
  const gone = new AbortController();
  const abort = (): void => gone.abort(new EverycoreError("cancelled", "the program is gone"));
  process.stdin.once("end", abort).once("error", abort).resume();
  return gone.signal;
}
