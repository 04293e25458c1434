/**
 * A job that this command submitted, from its first block to its last result: input in, results out, progress on a
 * terminal, Ctrl-C cancels. What a result looks like is the caller's.
 *
 *  J1  input that turns out to be bad cancels the job: half a job that looks whole would be worse than none;
 *  J2  after a cancel nothing more is printed: a million "cancelled" lines help nobody.
 */
import { randomBytes } from "node:crypto";
import { endedItems } from "@everycore/client/internal";
import type { Connection, JobInfo, OutcomeList, Submission } from "@everycore/client/internal";
import { EverycoreError, isEnded, shortId } from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";
import type { JobInput } from "./commands/submit-flags.ts";
import { Interrupted } from "./failure.ts";
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
  const submission = submit(options, stop, false);
  const watching = submission.accepted
    .then((job) => watch({ cluster, job, progress, signal: stop }))
    .catch(() => {}); // a convenience
  try {
    const job = await submission.accepted;
    const failed = Promise.withResolvers<never>();
    submission.closed.catch(failed.reject);
    return await Promise.race([readResults(options, { job, signal: stop, progress }), failed.promise]);
  } catch (error) {
    progress.clear();
    if (signal.aborted || options.outputGone.aborted) return await cancelOnInterrupt(options, submission);
    await cancelBadInput(cluster, submission, error);
    throw await withWayBack(submission, error);
  } finally {
    over.abort(new EverycoreError("cancelled", "the command is over"));
    await watching;
  }
}

function submit(
  options: Pick<FollowOptions, "cluster" | "spec" | "input">,
  signal: AbortSignal,
  detached: boolean,
): Submission {
  const { cluster, spec, input } = options;
  const items = input.source(signal);
  return cluster.submit({
    requestId: randomBytes(16).toString("hex"),
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
  reading: { job: string; signal: AbortSignal; progress: Progress },
): Promise<JobInfo> {
  const { cluster, print, unordered } = options;
  const { job, signal, progress } = reading;
  if (print === undefined) return cluster.waitJob(job, { signal });
  const results = cluster.results(job, { unordered, follow: true, signal });
  for await (const list of results.lists()) {
    progress.clear(); // results and the line may share the terminal
    await print(list);
  }
  // A reader may reach the last outcome a moment before the leader has written the job's end.
  return isEnded(results.end.state) ? results.end : cluster.waitJob(job, { signal });
}

async function watch(options: {
  cluster: Connection;
  job: string;
  progress: Progress;
  signal: AbortSignal;
}): Promise<void> {
  if (!options.progress.isShown) return;
  for await (const info of options.cluster.watchJob(options.job, { signal: options.signal }))
    options.progress.update(info);
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
