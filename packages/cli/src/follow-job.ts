/**
 * A job that this command submitted, from its first block to its last result: input in, results out, progress on a
 * terminal, Ctrl-C cancels. What a result looks like is the caller's.
 *
 *  J1  input that turns out to be bad cancels the job: half a job that looks whole would be worse than none;
 *  J2  after a cancel nothing more is printed: a million "cancelled" lines help nobody.
 */
import { endedItems, failedItems, newRequestId } from "@everycore/client/internal";
import type { Connection, JobInfo, OutcomeList, Submission } from "@everycore/client/internal";
import { EverycoreError, isEnded, shortId } from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";
import type { JobInput } from "./input/job-input.ts";
import { Interrupted } from "./failure.ts";
import { Halting, isHalted } from "./halt.ts";
import type { Halt } from "./halt.ts";
import { JobLog } from "./joblog.ts";
import { Progress, progressStyle } from "./terminal/progress.ts";
import type { ProgressChoice } from "./terminal/progress.ts";

const cancelWithinMs = 5_000;

export interface FollowOptions {
  readonly cluster: Connection;
  readonly spec: JobSpec;
  readonly input: JobInput;
  readonly quiet: boolean;
  readonly unordered: boolean;
  readonly progress: ProgressChoice;
  readonly halt: Halt | undefined;
  /** File that gets a line for each item. */
  readonly joblog: string | undefined;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** Aborted when nobody reads our output any more. */
  readonly outputGone: AbortSignal;
  /** Gets the results; absent for reductions, which have one at the end. */
  readonly print?: (outcomes: OutcomeList) => Promise<void>;
}

/** Submits for good: resolves with the id once the whole input is durable. */
export async function submitDetached(
  options: Pick<FollowOptions, "cluster" | "spec" | "input" | "signal">,
): Promise<string> {
  const submission = submit(options, options.signal, true);
  try {
    return (await submission.closed).id;
  } catch (error) {
    await cancelBadInput(options.cluster, submission, error);
    throw error;
  }
}

/** Submits and follows; resolves with the job as it ended. */
export async function followJob(options: FollowOptions): Promise<JobInfo> {
  const { cluster, signal } = options;
  const over = new AbortController();
  const stop = AbortSignal.any([signal, options.outputGone, over.signal]);
  const { quiet } = options;
  const where = { quiet, isTerminal: process.stderr.isTTY, ci: process.env["CI"] };
  using progress = new Progress(progressStyle(options.progress, where));
  await using log =
    options.joblog === undefined
      ? undefined
      : new JobLog(options.joblog, { spec: options.spec, cluster, signal: stop });
  const halting = options.halt === undefined ? undefined : new Halting(options.halt, cluster);
  const submission = submit(options, stop, false, log);
  const watching = submission.accepted.then((job) =>
    watch({ cluster, job, progress, halting, signal: stop }),
  );
  try {
    const job = await submission.accepted;
    const failed = Promise.withResolvers<never>();
    submission.closed.catch(failed.reject);
    // Progress is a convenience, a halt is not.
    watching.catch((error: unknown) => (halting === undefined ? undefined : failed.reject(error)));
    const reading = readResults(options, { job, signal: stop, progress, log, halting });
    const info = await Promise.race([reading, failed.promise]);
    progress.clear();
    if (isHalted(info) && !quiet) sayHalted(info);
    return info;
  } catch (error) {
    progress.clear();
    if (signal.aborted || options.outputGone.aborted) return await cancelOnInterrupt(options, submission);
    await cancelBadInput(cluster, submission, error);
    throw await withWayBack(submission, error);
  } finally {
    over.abort(new EverycoreError("cancelled", "the command is over"));
    await watching.catch(() => {});
  }
}

function submit(
  options: Pick<FollowOptions, "cluster" | "spec" | "input">,
  signal: AbortSignal,
  detached: boolean,
  log?: JobLog,
): Submission {
  const { cluster, spec, input } = options;
  const source = input.source(signal);
  const items = source === undefined || log === undefined ? source : log.remember(source);
  return cluster.submit({
    requestId: newRequestId(),
    spec,
    detached,
    pipe: input.pipe,
    inputBytes: input.bytes,
    signal,
    ...(items === undefined ? {} : { items }),
  });
}

async function readResults(
  options: FollowOptions,
  reading: {
    job: string;
    signal: AbortSignal;
    progress: Progress;
    log: JobLog | undefined;
    halting: Halting | undefined;
  },
): Promise<JobInfo> {
  const { cluster, print, unordered } = options;
  const { job, signal, progress, log, halting } = reading;
  if (print === undefined) return cluster.waitJob(job, { signal });
  const results = cluster.results(job, { unordered, follow: true, signal });
  for await (const list of results.lists()) {
    progress.clear(); // results and the line may share the terminal
    // J2. What a halt has ended says so once, below.
    const own = halting?.isCancelling === true ? list.filter(({ status }) => status !== "cancelled") : list;
    await print(own);
    await log?.add(own);
  }
  // A reader may reach the last outcome a moment before the leader has written the job's end.
  return isEnded(results.end.state) ? results.end : cluster.waitJob(job, { signal });
}

async function watch(options: {
  cluster: Connection;
  job: string;
  progress: Progress;
  halting: Halting | undefined;
  signal: AbortSignal;
}): Promise<void> {
  const { cluster, job, progress, halting, signal } = options;
  if (!progress.isShown && halting === undefined) return;
  for await (const info of cluster.watchJob(job, { signal })) {
    progress.update(info);
    await halting?.see(info, signal);
  }
}

function sayHalted(info: JobInfo): void {
  const cancelled = info.counts?.cancelled ?? 0;
  const failed = failedItems(info) - cancelled;
  process.stderr.write(
    `job ${shortId(info.id)} halted (${info.reason}): ${failed} ${failed === 1 ? "item" : "items"} failed, ${cancelled} were not run\n`,
  );
}

/** J2. Whoever reads our output no more wants the job no more, as with any pipe. */
async function cancelOnInterrupt(options: FollowOptions, submission: Submission): Promise<JobInfo> {
  const { cluster, outputGone } = options;
  const limit = AbortSignal.timeout(cancelWithinMs);
  const job = await Promise.race([submission.accepted, submission.closed.then((info) => info.id)]).catch(
    () => undefined,
  );
  if (job === undefined) throw new Interrupted("cancel");
  await cluster.cancelJob(job, outputGone.aborted ? "its reader is gone" : "Ctrl-C", { signal: limit });
  const info = await cluster.waitJob(job, { signal: limit });
  const total = info.total === 0 ? "" : ` of ${info.total}`;
  const done = info.counts === null ? 0 : endedItems(info) - info.counts.cancelled;
  if (!options.quiet && !outputGone.aborted)
    process.stderr.write(`job ${shortId(job)} cancelled; ${done}${total} items had ended\n`);
  return info;
}

/** P3. A job outlives the command that follows it: whoever lost its cluster learns how to come back to it. */
async function withWayBack(submission: Submission, error: unknown): Promise<unknown> {
  if (!(error instanceof EverycoreError) || (error.code !== "unreachable" && error.code !== "no-leader"))
    return error;
  const job = await submission.accepted.catch(() => undefined);
  if (job === undefined) return error;
  const hint = `job ${shortId(job)} goes on where its cluster does; come back to it: everycore job results ${shortId(job)}`;
  return new EverycoreError(error.code, error.message, { hint, cause: error });
}

/** J1. */
async function cancelBadInput(cluster: Connection, submission: Submission, error: unknown): Promise<void> {
  if (!(error instanceof EverycoreError) || (error.code !== "bad-input" && error.code !== "over-limit"))
    return;
  const limit = AbortSignal.timeout(cancelWithinMs);
  const job = await submission.accepted.catch(() => undefined);
  if (job === undefined) return;
  const isCancelled = await cluster.cancelJob(job, "its input is bad", { signal: limit }).then(
    () => true,
    () => false, // it is closed or cancelled by the cluster once our stream is gone
  );
  if (isCancelled) process.stderr.write(`job ${shortId(job)} was cancelled: its input is bad\n`);
}
