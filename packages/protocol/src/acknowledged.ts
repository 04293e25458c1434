/** How far the logs of jobs are acknowledged to an agent, by job: highest sequences. */
import type { JobId } from "./ids.ts";

export type Acknowledged = ReadonlyMap<JobId, number>;

/** Of each job the higher sequence. */
export function furthest(one: Acknowledged, other: Acknowledged): Map<JobId, number> {
  const seqs = new Map(one);
  for (const [job, seq] of other) seqs.set(job, Math.max(seq, seqs.get(job) ?? 0));
  return seqs;
}
