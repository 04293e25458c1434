/** `everycore map --inline`: the whole map in the command's own process, for debuggers and profilers. */
import { writeSync } from "node:fs";
import inspector from "node:inspector";
import { randomBytes } from "node:crypto";
import { dirname, resolve } from "node:path";
import { codeFields, endedItems, failedItems, loadTask, parseTaskName } from "@everycore/client/internal";
import type { JobInfo, Outcome, OutcomeList } from "@everycore/client/internal";
import type { Debugging } from "@everycore/node-agent/local";
import { EverycoreError } from "@everycore/protocol";
import { exitCodeOf, exitCodes, Interrupted } from "../failure.ts";
import { isHalted } from "../halt.ts";
import { debuggingOf } from "../here/debugging.ts";
import { InlineJob } from "../here/inline-job.ts";
import type { InlineOptions } from "../here/inline-job.ts";
import { itemRuns } from "../here/inline-items.ts";
import { Place } from "../here/place.ts";
import { Tally } from "../here/tally.ts";
import { TaskPrints } from "../here/task-prints.ts";
import { Interrupts } from "../interrupts.ts";
import { emptyReductionLine, printerOf, reductionLine } from "../terminal/outcome-lines.ts";
import { Progress, progressStyle } from "../terminal/progress.ts";
import { openSink, Sink } from "../terminal/sink.ts";
import { FirstFailure, sayFailures } from "../terminal/summary.ts";
import type { InlineFlags } from "./inline-flags.ts";
import { inputOf, specOf } from "./submit-flags.ts";
import type { JobInput } from "../input/job-input.ts";
import type { SubmitFlags } from "./submit-flags.ts";

export interface MapInlineFlags extends SubmitFlags, InlineFlags {
  readonly values?: boolean;
  readonly reduce?: string;
  readonly strict?: boolean;
  readonly python?: string | undefined;
}

export async function mapInline(task: string, given: MapInlineFlags): Promise<number> {
  const flags = withWholePaths(given);
  const input = inputOf(flags);
  const code = await loadTask({ task, reduce: flags.reduce, python: flags.python });
  const debugging = debuggingOf(flags, code.runtime);
  if (debugging?.kind === "inspect") openInspector(debugging);
  const { python } = flags;
  const fields = { ...codeFields(code), ...(python === undefined ? {} : { python }) };
  const spec = specOf({ flags, input, name: task, strict: flags.strict ?? false, task: fields });
  const job = randomBytes(10).toString("hex"); // no cluster knows it; tasks may ask for it
  const tally = new Tally(job, spec);
  try {
    const isInspected = inspector.url() !== undefined && code.runtime === "js";
    const sourceFolder = isInspected ? dirname(resolve(parseTaskName(task).path)) : undefined;
    await using place = await Place.make(code.bundle, sourceFolder);
    return await follow({ place, spec, tally, job, debugging, input, flags });
  } finally {
    leaveSoon();
  }
}

type Following = Pick<InlineOptions, "place" | "spec" | "tally" | "job" | "debugging"> & {
  readonly input: JobInput;
  readonly flags: MapInlineFlags;
};

async function follow({ input, flags, ...what }: Following): Promise<number> {
  const { tally, debugging } = what;
  const quiet = flags.quiet ?? false;
  using interrupts = interruptsFor(debugging);
  const signal = interrupts?.signal ?? new AbortController().signal;
  const first = new FirstFailure();
  let reduction: Outcome | undefined;
  let outputGone: AbortSignal;
  {
    using prints = new TaskPrints({ quiet });
    await using sink =
      flags.out === undefined
        ? new Sink(prints.stdout, { name: "stdout", isOwned: false })
        : openSink(flags.out);
    outputGone = sink.gone;
    using progress = new Progress(
      progressStyle(flags.progress, { quiet, isTerminal: process.stderr.isTTY, ci: process.env["CI"] }),
    );
    const write = printerOf(sink, { valuesOnly: flags.values === true, first });
    const print = async (outcomes: OutcomeList): Promise<void> => {
      progress.clear(); // results and the line may share the terminal
      if (flags.reduce === undefined) await write(outcomes);
      else [reduction] = outcomes;
    };
    await using inline = new InlineJob({
      ...what,
      halt: flags.halt,
      onPrint: (data) => void process.stderr.write(data),
      signal: AbortSignal.any([signal, outputGone]),
      onProgress: () => progress.update(tally.info),
      print,
    });
    using _guard = new ExitGuard(what.place, () => (signal.aborted ? undefined : inline.runningCode));
    const end = await inline.run(itemRuns(input, signal)).catch((error: unknown) => {
      if (error instanceof Interrupted || signal.aborted || outputGone.aborted) return "interrupted" as const;
      throw error;
    });
    if (end === "interrupted") tally.state = "cancelled";
    else if (flags.reduce !== undefined && tally.state === "done")
      sink.add(combined(tally, reduction, flags));
  }
  const { info } = tally;
  if (!quiet && !outputGone.aborted) sayEnd(info, first);
  if (flags.reduce === undefined || info.state !== "done") return exitCodeOf(info);
  const isWhole = info.missing === 0 && reduction?.isValue !== false;
  return isWhole ? exitCodes.good : exitCodes.itemsFailed;
}

/** The working directory becomes a worker's, its scratch folder. */
function withWholePaths(flags: MapInlineFlags): MapInlineFlags {
  const { items, eachLine, out } = flags;
  const whole = (path: string): string => (path === "-" ? path : resolve(path));
  return {
    ...flags,
    ...(items === undefined ? {} : { items: whole(items) }),
    ...(eachLine === undefined ? {} : { eachLine: whole(eachLine) }),
    ...(out === undefined ? {} : { out: resolve(out) }),
  };
}

/** Waits for a debugger. Before anything of ours answers Ctrl-C: Node waits without turning its loop. */
function openInspector({ port }: { port: number }): void {
  if (inspector.url() === undefined) inspector.open(port, "127.0.0.1");
  if (inspector.url() === undefined)
    throw new EverycoreError("conflict", `a debugger cannot be waited for at 127.0.0.1:${port}`, {
      hint: "choose another port with --inspect-port",
    });
  inspector.waitForDebugger();
}

/** A process that a debugger has stopped answers nobody: there Ctrl-C keeps what it does to any program. */
function interruptsFor(debugging: Debugging | undefined): Interrupts | undefined {
  if (inspector.url() !== undefined) return undefined;
  return debugging?.kind === "pdb" ? Interrupts.leavingCtrlC("cancel") : new Interrupts("cancel");
}

function combined(tally: Tally, reduction: Outcome | undefined, flags: MapInlineFlags): string {
  if (reduction === undefined) return emptyReductionLine;
  return reductionLine(reduction, { missing: tally.info.missing, valuesOnly: flags.values === true });
}

function sayEnd(info: JobInfo, first: FirstFailure): void {
  const total = info.total === 0 ? "" : ` of ${info.total}`;
  if (info.state === "failed") process.stderr.write(`everycore: the map failed: ${info.reason}\n`);
  else if (isHalted(info))
    process.stderr.write(
      `halted (${info.reason}): ${failedItems(info)} failed, ${endedItems(info)}${total} had ended\n`,
    );
  else if (info.state === "cancelled")
    process.stderr.write(`cancelled; ${endedItems(info)}${total} items had ended\n`);
  else sayFailures(info, { quiet: false, first });
}

/** In a worker it would be a crash of one item; here a task that ends its process ends the command, which says so. */
class ExitGuard implements Disposable {
  readonly #handle: (exitCode: number) => void;

  /** `running` names whose code runs, if any of the task does. */
  constructor(place: Place, running: () => string | undefined) {
    this.#handle = (exitCode) => {
      const code = running();
      place.removeNow();
      if (code === undefined) return;
      const isIdle = exitCode === 13; // Node's code for a promise that nothing is left to settle
      const how = isIdle ? "waits for what will never come" : `ended this process (exit code ${exitCode})`;
      writeSync(2, `everycore: ${code} ${how}: without --inline only a worker would have ended\n`);
      process.exitCode = exitCodes.itemsFailed;
    };
    process.on("exit", this.#handle);
  }

  [Symbol.dispose](): void {
    process.off("exit", this.#handle);
  }
}

/** Timers and servers that tasks have left do not keep the command; what is written is written. */
function leaveSoon(): void {
  setImmediate(() => process.stdout.write("", () => process.exit()));
}
