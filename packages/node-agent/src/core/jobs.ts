/** Leases from their arrival to the last acknowledgement: who holds which item of a job on this node. */
import type { JobId, LeaseId, LeaseRefusal, Range } from "@everycore/protocol/pure";
import { IntervalSet } from "@everycore/protocol/pure";
import type { AgentEvent, Effect, LeaseFacts, LeaseReportFacts } from "./events.ts";
import type { AgentState, Job, Lease, Slice, TaskFailure, Worker } from "./model.ts";

/** Leases held at once; the leader's credit keeps far below it (P7). */
const leasesMax = 10_000;
/** Lease ids remembered, so that a resend is answered and not run again. */
const seenMax = 20_000;
/** The same of those that may still come: a message is on its way for seconds at most. */
const declinedMax = 1_000;

type Of<Kind extends AgentEvent["kind"]> = Extract<AgentEvent, { kind: Kind }>;

export function leaseArrived(state: AgentState, event: Of<"leaseArrived">, effects: Effect[]): void {
  const { lease: facts, ask } = event;
  const before = state.seen.get(facts.grant.id);
  if (before !== undefined) {
    effects.push({ kind: "answerLease", ask, reply: { ok: true, accepted: before } });
    return;
  }
  const refusal = refusalOf(state, facts);
  if (refusal !== undefined) {
    effects.push({ kind: "answerLease", ask, reply: { ok: false, ...refusal } });
    sayFailureAgain(state.jobs.get(facts.job), facts, effects);
    return;
  }
  state.epoch = Math.max(state.epoch, facts.epoch);
  state.accepted += 1;
  remember(state, facts.grant.id);
  const job = jobOf(state, facts);
  job.round = Math.max(job.round, facts.grant.round);
  job.leases.set(facts.grant.id, {
    grant: facts.grant,
    job: job.id,
    mode: facts.mode,
    memoryBytes: facts.memoryBytes,
    priority: facts.priority,
    tag: facts.tag,
    partials: facts.partials,
    attempts: facts.attempts,
    ready: event.ready,
    queue: IntervalSet.of([facts.grant]),
    done: new IntervalSet(),
    gaveBack: new IntervalSet(),
    dropped: false,
  });
  state.runtimesUsed.set(facts.task.runtime, state.now);
  state.starvingTold = 0;
  effects.push({ kind: "answerLease", ask, reply: { ok: true, accepted: state.accepted } });
  if (!event.ready) effects.push({ kind: "fetchInput", job: job.id, lease: facts.grant.id });
}

/** Its leader does not know: it is new, or the word was lost with a link, or was of a round that is over. */
function sayFailureAgain(job: Job | undefined, facts: LeaseFacts, effects: Effect[]): void {
  if (job?.failure === undefined || facts.task.code !== job.task.code) return;
  job.round = Math.max(job.round, facts.grant.round);
  effects.push(taskFailed(job, job.failure));
}

/** Leases are not in it: what has not begun is given back as ever, what has ended here is committed (P3). */
export const taskFailed = ({ id, round }: Job, failure: TaskFailure): Effect => ({
  kind: "taskFailed",
  job: id,
  round,
  failure,
});

function refusalOf(
  state: AgentState,
  facts: LeaseFacts,
): { reason: LeaseRefusal; message: string } | undefined {
  if (facts.epoch < state.epoch) {
    return { reason: "epoch", message: `epoch ${facts.epoch} is over; this agent has seen ${state.epoch}` };
  }
  if (state.declined.has(facts.grant.id))
    return { reason: "late", message: "its leader was told that it had not arrived" };
  if (state.drain !== "working") return { reason: "draining", message: "the node is draining" };
  if (state.disk === "full") return { reason: "disk", message: "the node's disk is full" };
  if (state.disk === "limit")
    return { reason: "disk", message: "the node's state directory has taken all that it may of its disk" };
  if (!state.runtimes.has(facts.task.runtime)) {
    return { reason: "runtime", message: `the node has no runtime ${facts.task.runtime}` };
  }
  const job = state.jobs.get(facts.job);
  if (job !== undefined && facts.task.code !== job.task.code && facts.grant.round <= job.round)
    return {
      reason: "epoch",
      message: `round ${facts.grant.round} of the job is over; its code was replaced`,
    };
  if (job?.failure !== undefined && facts.task.code === job.task.code)
    return { reason: "task", message: "the task does not load on this node" };
  let held = 0;
  for (const job of state.jobs.values()) held += job.leases.size;
  return held >= leasesMax ? { reason: "full", message: `the node holds ${held} leases` } : undefined;
}

/** NATS brought no answer to the leader. What has not arrived by now would come too late (P3: not to run elsewhere too). */
export function leaseAsked(state: AgentState, event: Of<"leaseAsked">, effects: Effect[]): void {
  const { job, lease } = event;
  const accepted = state.seen.get(lease);
  if (accepted === undefined) {
    state.declined.add(lease);
    if (state.declined.size > declinedMax) state.declined.delete(state.declined.values().next().value!);
  }
  effects.push({ kind: "leaseFound", job, lease, accepted });
}

function remember(state: AgentState, lease: LeaseId): void {
  state.seen.set(lease, state.accepted);
  if (state.seen.size <= seenMax) return;
  const oldest = state.seen.keys().next().value;
  if (oldest !== undefined) state.seen.delete(oldest);
}

function jobOf(state: AgentState, facts: LeaseFacts): Job {
  let job = state.jobs.get(facts.job);
  if (job === undefined) {
    job = {
      id: facts.job,
      segment: facts.segment,
      task: facts.task,
      round: facts.grant.round,
      epoch: facts.epoch,
      itemMs: undefined,
      learned: { items: 0, ms: 0 },
      leases: new Map(),
      waiting: [],
      waitingBytes: 0,
      waitingSince: 0,
      usage: new Map(),
      ackedSeq: state.ackedSeqs.get(facts.job) ?? 0,
      inFlight: 0,
      failure: undefined,
    };
    state.jobs.set(facts.job, job);
  }
  job.epoch = Math.max(job.epoch, facts.epoch);
  if (job.learned.items === 0 && facts.itemMs > 0) job.itemMs = facts.itemMs;
  return job;
}

/** Workers that serve the job, dying ones included. */
export const workersOf = (state: AgentState, job: JobId): Worker[] =>
  [...state.workers.values()].filter((worker) => worker.job === job);

export function slicesOf(state: AgentState, job: JobId): { worker: Worker; slice: Slice }[] {
  const found: { worker: Worker; slice: Slice }[] = [];
  for (const worker of state.workers.values()) {
    if (worker.job === job) for (const slice of worker.slices) found.push({ worker, slice });
  }
  return found;
}

/** Items of the job that wait here, whether or not their input has come. */
export function queuedItems(job: Job): number {
  let items = 0;
  for (const lease of job.leases.values()) items += lease.queue.size;
  return items;
}

/** End of what the slice may still run, or may still claim while its limit is being lowered. */
export const ownEnd = (slice: Slice): number =>
  slice.life === "cutting" ? slice.cutEnd : Math.min(slice.end, slice.limit);

/** Items return to their lease's queue: not run, and nobody is told. */
export function requeue(state: AgentState, slice: Slice, range: Range): void {
  if (range.start >= range.end) return;
  const lease = state.jobs.get(slice.job)?.leases.get(slice.lease);
  if (lease?.dropped === false) lease.queue.add(range.start, range.end);
}

/** Forgets the lease when nothing of it is left; then the job, when that was its last. */
export function settle(state: AgentState, job: Job, lease: Lease | undefined, effects: Effect[]): void {
  if (lease !== undefined) {
    const idle = lease.queue.isEmpty && lease.done.isEmpty && lease.gaveBack.isEmpty;
    if (idle && !slicesOf(state, job.id).some(({ slice }) => slice.lease === lease.grant.id)) {
      job.leases.delete(lease.grant.id);
      effects.push({ kind: "forgetLease", job: job.id, lease: lease.grant.id });
    }
  }
  state.ackedSeqs.set(job.id, job.ackedSeq);
}

/** What a hello and the heartbeats say of the leases (DESIGN 9, "Hello and report"). */
export function reportOf(state: AgentState): LeaseReportFacts[] {
  const reports: LeaseReportFacts[] = [];
  for (const job of state.jobs.values()) {
    const running = new Map<LeaseId, Range[]>();
    for (const { slice } of slicesOf(state, job.id)) {
      const end = ownEnd(slice);
      const list = running.get(slice.lease) ?? [];
      if (slice.start < end) list.push({ start: slice.start, end });
      running.set(slice.lease, list);
    }
    for (const lease of job.leases.values()) {
      if (lease.dropped) continue; // or it would be adopted, and then missed
      const unfinished = IntervalSet.of([...lease.queue, ...(running.get(lease.grant.id) ?? [])]);
      unfinished.removeAll(lease.done);
      unfinished.removeAll(lease.gaveBack);
      reports.push({
        job: job.id,
        grant: lease.grant,
        unfinished: unfinished.toRanges(),
        unacknowledged: lease.done.toRanges(),
        gaveBack: lease.gaveBack.toRanges(),
        acknowledgedSeq: job.ackedSeq,
      });
    }
  }
  return reports;
}

export const sayHello = (state: AgentState): Effect => ({
  kind: "hello",
  leases: reportOf(state),
  accepted: state.accepted,
  epoch: state.epoch,
  acknowledged: acknowledgedOf(state),
});

/** Of every job that is known here, if only by name: the leader tells which of them are over. */
export function acknowledgedOf(state: AgentState): Map<JobId, number> {
  const seqs = new Map(state.ackedSeqs);
  for (const job of state.jobs.values()) seqs.set(job.id, Math.max(job.ackedSeq, seqs.get(job.id) ?? 0));
  return seqs;
}
