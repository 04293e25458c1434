/**
 * Limits that end a job: too many items failed (`--max-failures`), too long a run (`--job-timeout`). Both stand in the
 * job's specification and are judged by whoever leads, so that they hold for detached jobs and over a takeover. Failures
 * are a fold of the log; the time is a duration that the record keeps (docs/decisions/0095).
 */
import type { FailureLimit } from "@everycore/protocol/pure";
import { failureLimitText, isEnded, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import { save } from "./job-record.ts";
import { cancel, fail, isReopening, maybeFinish } from "./jobs.ts";
import type { ClusterState, Job } from "./model.ts";
import { countsOfItems } from "./reduced.ts";
import { giveUp, isChecking } from "./spot-checks.ts";

/** Ways in which an item itself fails; what a cancel left undone is none. */
const failures = ["error", "timeout", "crash", "lost"] as const;

function failedItems(job: Job): number {
  const { error, timeout, crash, lost } = countsOfItems(job);
  // The parts of a reduction say how many of their items have no value.
  const ofTasks = job.spec.task.reduce === undefined ? error + timeout : job.fold.missing;
  return ofTasks + crash + lost;
}

/** A share of the items is known once they all are: before that a job's first failure would be 100 %. */
function isOver(job: Job, limit: FailureLimit, failed: number): boolean {
  if (!limit.isShare) return failed > limit.most;
  const { total } = job.fold;
  return total !== undefined && failed * 100 > limit.most * total;
}

/** After each record that may have changed it: whoever folds the same log ends the job at the same record. */
export function judgeFailures(state: ClusterState, job: Job, effects: Effect[]): void {
  const { maxFailures } = job.spec;
  if (maxFailures === undefined || isEnded(job.state) || job.state === "cancelling") return;
  // What a retry is about to open again counts no more.
  if (isReopening(job)) return;
  const failed = failedItems(job);
  if (!isOver(job, maxFailures, failed)) return;
  const of = job.fold.total === undefined ? "" : ` of ${job.fold.total}`;
  const items = `${failed}${of} ${failed === 1 && of === "" ? "item" : "items"} failed`;
  const limit = `more than --max-failures ${failureLimitText(maxFailures)}`;
  fail(state, job, `${items}, ${limit}${firstFailure(job)}`, effects);
}

function firstFailure(job: Job): string {
  let first: { index: number; status: string } | undefined;
  for (const status of failures) {
    const index = job.fold.ranges(status)[0]?.start;
    if (index !== undefined && index < (first?.index ?? Number.POSITIVE_INFINITY)) first = { index, status };
  }
  return first === undefined ? "" : `; the first is item ${first.index} (${first.status})`;
}

/** A job begins to run with its first lease. While a new leader reads the log, nobody counts. */
function runs(job: Job): boolean {
  if (job.phase === "folding" || (job.state !== "accepting" && job.state !== "running")) return false;
  return job.clock.ranMs > 0 || job.clock.at !== undefined || job.held.total > 0;
}

/** With each tick: the time since the last one is added where the job ran, and stored now and then. */
export function tickTimeout(state: ClusterState, job: Job, effects: Effect[]): void {
  const { jobTimeoutMs } = job.spec;
  if (jobTimeoutMs === undefined) return;
  const { clock } = job;
  const isRunning = runs(job);
  if (isRunning && clock.at !== undefined) clock.ranMs += state.now - clock.at;
  clock.at = isRunning ? state.now : undefined;
  if (clock.ranMs >= jobTimeoutMs) {
    // All its items have ended in time: what is over is the time to compare them.
    if (isChecking(job) && job.fold.covered.covers(0, job.fold.total ?? Number.POSITIVE_INFINITY)) {
      giveUp({ state, job, effects });
      maybeFinish(state, job, effects);
      return;
    }
    const message = `its time is over: it ran for ${clock.ranMs} ms, --job-timeout is ${jobTimeoutMs} ms`;
    cancel(state, job, { message, ask: undefined, status: "expired" }, effects);
    return;
  }
  if (!isRunning || clock.ranMs - clock.storedMs < storeEveryMs(jobTimeoutMs)) return;
  clock.storedMs = clock.ranMs;
  save(state, job, effects);
}

/** What a takeover may lengthen a job's time by, beside the time without a leader: a hundredth, or a few seconds. */
const storeEveryMs = (timeoutMs: number): number => Math.max(times.ranStoredMs, timeoutMs / 100);
