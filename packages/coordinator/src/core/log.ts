/**
 * The next record of a job's log: the fold says what it changed, this file moves the items accordingly. All
 * coverage comes through here (P2): the leader's own seals and strikes too come back through the log before
 * they count, so every leader and reader agrees.
 */
import type {
  CommitRecord,
  FoldDelta,
  JobId,
  LeaseId,
  LogRecord,
  NodeId,
  Range,
} from "@everycore/protocol/pure";
import { isEnded } from "@everycore/protocol/pure";
import { retriesOf } from "./backoff.ts";
import { checkpointIfDue } from "./checkpoint.ts";
import { judgeFailures } from "./deadlines.ts";
import type { Effect } from "./events.ts";
import { save } from "./job-record.ts";
import { maybeFinish } from "./jobs.ts";
import { endOf, sealRest, sealUnsealed } from "./leader-records.ts";
import type { ClusterState, Job } from "./model.ts";
import { askedStart } from "./leases.ts";
import { judgeNodes } from "./quarantine.ts";
import { enqueue, leaseOf, leave, queuedWithin, returnToQueue, touchFor, unqueue } from "./queues.ts";
import { countServed } from "./shares.ts";
import { noteForChecks } from "./spot-checks.ts";
import { weighCrashes } from "./standing.ts";
import { failIfAllCrash, judge, noteStrikes } from "./strikes.ts";
import { addToTotals } from "./totals.ts";
import { jobTransitions, may, move } from "./transitions.ts";

export function applyRecord(
  state: ClusterState,
  event: {
    readonly job: JobId;
    readonly seq: number;
    readonly storedAt: number;
    readonly record: LogRecord;
  },
  effects: Effect[],
): void {
  const job = state.jobs.get(event.job);
  // Records of deleted jobs, and those that come again after a reconnect, change nothing.
  if (job === undefined || event.seq <= job.fold.seq) return;
  const { record } = event;
  if (record.kind === "fence" && record.epoch > state.epoch) {
    // None of our records counts behind it, so nothing that we decide would ever happen (P5).
    const reason = `a leader of epoch ${record.epoch} has fenced job ${job.id}`;
    effects.push({ kind: "stepDown", reason, job: job.id });
    // Without this record its fold is none of this log.
    job.last.at = Number.POSITIVE_INFINITY;
    return;
  }
  if (job.phase === "unread") return unread(state, job, record, effects);
  if (isEnded(job.state)) tellOfEnd(job, record, effects);
  const delta = job.fold.apply(event.seq, record);
  addToTotals(state, job, delta);
  noteStrikes(job, delta);
  noteForChecks({ state, job, effects }, event, delta);
  const blamed = weighCrashes(state, job, event, delta, effects);
  if (record.kind === "commit") learn(state, job, record);
  if (record.kind === "input") trackBlock(job, event.seq, record);
  if (job.phase !== "folding") moveItems(state, job, delta, effects);
  judgeNodes(state, blamed, effects);
  if (record.kind === "reopen" && !delta.ignored) {
    if (job.phase !== "folding" && record.epoch !== state.epoch) {
      // No fence of ours stands in the log of an ended job. The intent of this retry is in its record: taken up anew.
      const reason = `a leader of epoch ${record.epoch} reopened job ${job.id}`;
      effects.push({ kind: "stepDown", reason, job: job.id });
      job.last.at = Number.POSITIVE_INFINITY;
      return;
    }
    job.reopening.removeAll(record.ranges);
    reopened(state, job, record.round, delta, effects);
  }
  if (record.kind === "input" && job.phase !== "folding") arrived(state, job);
  if (record.kind === "close") closed(state, job, effects);
  heard(state, record);
  if (job.phase !== "folding" && mayExceed(record, delta)) judgeFailures(state, job, effects);
  maybeFinish(state, job, effects);
  if (record.kind !== "commit") state.dirty = true;
  else {
    for (const { node } of record.leases) {
      touchFor(state, node, job.id);
      askedStart(state, node, effects);
    }
  }
  checkpointIfDue(state, job, event.storedAt, effects);
  effects.push({ kind: "jobChanged", job: job.id });
}

/** Failures have come, or the number of items that a share is of. */
const mayExceed = (record: LogRecord, delta: FoldDelta): boolean =>
  record.kind === "close" || delta.accepted.some((part) => part.status !== "value" || part.missing > 0);

/**
 * A record in the log of a job that ended before this leader's time, in a segment that is read for others. It is folded
 * when the whole log is; agents have heard of the end by their hello. What its record does not know of is the retry of
 * a former leader: taken up anew.
 */
function unread(state: ClusterState, job: Job, record: LogRecord, effects: Effect[]): void {
  if (record.kind !== "reopen" || record.round <= job.round || record.epoch === state.epoch) return;
  const reason = `a leader of epoch ${record.epoch} reopened job ${job.id}`;
  effects.push({ kind: "stepDown", reason, job: job.id });
}

/** Its lease reached the agent after the end: else nobody would tell it to let go of the job (P7). */
function tellOfEnd(job: Job, record: LogRecord, effects: Effect[]): void {
  if (job.phase === "folding") return;
  let node: NodeId | undefined;
  if (record.kind === "commit") node = record.leases[0]?.node;
  if (record.kind === "strike" && !record.byLeader) node = record.lease.node;
  if (node !== undefined) effects.push({ kind: "sendJobEnded", node, job: job.id, round: job.round });
}

function moveItems(state: ClusterState, job: Job, delta: FoldDelta, effects: Effect[]): void {
  for (const part of delta.accepted) {
    leave(state, job, part, part.lease, effects);
    if (part.status === "crash") failIfAllCrash(state, job, effects);
  }
  for (const again of delta.again) {
    for (const retry of retriesOf(state, job, again)) takeBack(state, job, again.lease, retry);
  }
  for (const { part, lease } of delta.dropped) takeBack(state, job, lease, part);
  for (const range of delta.suspected) queueAnew(state, job, range);
  for (const struck of delta.struck) {
    const lease = leaseOf(job, struck.lease);
    for (const held of lease?.open.within(struck.start, struck.end) ?? []) {
      returnToQueue(state, job, lease!, held);
    }
    // Struck late, while it waited already: its queue may have to be another.
    queueAnew(state, job, struck);
    judge(state, job, struck, effects);
  }
}

/** What of [start, end) waits is put into the queue that its strikes now ask for. */
function queueAnew(state: ClusterState, job: Job, range: Range): void {
  for (const waiting of queuedWithin(job, range)) {
    unqueue(job, waiting);
    enqueue(state, job, waiting);
  }
}

/** The lease has reported these items: what of them it still holds uncovered waits again. */
function takeBack(
  state: ClusterState,
  job: Job,
  leaseId: LeaseId,
  range: Range & { readonly at?: number | undefined },
): void {
  const lease = leaseOf(job, leaseId);
  if (lease !== undefined) returnToQueue(state, job, lease, range);
}

function reopened(state: ClusterState, job: Job, round: number, delta: FoldDelta, effects: Effect[]): void {
  job.openedRound = Math.max(job.openedRound, round);
  // A reduction item that was opened again is queued anew when all others are covered (maybeFinish).
  // Opened by this record: the same reopen may stand in the log twice, and by the second one it may be leased.
  if (job.reducing && delta.reopened.some((range) => range.end > endOf(job))) job.reducing = false;
  if (job.phase === "folding") return;
  if (job.state === "cancelling" && job.intent !== undefined && job.intent.kind !== "reopen") {
    // Before the cancel is stored it has not happened: it is acted upon then (persist, then act).
    if (job.intentActed) sealRest(state, job, job.intent, effects);
    return;
  }
  const end = endOf(job);
  for (const range of delta.reopened) {
    // The reduction item waits until all others are covered again.
    if (range.start < end) enqueue(state, job, { start: range.start, end: Math.min(range.end, end) });
  }
}

function trackBlock(job: Job, seq: number, record: Extract<LogRecord, { kind: "input" }>): void {
  const { first, count, piece, pieces, bytes } = record;
  if (piece !== job.pieces.length) job.pieces = [];
  if (piece !== job.pieces.length) return;
  job.pieces.push(seq);
  if (piece !== pieces - 1) return;
  // A block that does not continue the input is a repetition by a re-attached client.
  if (first + count === job.fold.appended) {
    job.blocks.push({ first, count, bytes, seqs: job.pieces });
    if (job.state === "paused") job.pausedInputBytes += bytes;
  }
  job.pieces = [];
}

/** New items wait, unless the job is ending. */
function arrived(state: ClusterState, job: Job): void {
  if (job.known >= job.fold.appended) return;
  if (job.startedAt === undefined) job.startedAt = state.now;
  // Behind the close that a cancel wrote, or is writing: none of the job's items.
  if (job.state === "cancelling" || isEnded(job.state)) {
    job.known = job.fold.appended;
  } else {
    enqueue(state, job, { start: job.known, end: job.fold.appended });
  }
}

function closed(state: ClusterState, job: Job, effects: Effect[]): void {
  job.orphan = undefined;
  // The client's close may have come before that of the cancel, with items that the cancel had not seen (P5).
  if (job.state === "cancelling" && job.intentActed) sealUnsealed(state, job, effects);
  if (!may(jobTransitions, job.state, "close")) return;
  job.state = move(jobTransitions, { machine: "job", id: job.id, from: job.state, event: "close" });
  // A job that ends in this very step is written once, by its end.
  if (job.phase !== "folding" && job.fold.total !== 0) save(state, job, effects);
}

/** Weight of the past in the learned cost: a job's last seconds tell more than its first. */
const learnWindowMs = 4_000;

/** Costs are folds of the log: busy ms and items of each commit. */
function learn(state: ClusterState, job: Job, record: CommitRecord): void {
  let items = 0;
  let busy = 0;
  for (const usage of record.usage) {
    items += usage.items;
    busy += usage.busyMs;
  }
  if (items === 0) return;
  countServed(state, job, busy);
  const { learned } = job;
  learned.items += items;
  learned.ms += busy;
  if (learned.ms > learnWindowMs && learned.items > items) {
    learned.items /= 2;
    learned.ms /= 2;
  }
  const mean = Math.max(learned.ms / learned.items, 1e-5);
  // What was guessed for all nodes is known now.
  state.dirty ||= job.itemMs === undefined;
  job.itemMs = mean;
  const node = record.leases[0] === undefined ? undefined : state.nodes.get(record.leases[0].node);
  if (node === undefined) return;
  const ratio = Math.min(8, Math.max(1 / 8, busy / items / mean));
  node.speed = 0.9 * node.speed + 0.1 * ratio;
}

/** An accepted commit is a sign of life (DESIGN 11). */
function heard(state: ClusterState, record: LogRecord): void {
  if (record.kind !== "commit") return;
  const node = record.leases[0] === undefined ? undefined : state.nodes.get(record.leases[0].node);
  if (node !== undefined && node.state === "connected") node.lastSeenAt = state.now;
}
