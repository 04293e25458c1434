/**
 * Fair shares (DESIGN 9): each job has a tag, which grows by the work that it is leased, and the lowest tag is served
 * first, by the leader and by agents. Here is where a new job's begins.
 */
import type { ClusterState, Job } from "./model.ts";
import { openMs } from "./queues.ts";

/** A user's share is divided by his active jobs. */
export function weightsOf(state: ClusterState): Map<string, number> {
  const active = new Map<string, number>();
  for (const job of state.active)
    if (job.state !== "paused") active.set(job.user, (active.get(job.user) ?? 0) + 1);
  return active;
}

/**
 * A new job begins where a job stands that has always had its share, so that it neither starves nor is owed the past;
 * never below the one that was served least, nor above the one that was served most. Were it always the lowest, a
 * stream of small jobs would go before the last items of an older one for ever (P5).
 */
export function startTag(state: ClusterState): number {
  let lowest = Number.POSITIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  for (const job of state.active) {
    if (job.state === "paused") continue;
    const tag = servedTag(job);
    lowest = Math.min(lowest, tag);
    highest = Math.max(highest, tag);
  }
  if (!Number.isFinite(lowest)) return state.servedTag;
  state.servedTag = Math.min(highest, Math.max(lowest, state.servedTag));
  return state.servedTag;
}

/** What is leased ahead has not been served yet: counted as if it had, a small job would wait for all of it. */
function servedTag(job: Job): number {
  let firstTag = job.tag;
  let openAheadMs = 0;
  for (const lease of job.leases.values()) {
    firstTag = Math.min(firstTag, lease.tag);
    openAheadMs += openMs(job, lease);
  }
  return Math.max(firstTag, job.tag - openAheadMs);
}

/**
 * Items of the job have ended: by so much each active job's tag would have grown, had all been served alike. By what
 * they took, for a small job ends before its cost is known.
 */
export function countServed(state: ClusterState, job: Job, busyMs: number): void {
  let weight = 0;
  for (const { user, state: stands } of state.active)
    if (user === job.user && stands !== "paused") weight += 1;
  state.servedTag += (busyMs * Math.max(1, weight)) / Math.max(1, state.active.size);
}
