/**
 * A job's life: accepted, run, ended, cancelled, failed, opened again, deleted. Acts that span several records
 * write their whole intent into EC_JOBS first (persist, then act); a leader that dies in between leaves the
 * intent, and the next one completes it. Handlers are idempotent: an intent is acted upon once per leader, and
 * acting twice appends seals that the fold skips.
 */
import type {
  FoldSnapshot,
  JobId,
  JobIntent,
  JobSpec,
  Range,
  RepairCode,
  SegmentId,
  VerifyLease,
} from "@everycore/protocol/pure";
import { IntervalSet, isEnded, JobFold, limits, times } from "@everycore/protocol/pure";
import type { Answer, Effect } from "./events.ts";
import { save } from "./job-record.ts";
import { act, appendClose, appendFence } from "./leader-records.ts";
import type { ClusterState, Job, Keys, RetryAsk } from "./model.ts";
import { abandonAll, emptyQueues, enqueue } from "./queues.ts";
import { countsOfItems, missingItems } from "./reduced.ts";
import { refuseRuntime } from "./runtimes.ts";
import { startTag } from "./shares.ts";
import { endChecks, isChecking, newChecks } from "./spot-checks.ts";
import { jobTransitions, move, phaseTransitions } from "./transitions.ts";

/** Items reserved before any cost is known. */
const firstReserve = 4_096;

interface JobParts {
  readonly id: JobId;
  readonly user: string;
  readonly spec: JobSpec;
  readonly segment: SegmentId;
}

export function newJob(keys: Keys, parts: JobParts, createdAt: number, snapshot?: FoldSnapshot): Job {
  const verify: VerifyLease = (job, grant) => keys.verify(job, grant);
  return {
    ...parts,
    state: "accepting",
    phase: "open",
    reserved: 0,
    reserving: undefined,
    round: 0,
    repairs: [],
    intent: undefined,
    createdAt,
    startedAt: undefined,
    endedAt: undefined,
    reason: "",
    clock: { ranMs: 0, at: undefined, storedMs: 0 },
    finalCounts: undefined,
    finalMissing: 0,
    finalTotal: undefined,
    fold: snapshot === undefined ? new JobFold(parts.id, verify) : JobFold.of(parts.id, verify, snapshot),
    queues: emptyQueues(),
    known: 0,
    leases: new Map(),
    doubles: new Map(),
    doubled: { given: 0, won: 0 },
    held: { total: 0, byNode: new Map() },
    blocks: [],
    pieces: [],
    itemMs: undefined,
    learned: { items: 0, ms: 0 },
    tag: 0,
    leasesSent: 0,
    leasesByNode: new Map(),
    failedOn: new Map(),
    strikes: [],
    suspicions: new Map(),
    checks: newChecks(keys, parts),
    sealing: new IntervalSet(),
    reducing: false,
    orphan: undefined,
    foldTo: 0,
    openedRound: 0,
    last: { records: 0, at: 0, isTaken: false },
    reopening: new IntervalSet(),
    putting: false,
    putAgain: false,
    puttingReserved: 0,
    puttingIntent: undefined,
    puttingPaused: false,
    askedBackAt: 0,
    pausedInputBytes: 0,
    intentActed: false,
    stored: false,
    fenceDue: false,
    asks: [],
    retryAsks: [],
  };
}

/** Its input is not complete: more of it may come, also while the job is paused. */
export function takesInput(job: Job): boolean {
  const isOpen = job.fold.total === undefined && job.finalTotal === undefined;
  return isOpen && (job.state === "accepting" || job.state === "paused");
}

/** A job enters: its record is stored before it is answered, and nothing is leased before that (P1). */
export function submit(
  state: ClusterState,
  keys: Keys,
  event: JobParts & { readonly ask: number },
  effects: Effect[],
): void {
  const known = state.jobs.get(event.id);
  if (known !== undefined) {
    // A repeated request id: the same job. Answered once its record is stored.
    known.orphan = undefined;
    if (known.stored) effects.push({ kind: "answer", ask: event.ask, answer: { ok: true, job: known.id } });
    else known.asks.push(event.ask);
    return;
  }
  const refusal = refuseSubmit(state) ?? refuseRuntime(state, event.spec.task);
  if (refusal !== undefined) {
    effects.push({ kind: "answer", ask: event.ask, answer: refusal });
    return;
  }
  const { id, user, spec, segment } = event;
  const job = newJob(keys, { id, user, spec, segment }, state.now);
  job.tag = startTag(state);
  job.reserving = spec.rangeItems === undefined ? firstReserve : Math.min(spec.rangeItems, firstReserve);
  job.asks.push(event.ask);
  state.jobs.set(id, job);
  state.active.add(job);
  save(state, job, effects);
}

/** P7: at a limit there is a clear refusal, never growth. */
function refuseSubmit(state: ClusterState): Answer | undefined {
  if (state.storage !== "ok") {
    const hint = "delete ended jobs: everycore job delete ID";
    return { ok: false, code: "storage-full", message: "the cluster's storage is nearly full", hint };
  }
  if (state.active.size < limits.activeJobsMax && state.jobs.size < limits.jobsMax) return undefined;
  const message = `the cluster has ${state.active.size} active of ${state.jobs.size} jobs, which is its limit`;
  return { ok: false, code: "over-limit", message, hint: "wait for jobs to end, or delete ended ones" };
}

/** The record is durable: answer, and do what it announced. */
export function stored(state: ClusterState, job: Job, effects: Effect[]): void {
  job.putting = false;
  // Not `reserving`: it may have been raised since, and what is not stored may not be leased (C3).
  job.reserved = Math.max(job.reserved, job.puttingReserved);
  if (job.reserving !== undefined && job.reserving <= job.reserved) job.reserving = undefined;
  if (!job.stored) {
    job.stored = true;
    if (job.fenceDue) appendFence(state, job, effects);
    else if (job.spec.rangeItems !== undefined) enqueue(state, job, { start: 0, end: job.spec.rangeItems });
  }
  const intent = job.puttingIntent;
  // A pause is no intent; it too is answered once it is stored.
  if (intent === job.intent && job.puttingPaused === (job.state === "paused")) {
    for (const ask of job.asks.splice(0)) {
      effects.push({ kind: "answer", ask, answer: { ok: true, job: job.id } });
    }
  }
  // While the log is still being read, what is uncovered is not known: takeover.ts completes the intent.
  if (isEnded(job.state)) dropCheckpoint(job, effects);
  const isToAct = intent !== undefined && intent === job.intent && !job.intentActed;
  if (isToAct && job.phase !== "folding") act(state, job, intent, effects);
  if (job.putAgain) {
    job.putAgain = false;
    save(state, job, effects);
  }
  maybeFinish(state, job, effects);
  state.dirty = true;
  effects.push({ kind: "jobChanged", job: job.id });
}

/** It is of no use for a job that has ended, and takes the room of others. */
function dropCheckpoint({ id, last }: Job, effects: Effect[]): void {
  if (last.isTaken) effects.push({ kind: "dropCheckpoint", job: id });
  last.isTaken = false;
}

const refuse = (code: "not-found" | "conflict", message: string, hint = ""): Answer => ({
  ok: false,
  code,
  message,
  hint,
});

export const noSuchJob = (id: JobId): Answer =>
  refuse("not-found", `no job ${id}`, "see: everycore job list");

/** Cancel: idempotent; of an ended job it changes nothing and says so by the state. */
export function cancel(
  state: ClusterState,
  job: Job,
  options: { message: string; ask: number | undefined; status: "cancelled" | "expired" },
  effects: Effect[],
): void {
  if (isEnded(job.state) || job.state === "cancelling") {
    if (options.ask !== undefined) {
      effects.push({ kind: "answer", ask: options.ask, answer: { ok: true, job: job.id } });
    }
    return;
  }
  job.state = move(jobTransitions, { machine: "job", id: job.id, from: job.state, event: "cancel" });
  job.reason = options.message;
  if (options.ask !== undefined) job.asks.push(options.ask);
  announce(state, job, { kind: "cancel", status: options.status, message: options.message }, effects);
}

/** The task cannot run: one failure that says so; the rest is sealed `cancelled`. */
export function fail(state: ClusterState, job: Job, message: string, effects: Effect[]): void {
  if (isEnded(job.state) || job.state === "cancelling") return;
  job.state = move(jobTransitions, { machine: "job", id: job.id, from: job.state, event: "fail" });
  job.reason = message;
  announce(state, job, { kind: "fail", message }, effects);
}

function announce(state: ClusterState, job: Job, intent: JobIntent, effects: Effect[]): void {
  job.intent = intent;
  job.intentActed = false;
  save(state, job, effects);
}

/** Opens the failed items of an ended job again, as a new round; with code, which that round runs. */
export function retry(state: ClusterState, job: Job, asked: RetryAsk, effects: Effect[]): void {
  if (job.phase === "unread" || job.phase === "folding") {
    job.retryAsks.push(asked);
    if (job.phase === "unread") effects.push({ kind: "readLog", job: job.id, segment: job.segment });
    return;
  }
  const { ask, code } = asked;
  const ranges = isEnded(job.state) ? failedRanges(job) : [];
  const refusal = refuseRetry(job, ranges, code);
  if (refusal !== undefined) {
    effects.push({ kind: "answer", ask, answer: refusal });
    return;
  }
  job.round += 1;
  if (code !== undefined) job.repairs = [...job.repairs, { round: job.round, ...code }];
  job.state = move(jobTransitions, { machine: "job", id: job.id, from: job.state, event: "retry" });
  job.reason = "";
  job.endedAt = undefined;
  job.reducing = false;
  Object.assign(job.clock, { ranMs: 0, at: undefined, storedMs: 0 });
  job.failedOn.clear();
  job.tag = startTag(state);
  state.active.add(job);
  job.asks.push(ask);
  announce(state, job, { kind: "reopen", ranges, round: job.round }, effects);
}

function refuseRetry(job: Job, ranges: readonly Range[], code: RepairCode | undefined): Answer | undefined {
  const { id, state, spec, repairs } = job;
  if (!isEnded(state)) {
    const hint = `wait for it: everycore job wait ${id.slice(0, 8)}`;
    return refuse("conflict", `job ${id} is ${state}; only an ended job can be retried`, hint);
  }
  if (ranges.length === 0) return refuse("conflict", `job ${id} has no failed items to retry`);
  if (code === undefined) return undefined;
  if (spec.task.runtime === "exec")
    return refuse("conflict", `job ${id} runs a program, which no code can replace`, "leave --code away");
  // Partials of the old code are in it already, and cannot be told from those of the new one.
  if (spec.task.reduce !== undefined) {
    const message = `job ${id} is a reduction, whose one value would be made by both codes`;
    return refuse("conflict", message, "submit it anew with the new code");
  }
  if (repairs.length < limits.repairsMax) return undefined;
  return refuse(
    "conflict",
    `job ${id} has had ${repairs.length} codes, which is the limit`,
    "submit it anew",
  );
}

function failedRanges(job: Job): Range[] {
  const failed = new IntervalSet();
  for (const status of ["error", "timeout", "crash", "lost", "cancelled", "expired"] as const) {
    failed.addAll(job.fold.ranges(status));
  }
  failed.addAll(job.fold.gaps());
  const total = job.fold.total ?? 0;
  // A reduction's result no longer holds once one of its items runs again.
  if (job.spec.task.reduce !== undefined && !failed.isEmpty && job.fold.covered.has(total)) {
    failed.add(total, total + 1);
  }
  return failed.toRanges();
}

/** Ends the job when all its items are covered; queues the reduction item before that (DESIGN 5). */
export function maybeFinish(state: ClusterState, job: Job, effects: Effect[]): void {
  const total = job.fold.total;
  if (total === undefined || isEnded(job.state) || job.phase === "folding") return;
  if (!job.fold.covered.covers(0, total) || isReopening(job)) return;
  if (job.state === "running" && needsReduction(job, total)) {
    const { strict } = job.spec;
    if (strict && missingItems(job) > 0) {
      fail(state, job, "an item of the reduction has no value (--strict)", effects);
    } else if (!job.reducing) {
      job.reducing = true;
      enqueue(state, job, { start: total, end: total + 1 });
    }
    return;
  }
  // Its reduction waits for the resume.
  if (job.state === "paused" && needsReduction(job, total)) return;
  // A cancel's intent must be stored and its seals folded before the end is recorded.
  if (job.state === "cancelling" && !job.intentActed) return;
  if (job.reducing && !job.fold.covered.has(total)) return;
  if (job.state === "accepting") return;
  // Nobody waits for the audit of a job that is cancelled.
  if (job.state !== "cancelling" && isChecking(job)) return;
  finish(state, job, effects);
}

/** A reopen that was sent, or is still to be sent, uncovers items: how they ended before is not their end. */
export const isReopening = (job: Job): boolean =>
  !job.reopening.isEmpty || (job.state !== "cancelling" && job.openedRound < job.round);

function needsReduction(job: Job, total: number): boolean {
  return job.spec.task.reduce !== undefined && total > 0 && !job.fold.covered.has(total);
}

function finish(state: ClusterState, job: Job, effects: Effect[]): void {
  const isCancelling = job.state === "cancelling";
  const event = !isCancelling ? "finish" : job.intent?.kind === "fail" ? "failed" : "cancelled";
  job.state = move(jobTransitions, { machine: "job", id: job.id, from: job.state, event });
  job.endedAt = state.now;
  job.intent = undefined;
  job.finalCounts = countsOfItems(job);
  job.finalMissing = missingItems(job);
  job.finalTotal = job.fold.total;
  endChecks({ state, job, effects });
  // No report can say anything of it any more; a retry begins with nothing to wait for.
  if (job.phase === "reporting")
    job.phase = move(phaseTransitions, {
      machine: "phase of job",
      id: job.id,
      from: job.phase,
      event: "reported",
    });
  abandonAll(state, job);
  state.active.delete(job);
  for (const node of state.nodes.values()) {
    if (node.state !== "lost")
      effects.push({ kind: "sendJobEnded", node: node.id, job: job.id, round: job.round });
  }
  save(state, job, effects);
  effects.push({ kind: "jobChanged", job: job.id });
}

export function remove(state: ClusterState, job: Job, ask: number | undefined, effects: Effect[]): void {
  if (!isEnded(job.state)) {
    if (ask === undefined) return;
    const hint = `cancel it first: everycore job cancel ${job.id.slice(0, 8)}`;
    effects.push({ kind: "answer", ask, answer: refuse("conflict", `job ${job.id} is ${job.state}`, hint) });
    return;
  }
  state.jobs.delete(job.id);
  for (const node of state.nodes.values()) node.asked.delete(job.id);
  state.folding.delete(job);
  effects.push({ kind: "deleteJob", job: job.id, segment: job.segment });
  if (ask !== undefined) effects.push({ kind: "answer", ask, answer: { ok: true, job: job.id } });
  effects.push({ kind: "jobChanged", job: job.id });
}

/** Time's work: ended jobs whose ttl is over; jobs whose submitting stream is gone for good. */
export function tickJob(state: ClusterState, job: Job, effects: Effect[]): void {
  const { ttlMs } = job.spec;
  if (job.endedAt !== undefined && ttlMs > 0 && state.now - job.endedAt > ttlMs && !job.putting) {
    remove(state, job, undefined, effects);
    return;
  }
  if (!takesInput(job) || job.orphan === undefined || job.phase === "folding") return;
  if (state.now - job.orphan.at < times.acceptingOrphanMs) return;
  if (job.orphan.detached) {
    appendClose(job, effects);
    job.orphan = undefined;
  } else {
    const message = "its client was gone for 30 s before the input was complete";
    cancel(state, job, { message, ask: undefined, status: "cancelled" }, effects);
  }
}
