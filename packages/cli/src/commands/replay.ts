/** `everycore job replay`: one item of a job once more, on this machine, where it can be looked into. */
import type { Connection, ItemInput, JobInfo, Outcome } from "@everycore/client/internal";
import { codecs, EverycoreError, limits, packEntries, shortId } from "@everycore/protocol";
import type { TaskSpec } from "@everycore/protocol";
import { Command } from "commander";
import { exitCodes } from "../failure.ts";
import { withoutFiles } from "../files/returned.ts";
import { comparisonText } from "../here/comparison.ts";
import type { DebugFlags } from "../here/debugging.ts";
import type { Debugging } from "@everycore/node-agent/local";
import { debuggingOf, withDebugFlags } from "../here/debugging.ts";
import { Place } from "../here/place.ts";
import { crashOutcome, failedOutcome, outcomeOf } from "../here/records.ts";
import { Interrupts } from "../interrupts.ts";
import { isFree } from "../local/free-port.ts";
import { parseCount, parseDuration } from "../input/values.ts";
import type { ClusterFlags } from "../session.ts";
import { openSession, withClusterFlags } from "../session.ts";
import { readError, resultLine } from "../terminal/result-line.ts";
import { failureText } from "../terminal/summary.ts";

interface ReplayFlags extends ClusterFlags, DebugFlags {
  readonly item: number;
  readonly timeout?: number;
}

export const replayCommand = (): Command =>
  withDebugFlags(withClusterFlags(new Command("replay")))
    .description("run one item of a job again on this machine, as it was, without a record of it")
    .argument("<job>", "id of the job, or its first digits")
    .requiredOption(
      "--item <index>",
      "the item, as results name it: from 0",
      parseCount("--item", { min: 0, max: limits.jobItemsMax }),
    )
    .option(
      "--timeout <duration>",
      "end the item after so long (default: the job's own limit does not hold)",
      parseDuration,
    )
    .addHelpText(
      "after",
      `
The same input, code, seed and arguments; retries and limits of the job do not hold. Prints what the item gave as
map or run would, and says on stderr whether the cluster had the same.

Examples:
  everycore job replay 1a2b3c4d --item 4711
  everycore job replay 1a2b3c4d --item 4711 --inspect-brk
  everycore job replay 1a2b3c4d --item 4711 --pdb`,
    )
    .action(async (job: string, flags: ReplayFlags) => {
      process.exitCode = await replay(job, flags);
    });

async function replay(typed: string, flags: ReplayFlags): Promise<number> {
  using interrupts = flags.pdb === true ? Interrupts.leavingCtrlC("leave") : new Interrupts("leave");
  const { signal } = interrupts;
  await using session = await openSession(flags);
  const { cluster } = session;
  const input = await cluster.itemInput(typed, flags.item, { signal });
  const { bundle, runtime } = input.spec.task;
  const debugging = debuggingOf(flags, runtime);
  if (debugging?.kind === "inspect") await mustBeFree(debugging.port);
  const bytes = bundle === undefined ? undefined : await cluster.getBundle(bundle, { signal });
  await using place = await Place.make(bytes === undefined ? undefined : { digest: bundle!, bytes });
  const here = await runItem({ place, input, flags, debugging, signal });
  if (here === undefined) return exitCodes.itemsFailed;
  print(here, input.spec.task);
  if (flags.quiet !== true) {
    const info = await cluster.getJob(input.job, { signal });
    const there = await outcomeThere(cluster, info, here.index, signal);
    process.stderr.write(
      `item ${here.index} of job ${shortId(input.job)}: ${comparisonText(info, here, there)}\n`,
    );
  }
  return here.isValue ? exitCodes.good : exitCodes.itemsFailed;
}

/** Node itself would say that it is taken, and go on without a debugger. */
async function mustBeFree(port: number): Promise<void> {
  if (port === 0 || (await isFree("127.0.0.1", port))) return;
  throw new EverycoreError(
    "conflict",
    `port ${port} of this machine is taken: no debugger can be waited for`,
    {
      hint: "choose another one with --inspect-port; 0 lets the system choose",
    },
  );
}

interface Running {
  readonly place: Place;
  readonly input: ItemInput;
  readonly flags: ReplayFlags;
  readonly debugging: Debugging | undefined;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** undefined: the task cannot be loaded, which has been said. Once: `--retries` and limits of the job are for unattended runs. */
async function runItem({ place, input, flags, debugging, signal }: Running): Promise<Outcome | undefined> {
  const { job, spec, bytes } = input;
  const { item: index, timeout } = flags;
  const over = new AbortController();
  const limit = timeout === undefined ? undefined : setTimeout(() => over.abort(), timeout);
  const stop = AbortSignal.any([signal, over.signal]);
  const onPrint = (data: Buffer): void => void process.stderr.write(data);
  try {
    await using worker = await place.worker({
      task: spec.task,
      job,
      debugging,
      onPrint,
      isOwn: false,
      signal: stop,
    });
    const block = spec.codec === "range" ? {} : { block: packEntries([bytes]) };
    const range = { start: index, end: index + 1 };
    const end = await worker.run({ ...range, codec: codecs[spec.codec], ...block, reduced: false });
    signal.throwIfAborted();
    const [record] = end.records;
    if (record !== undefined) return outcomeOf(record);
    if (end.isDiskFull === true)
      throw new EverycoreError("internal", "the item's outcome cannot be written: the disk is full", {
        hint: "free some space where temporary files are, or set TMPDIR",
      });
    if (over.signal.aborted) return tooLong(index, timeout!);
    return crashOutcome(index, end.death ?? {}, "");
  } catch (error) {
    signal.throwIfAborted();
    if (over.signal.aborted) return tooLong(index, timeout!);
    const failure = place.loadFailure(error);
    if (failure === undefined) throw error;
    const { reason, info } = failure;
    const trace = info.trace === undefined ? "" : `${failureText({ ...info, stderrTail: "" })}\n`;
    process.stderr.write(
      `everycore: the task of job ${shortId(job)} cannot be loaded here: ${reason}\n${trace}`,
    );
    return undefined;
  } finally {
    clearTimeout(limit);
  }
}

const tooLong = (index: number, ms: number): Outcome =>
  failedOutcome(index, "timeout", { message: `ran longer than ${ms} ms` });

/** As `map` prints an item, or as `run` does. */
function print(outcome: Outcome, { runtime }: TaskSpec): void {
  if (outcome.isValue) {
    process.stdout.write(runtime === "exec" ? withoutFiles(outcome).payload : resultLine(outcome));
    return;
  }
  const error = readError(outcome);
  if (runtime !== "exec") {
    process.stdout.write(resultLine(outcome));
    process.stderr.write(`${failureText({ ...error, stderrTail: "" })}\n`); // its last words were shown already
    return;
  }
  if (error.stdout !== undefined) process.stdout.write(error.stdout);
  process.stderr.write(`item ${outcome.index}: ${error.message || error.kind}\n`);
}

/** What the cluster has of it at this moment. */
async function outcomeThere(
  cluster: Connection,
  info: JobInfo,
  index: number,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  if (info.reduced) return undefined;
  for await (const outcome of cluster.results(info.id, { from: index, follow: false, signal }))
    return outcome.index === index ? outcome : undefined;
  return undefined;
}
