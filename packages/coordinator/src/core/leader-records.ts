/**
 * The leader's own records in a job's log: fence, reopen, seal. They count only when they come back through the
 * fold (log.ts). Appending one twice is harmless: a seal skips what is covered, a reopen what is not (F3, F4).
 */
import type { JobIntent, Range, SealedStatus, SealRecord } from "@everycore/protocol/pure";
import { isEnded } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Job } from "./model.ts";
import { abandonAll } from "./queues.ts";

/** Ranges in one seal or reopen record, so that its header keeps its bound. */
const rangesPerRecord = 500;

export function appendFence(state: ClusterState, job: Job, effects: Effect[]): void {
  job.fenceDue = false;
  if (isEnded(job.state)) return;
  const record = { kind: "fence", job: job.id, epoch: state.epoch } as const;
  effects.push({ kind: "appendRecord", job: job.id, segment: job.segment, record });
}

/** Performs a stored intent. Called again by a new leader for what the log lacks. */
export function act(state: ClusterState, job: Job, intent: JobIntent, effects: Effect[]): void {
  job.intentActed = true;
  switch (intent.kind) {
    case "cancel":
      sealRest(state, job, intent.status, intent.message, effects);
      break;
    case "fail":
      sealRest(state, job, "cancelled", intent.message, effects);
      break;
    case "reopen":
      appendReopen(state, job, { ranges: notOpened(job, intent), round: intent.round }, effects);
      break;
  }
}

/** What of a reopen the log lacks: a former leader may have died between two of its records. */
function notOpened(job: Job, intent: { ranges: readonly Range[]; round: number }): Range[] {
  const rest: Range[] = [];
  for (const range of intent.ranges) {
    for (let at = range.start; at < range.end;) {
      const run = job.fold.roundRun(at, range.end);
      if (run.round < intent.round) rest.push({ start: at, end: run.end });
      at = run.end;
    }
  }
  return rest;
}

function appendReopen(
  state: ClusterState,
  job: Job,
  intent: { ranges: readonly Range[]; round: number },
  effects: Effect[],
): void {
  job.reopening.addAll(intent.ranges);
  for (let at = 0; at < intent.ranges.length; at += rangesPerRecord) {
    effects.push({
      kind: "appendRecord",
      job: job.id,
      segment: job.segment,
      record: {
        kind: "reopen",
        job: job.id,
        epoch: state.epoch,
        ranges: intent.ranges.slice(at, at + rangesPerRecord),
        round: intent.round,
      },
    });
  }
}

/** Kills what runs and gives every uncovered item the outcome `status`. */
export function sealRest(
  state: ClusterState,
  job: Job,
  status: SealedStatus,
  message: string,
  effects: Effect[],
): void {
  for (const node of state.nodes.values()) {
    if (node.state !== "lost") effects.push({ kind: "sendCancel", node: node.id, job: job.id });
  }
  abandonAll(state, job);
  const end = endOf(job);
  if (job.fold.total === undefined) {
    const record = { kind: "close", job: job.id, total: end } as const;
    effects.push({ kind: "appendRecord", job: job.id, segment: job.segment, record });
  }
  const itemsEnd = job.reducing ? end + 1 : end;
  seal(state, job, { ranges: job.fold.covered.missingIn(0, itemsEnd), status, message }, effects);
}

/** Items that the job has at this moment. */
export function endOf(job: Job): number {
  return job.fold.total ?? job.spec.rangeItems ?? job.fold.appended;
}

export interface Verdict {
  readonly ranges: readonly Range[];
  readonly status: SealedStatus;
  readonly message: string;
}

/** Appends seals for the ranges, one record per round (F3). */
export function seal(
  state: ClusterState,
  job: Job,
  verdict: Verdict & Partial<Pick<SealRecord, "node" | "detail">>,
  effects: Effect[],
): void {
  const byRound = new Map<number, Range[]>();
  for (const range of verdict.ranges) {
    job.sealing.add(range.start, range.end);
    for (let at = range.start; at < range.end;) {
      const run = job.fold.roundRun(at, range.end);
      byRound.set(run.round, [...(byRound.get(run.round) ?? []), { start: at, end: run.end }]);
      at = run.end;
    }
  }
  for (const [round, ranges] of byRound) {
    for (let at = 0; at < ranges.length; at += rangesPerRecord) {
      effects.push({
        kind: "appendRecord",
        job: job.id,
        segment: job.segment,
        record: {
          kind: "seal",
          job: job.id,
          epoch: state.epoch,
          round,
          ranges: ranges.slice(at, at + rangesPerRecord),
          status: verdict.status,
          message: verdict.message,
          ...(verdict.node === undefined ? {} : { node: verdict.node }),
          ...(verdict.detail === undefined ? {} : { detail: verdict.detail }),
        },
      });
    }
  }
}
