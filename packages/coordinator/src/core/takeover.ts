/**
 * A new leader takes over from records alone (DESIGN 9, "Takeover"). Phases of a job: `folding` (its log is
 * read to where it stood), `reporting` (what lies beyond `reserved` runs at once; below it somebody may be
 * running it, so it waits for the reports of all known nodes, 15 s at most), `open`. The log of a job that has ended
 * is not read before somebody asks for it (`unread`): a day of jobs would else be read at each takeover (decision 0110).
 */
import type { JobCheckpoint, JobRecord, NodeId, NodeRecord, Range } from "@everycore/protocol/pure";
import { emptyAuditResult, isEnded, times } from "@everycore/protocol/pure";
import { restore } from "./checkpoint.ts";
import { judgeFailures } from "./deadlines.ts";
import { leave } from "./drains.ts";
import type { Effect } from "./events.ts";
import { save } from "./job-record.ts";
import { maybeFinish, newJob, retry, takesInput } from "./jobs.ts";
import { act, appendStrike, endOf } from "./leader-records.ts";
import { newGrant } from "./leases.ts";
import type { ClusterState, Job, Keys } from "./model.ts";
import { failIfUnloadable, isHeldUpByLogs, settle } from "./nodes.ts";
import { enqueue } from "./queues.ts";
import { recoverStanding } from "./standing.ts";
import { failIfAllCrash, judge } from "./strikes.ts";
import { move, phaseTransitions } from "./transitions.ts";

export function elected(
  state: ClusterState,
  event: { epoch: number; knownNodes: readonly NodeRecord[] },
): void {
  state.leading = true;
  state.epoch = event.epoch;
  state.counter = 0;
  state.takingOver = true;
  state.recovered = false;
  state.awaited.clear();
  for (const record of event.knownNodes) {
    recoverStanding(state, record);
    if (!record.isGone) state.awaited.add(record.id);
  }
  state.awaitUntil = state.now + times.takeoverReportMs;
  state.someLost = false;
}

export function recover(
  state: ClusterState,
  keys: Keys,
  event: { record: JobRecord; lastSeq: number; checkpoint?: JobCheckpoint | undefined },
  effects: Effect[],
): void {
  const { record } = event;
  if (record.epoch > state.epoch) {
    // Elected, then suspended: whoever was elected after us has written already, and we may not write after him.
    const reason = `a leader of epoch ${record.epoch} wrote job ${record.id}`;
    effects.push({ kind: "stepDown", reason, job: record.id });
    return;
  }
  const { id, user, spec, segment } = record;
  const { checkpoint } = event;
  const job = newJob(keys, { id, user, spec, segment }, record.createdAt, checkpoint?.fold);
  job.state = record.state;
  job.phase = isEnded(record.state) ? "unread" : "folding";
  job.reserved = record.reserved;
  job.round = record.round;
  job.repairs = record.repairs ?? [];
  job.intent = record.intent;
  job.startedAt = record.startedAt;
  job.endedAt = record.endedAt;
  job.reason = record.reason ?? "";
  job.clock.ranMs = job.clock.storedMs = record.ranMs ?? 0;
  job.finalCounts = record.counts;
  job.finalMissing = record.missing ?? 0;
  job.finalTotal = record.total;
  job.foldTo = event.lastSeq;
  if (job.checks !== undefined) job.checks.found = record.audit ?? emptyAuditResult;
  state.jobs.set(id, job);
  if (checkpoint !== undefined) restore(state, job, checkpoint);
  if (isEnded(job.state)) job.stored = true;
  else {
    state.active.add(job);
    state.folding.add(job);
    // A submit under way is gone with the old leader; its client re-attaches, or the orphan rule ends it.
    if (takesInput(job)) job.orphan = { at: state.now, detached: false };
    job.fenceDue = true;
    save(state, job, effects);
  }
}

/** The log of an ended job is needed. One that is being read, or was, is left alone. */
export function wantLog(job: Job, effects: Effect[]): void {
  if (job.phase === "unread") effects.push({ kind: "readLog", job: job.id, segment: job.segment });
}

export function logOpened(state: ClusterState, job: Job, lastSeq: number): void {
  if (job.phase !== "unread") return;
  job.phase = move(phaseTransitions, { machine: "phase of job", id: job.id, from: job.phase, event: "read" });
  job.foldTo = lastSeq;
  state.folding.add(job);
}

/** After every event: jobs whose log is read, reports that were waiting for that, the end of the waiting. */
export function progress(state: ClusterState, keys: Keys, effects: Effect[]): void {
  if (!state.recovered) return;
  for (const job of state.folding) {
    if (!isRead(state, job)) continue;
    state.folding.delete(job);
    folded(state, job, effects);
  }
  if (!state.takingOver || isHeldUpByLogs(state)) return;
  for (const node of state.nodes.values()) {
    settle(state, keys, node, effects);
    leave(state, node, effects);
  }
  if (state.awaited.size > 0 && state.now < state.awaitUntil) return;
  if (state.awaited.size > 0) {
    state.someLost = true;
    state.awaited.clear();
  }
  for (const job of state.active) if (job.phase === "reporting") reported(state, keys, job, effects);
  state.someLost = false;
  state.takingOver = [...state.nodes.values()].some(
    (node) => node.deferred !== undefined || node.leaving !== undefined,
  );
}

/**
 * All that former leaders have written is read: behind our fence none of their records counts any more. Before it
 * one may still arrive, such as the reopen of a retry whose cancel we are to complete.
 */
function isRead(state: ClusterState, job: Job): boolean {
  if (job.fold.seq < job.foldTo || !job.stored) return false;
  return isEnded(job.state) || job.fold.fence >= state.epoch;
}

function folded(state: ClusterState, job: Job, effects: Effect[]): void {
  const ended = isEnded(job.state);
  const event = ended ? "ended" : "folded";
  job.phase = move(phaseTransitions, { machine: "phase of job", id: job.id, from: job.phase, event });
  if (job.fold.total !== undefined && job.state === "accepting") {
    job.state = "running";
    job.orphan = undefined;
  }
  for (const asked of job.retryAsks.splice(0)) retry(state, job, asked, effects);
  if (ended) {
    effects.push({ kind: "jobChanged", job: job.id });
    return;
  }
  const total = job.fold.total;
  const end = endOf(job);
  job.known = end;
  // `reserved` runs ahead: the reduction item can have been leased only after all others were covered.
  const covered = total !== undefined && job.fold.covered.covers(0, total);
  job.reducing = job.spec.task.reduce !== undefined && covered && job.reserved > total;
  const open = job.fold.covered.missingIn(0, job.reducing ? end + 1 : end);
  for (const range of open) {
    // Step 4: never leased, hence placed at once.
    if (range.end > job.reserved) {
      enqueue(state, job, { start: Math.max(range.start, job.reserved), end: range.end });
    }
    if (range.start < job.reserved) job.queues.awaiting.add(range.start, Math.min(range.end, job.reserved));
  }
  // One that came while the log was read is acted upon once it is stored (jobs.ts).
  const isStored = !job.putting && job.puttingIntent === job.intent;
  if (job.intent !== undefined && !job.intentActed && isStored) act(state, job, job.intent, effects);
  // Its leader may have died between the failure and what follows from it.
  judgeFailures(state, job, effects);
  // The old leader may have read the last of these verdicts and not lived to end the job.
  failIfAllCrash(state, job, effects);
  maybeFinish(state, job, effects);
  effects.push({ kind: "jobChanged", job: job.id });
}

/** Stands for a node whose name is not known. */
const nobody = "0000000000000000" as NodeId;

/**
 * Step 6: what nobody reported is queued. If a node that might have run it is gone, that is first written down: not as
 * a strike, for most of it was never leased, but as a suspicion, so that one which takes nodes with it is found (F6).
 */
function reported(state: ClusterState, keys: Keys, job: Job, effects: Effect[]): void {
  job.phase = move(phaseTransitions, {
    machine: "phase of job",
    id: job.id,
    from: job.phase,
    event: "reported",
  });
  const { awaiting } = job.queues;
  const unclaimed = awaiting.toRanges();
  if (!state.someLost) awaiting.clear();
  for (const range of unclaimed) {
    if (state.someLost) suspect(state, keys, job, range, effects);
    else enqueue(state, job, range);
    // What the old leader saw struck out and did not live to seal.
    judge(state, job, range, effects);
  }
  // What nodes said of it before its log was read.
  failIfUnloadable(state, job, effects);
}

/** The items stay where they wait until the log says that they are suspected: else they would be leased without care. */
function suspect(state: ClusterState, keys: Keys, job: Job, range: Range, effects: Effect[]): void {
  for (const { start, end } of job.fold.roundRuns(range)) {
    // No lease of the lost node is known: the record stands under one of the leader's own making.
    const lease = newGrant(state, keys, job, { start, end, node: nobody });
    appendStrike(state, job, { lease, ranges: [{ start, end }], cause: "suspected" }, effects);
  }
}
