/** `everycore map`: a function over items. */
import { checkTaskFile, codeFields, loadTask, parseTaskName } from "@everycore/client/internal";
import type { JobInfo } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import { Command } from "commander";
import { exitCodeOf, exitCodes } from "../failure.ts";
import { followJob, submitDetached } from "../follow-job.ts";
import { parsePythonVersion } from "../input/values.ts";
import type { Session } from "../session.ts";
import { configOf, openOrEmbed } from "../session.ts";
import { emptyReductionLine, printerOf, reductionLine } from "../terminal/outcome-lines.ts";
import type { Sink } from "../terminal/sink.ts";
import { openSink } from "../terminal/sink.ts";
import { showPrints } from "../terminal/prints.ts";
import { FirstFailure, sayFailures } from "../terminal/summary.ts";
import { checkInlineFlags, withInlineFlags } from "./inline-flags.ts";
import type { InlineFlags } from "./inline-flags.ts";
import { mapInline } from "./map-inline.ts";
import { cancelOnInterrupt, followFlags, inputOf, specOf, withSubmitFlags } from "./submit-flags.ts";
import type { SubmitFlags } from "./submit-flags.ts";

interface MapFlags extends SubmitFlags, InlineFlags {
  readonly values?: boolean;
  readonly reduce?: string;
  readonly strict?: boolean;
  readonly python?: string;
}

export const mapCommand = (): Command =>
  withInlineFlags(withSubmitFlags(new Command("map")))
    .description("run a function of a .ts, .js or .py file over items, on all cores")
    .argument("<file[:export]>", "the task; without :export the default export, or the only function")
    .option("--items <file>", "items are JSON values, one a line; - reads stdin")
    .option("--values", "print bare values and skip failures")
    .option("--reduce <export>", "combine all values with this function of two values")
    .option("--strict", "with --reduce: fail the job if an item has no value")
    .option(
      "--python <version>",
      "run a .py task with this Python, such as 3.11 (default: EVERYCORE_PYTHON, config, what a node has)",
      parsePythonVersion,
    )
    .addHelpText(
      "after",
      `
Results are JSON lines in item order: {"index":7,"value":...} or {"index":7,"error":{...}}.

Examples:
  everycore map square.ts --range 0-999
  everycore map words.py:count --each-line README.md --values
  tail -f events.jsonl | everycore map score.ts --items -
  everycore map sum.ts:square --range 1-1000 --reduce add
  everycore map score.ts --items events.jsonl --inline --inspect-brk`,
    )
    .action(async (task: string, flags: MapFlags, command: Command) => {
      checkInlineFlags(flags, command);
      process.exitCode = await map(task, flags);
    });

async function map(task: string, flags: MapFlags): Promise<number> {
  if (flags.strict === true && flags.reduce === undefined) {
    throw new EverycoreError("bad-input", "--strict means something only with --reduce");
  }
  if (flags.joblog !== undefined && flags.reduce !== undefined) {
    throw new EverycoreError(
      "bad-input",
      "--joblog has nothing to write with --reduce, which has one result",
    );
  }
  if (flags.audit !== undefined && flags.reduce !== undefined) {
    const message = "--audit does not go with --reduce, whose items have no values of their own to compare";
    throw new EverycoreError("bad-input", message, { hint: "leave one of them away" });
  }
  const input = inputOf(flags);
  const python = pythonWanted(task, flags);
  await checkTaskFile(parseTaskName(task).path);
  if (flags.inline === true) return await mapInline(task, { ...flags, python });
  using interrupts = cancelOnInterrupt(flags);
  const { signal } = interrupts;
  const unwanted = new AbortController();
  const opening = openOrEmbed(flags, AbortSignal.any([signal, unwanted.signal]));
  opening.catch(() => {}); // awaited below, after the task has been read
  const code = await loadTask({ task, reduce: flags.reduce, python }).catch(async (error: unknown) => {
    unwanted.abort(error);
    await (await opening.catch(() => undefined))?.[Symbol.asyncDispose]();
    throw error;
  });
  await using session = await opening;
  await session.cluster.putBundle(code.bundle, { signal });
  const spec = specOf({
    flags,
    input,
    name: task,
    strict: flags.strict ?? false,
    task: {
      ...codeFields(code),
      ...(python === undefined ? {} : { python }),
    },
  });
  const { cluster } = session;
  if (flags.detach === true) {
    process.stdout.write(`${await submitDetached({ cluster, spec, input, signal })}\n`);
    return exitCodes.good;
  }
  await using sink = openSink(flags.out);
  const first = new FirstFailure();
  const printing =
    flags.reduce === undefined
      ? { print: printerOf(sink, { valuesOnly: flags.values === true, first }) }
      : {};
  const follow = followFlags(flags);
  const info = await followJob({
    cluster,
    spec,
    input,
    signal,
    outputGone: sink.gone,
    ...follow,
    ...printing,
  });
  await showPrints(session, info, { ...follow, signal });
  if (flags.reduce !== undefined && !signal.aborted) return await printReduction(session, sink, info, flags);
  await sink.flush();
  sayFailures(info, { ...follow, first, isKept: !session.isEmbedded });
  return exitCodeOf(info);
}

/** A setting is for the .py tasks among all; a flag on another task is a mistake. */
function pythonWanted(task: string, flags: MapFlags): string | undefined {
  if (parseTaskName(task).path.endsWith(".py")) {
    const setting = configOf(flags).python;
    if (flags.python !== undefined || setting === undefined) return flags.python;
    return parsePythonVersion(setting.value);
  }
  if (flags.python === undefined) return undefined;
  throw new EverycoreError("bad-input", `--python means something only for a .py task, and ${task} is none`);
}

/** The reduction is an item of its own, with index = total (docs/decisions/0012). */
async function printReduction(session: Session, sink: Sink, info: JobInfo, flags: MapFlags): Promise<number> {
  const { missing, total } = info;
  let failed = info.state !== "done";
  if (total === 0) {
    sink.add(emptyReductionLine);
  } else if (info.state === "done") {
    for await (const outcome of session.cluster.results(info.id, { from: total, follow: false })) {
      if (outcome.index !== total) continue;
      failed ||= !outcome.isValue;
      sink.add(reductionLine(outcome, { missing, valuesOnly: flags.values === true }));
    }
  }
  await sink.flush();
  sayFailures(info, { quiet: flags.quiet ?? false });
  if (info.state === "cancelled") return exitCodes.cancelled;
  return failed || missing > 0 ? exitCodes.itemsFailed : exitCodes.good;
}
