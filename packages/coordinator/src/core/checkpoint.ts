/**
 * Checkpoints of active jobs (decision 0110): when one is due, what stands in it, and how a new leader goes on from one.
 * All that reading a log changes in a job must be in it (log.ts), or else follow from the job's record: a checkpoint may
 * change nothing but what is read.
 */
import type { JobCheckpoint } from "@everycore/protocol/pure";
import { foldVersion, isEnded, limits, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Job } from "./model.ts";
import { crashesOf, recoverCrashes } from "./standing.ts";

/** Records of a job and time between two checkpoints of it. */
export interface CheckpointPace {
  readonly records: number;
  readonly ms: number;
}

export const checkpointPace: CheckpointPace = {
  records: limits.checkpointRecords,
  ms: times.checkpointMs,
};

/** After each record of the job that was folded. */
export function checkpointIfDue(state: ClusterState, job: Job, storedAt: number, effects: Effect[]): void {
  const { last } = job;
  // Spot checks are derived from the whole log, and are not in a checkpoint.
  if (job.checks !== undefined) return;
  last.records += 1;
  const { records, ms } = state.checkpoints;
  if (last.records < records || state.now - last.at < ms || isEnded(job.state)) return;
  last.records = 0;
  last.at = state.now;
  if (job.fold.runCount + job.blocks.length > limits.checkpointRunsMax) return;
  last.isTaken = true;
  effects.push({ kind: "saveCheckpoint", checkpoint: checkpointOf(state, job, storedAt) });
}

/** `storedAt`: of the last record that was folded. */
export function checkpointOf(state: ClusterState, job: Job, storedAt: number): JobCheckpoint {
  return {
    job: job.id,
    segment: job.segment,
    foldVersion,
    storedAt,
    fold: job.fold.snapshot(),
    blocks: [...job.blocks],
    pieces: [...job.pieces],
    openedRound: job.openedRound,
    itemMs: job.itemMs,
    learned: { ...job.learned },
    strikes: [...job.strikes],
    suspicions: [...job.suspicions],
    crashes: crashesOf(state, job.id),
  };
}

/** The job has no record of its log yet but the one that stands in the checkpoint: its fold is the checkpoint's. */
export function restore(state: ClusterState, job: Job, checkpoint: JobCheckpoint): void {
  job.blocks.push(...checkpoint.blocks);
  job.pieces = [...checkpoint.pieces];
  job.openedRound = checkpoint.openedRound;
  job.itemMs = checkpoint.itemMs;
  job.learned = { ...checkpoint.learned };
  job.strikes.push(...checkpoint.strikes);
  for (const [index, of] of checkpoint.suspicions) job.suspicions.set(index, [...of]);
  // To a new leader all of its input came while it was paused.
  if (job.state === "paused") for (const { bytes } of job.blocks) job.pausedInputBytes += bytes;
  recoverCrashes(state, job.id, checkpoint.crashes);
  job.last.isTaken = true;
}
