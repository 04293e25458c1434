/**
 * The leader's own records in a job's log: fence, reopen, seal, strike. They count only when they come back through the
 * fold (log.ts). Appending one twice is harmless: a seal skips what is covered, a reopen what is not (F3, F4).
 */
import type { JobIntent, LeaseGrant, Range, SealedStatus, SealRecord } from "@everycore/protocol/pure";
import { isEnded } from "@everycore/protocol/pure";
import type { Effect, LeaderRecord } from "./events.ts";
import type { ClusterState, Job } from "./model.ts";
import { abandonAll } from "./queues.ts";

type EndingIntent = Exclude<JobIntent, { kind: "reopen" }>;

/** Ranges in one record, so that its header keeps its bound. */
const rangesPerRecord = 500;

/** Appends a record to the job's log; it counts once the fold sees it. */
export function append(job: Job, record: LeaderRecord, effects: Effect[]): void {
  effects.push({ kind: "appendRecord", job: job.id, segment: job.segment, record });
}

/** Appends as many records as the ranges need. */
export function appendRanges(
  job: Job,
  ranges: readonly Range[],
  record: (part: readonly Range[]) => LeaderRecord,
  effects: Effect[],
): void {
  for (let at = 0; at < ranges.length; at += rangesPerRecord) {
    append(job, record(ranges.slice(at, at + rangesPerRecord)), effects);
  }
}

/** What the leader lays at the door of a node that is gone: it has seen no death itself. */
export function appendStrike(
  state: ClusterState,
  job: Job,
  of: { readonly lease: LeaseGrant; readonly ranges: readonly Range[]; readonly cause: "lost" | "suspected" },
  effects: Effect[],
): void {
  const { lease, ranges, cause } = of;
  const { epoch } = state;
  const record = (part: readonly Range[]): LeaderRecord => ({
    kind: "strike",
    job: job.id,
    epoch,
    cause,
    lease,
    ranges: part,
    byLeader: true,
  });
  appendRanges(job, ranges, record, effects);
}

export function appendFence(state: ClusterState, job: Job, effects: Effect[]): void {
  job.fenceDue = false;
  if (isEnded(job.state)) return;
  append(job, { kind: "fence", job: job.id, epoch: state.epoch }, effects);
}

/** The input ends where it stands. */
export function appendClose(job: Job, effects: Effect[]): void {
  append(job, { kind: "close", job: job.id, total: endOf(job) }, effects);
}

/** Performs a stored intent. Called again by a new leader for what the log lacks. */
export function act(state: ClusterState, job: Job, intent: JobIntent, effects: Effect[]): void {
  job.intentActed = true;
  switch (intent.kind) {
    case "cancel":
    case "fail":
      sealRest(state, job, intent, effects);
      break;
    case "reopen":
      appendReopen(state, job, { ranges: notOpened(job, intent), round: intent.round }, effects);
      break;
  }
}

/** What of a reopen the log lacks: a former leader may have died between two of its records. */
function notOpened(job: Job, intent: { ranges: readonly Range[]; round: number }): Range[] {
  return intent.ranges
    .flatMap((range) => job.fold.roundRuns(range))
    .filter((run) => run.round < intent.round)
    .map(({ start, end }) => ({ start, end }));
}

function appendReopen(
  state: ClusterState,
  job: Job,
  intent: { ranges: readonly Range[]; round: number },
  effects: Effect[],
): void {
  const { round } = intent;
  job.reopening.addAll(intent.ranges);
  const record = (ranges: readonly Range[]): LeaderRecord => ({
    kind: "reopen",
    job: job.id,
    epoch: state.epoch,
    ranges,
    round,
  });
  appendRanges(job, intent.ranges, record, effects);
}

/** Kills what runs and gives every uncovered item the outcome that the intent names. */
export function sealRest(state: ClusterState, job: Job, intent: EndingIntent, effects: Effect[]): void {
  for (const node of state.nodes.values()) {
    if (node.state !== "lost")
      effects.push({ kind: "sendCancel", node: node.id, job: job.id, round: job.round });
  }
  abandonAll(state, job);
  if (job.fold.total === undefined) appendClose(job, effects);
  const itemsEnd = job.reducing ? endOf(job) + 1 : endOf(job);
  seal(state, job, { ranges: job.fold.covered.missingIn(0, itemsEnd), ...verdictOf(intent) }, effects);
}

/** What of a job that is being ended has no seal on its way yet. */
export function sealUnsealed(state: ClusterState, job: Job, effects: Effect[]): void {
  const { intent } = job;
  if (intent === undefined || intent.kind === "reopen") return;
  const ranges = job.fold.covered
    .missingIn(0, endOf(job))
    .flatMap(({ start, end }) => job.sealing.missingIn(start, end));
  seal(state, job, { ranges, ...verdictOf(intent) }, effects);
}

/** How a cancelled or failed job ends the items that have no outcome. */
const verdictOf = (intent: EndingIntent): { status: SealedStatus; message: string } => ({
  status: intent.kind === "cancel" ? intent.status : "cancelled",
  message: intent.message,
});

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
    for (const { start, end, round } of job.fold.roundRuns(range)) {
      byRound.set(round, [...(byRound.get(round) ?? []), { start, end }]);
    }
  }
  const { status, message, node, detail } = verdict;
  for (const [round, ranges] of byRound) {
    const record = (part: readonly Range[]): LeaderRecord => ({
      kind: "seal",
      job: job.id,
      epoch: state.epoch,
      round,
      ranges: part,
      status,
      message,
      ...(node === undefined ? {} : { node }),
      ...(detail === undefined ? {} : { detail }),
    });
    appendRanges(job, ranges, record, effects);
  }
}
