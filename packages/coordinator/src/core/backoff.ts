/**
 * How long an item waits before it is tried again: twice as long with each try, and by chance less, so that items that
 * failed together (a service that was down) do not come back together. The chance is drawn from the job's seed, item and
 * try: equal states give equal times (docs/decisions/0096). Nothing else of the job waits meanwhile.
 */
import type { JobSpec, Range } from "@everycore/protocol/pure";
import { times } from "@everycore/protocol/pure";
import type { ClusterState, Job } from "./model.ts";
import { enqueue, takeDue } from "./queues.ts";

/** Due times are kept on this grid: few of them, however many items wait (P7). */
const gridMs = 50;
/** A run of neighbours that failed alike is spread over so many times at most. */
const piecesMax = 16;

/** The wait before try `tries` + 1, without its chance. */
export function fullDelayMs({ retryDelayMs }: Pick<JobSpec, "retryDelayMs">, tries: number): number {
  if (retryDelayMs === 0) return 0;
  // Not asked for: most errors are gone or stay at once, so that the first retry does not wait.
  if (retryDelayMs === undefined) {
    return tries < 2 ? 0 : Math.min(times.retryDelayMs * 2 ** (tries - 2), times.retryDelayMsMax);
  }
  return Math.min(retryDelayMs * 2 ** (tries - 1), Math.max(retryDelayMs, times.retryDelayMsMax));
}

/** Half of it at least. */
function delayMs(job: Job, index: number, tries: number): number {
  const full = fullDelayMs(job.spec, tries);
  return full === 0 ? 0 : full * (0.5 + chance(job.spec.task.seed, index, tries) / 2);
}

/** [0, 1), the same for the same job, item and try. The seed is 16 hex digits. */
export function chance(seed: string, index: number, tries: number): number {
  let hash = 0x811c9dc5;
  for (const word of [
    Number.parseInt(seed.slice(0, 8), 16),
    Number.parseInt(seed.slice(8), 16),
    Math.floor(index / 2 ** 32),
    index >>> 0,
    tries,
  ]) {
    hash = Math.imul(hash ^ word, 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca77);
    hash ^= hash >>> 13;
  }
  return (hash >>> 0) / 2 ** 32;
}

export interface Retry extends Range {
  /** When it may be leased again; undefined: now. */
  readonly at: number | undefined;
}

/** A run that failed for the `count`th time, cut by when it is tried again. */
export function retriesOf(state: ClusterState, job: Job, run: Range & { readonly count: number }): Retry[] {
  const { start, end, count } = run;
  if (fullDelayMs(job.spec, count) === 0) return [{ start, end, at: undefined }];
  const step = Math.ceil((end - start) / piecesMax);
  const retries: Retry[] = [];
  for (let from = start; from < end; from += step) {
    const due = state.now + delayMs(job, from, count);
    retries.push({ start: from, end: Math.min(end, from + step), at: Math.ceil(due / gridMs) * gridMs });
  }
  return retries;
}

/** With each tick: items whose wait is over are queued. */
export function tickDelayed(state: ClusterState, job: Job): void {
  if (job.queues.delayed.isEmpty) return;
  for (const range of takeDue(job, state.now)) enqueue(state, job, range);
}
