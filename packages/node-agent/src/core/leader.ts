/** What the leader asks of an agent: give back, confirm, drop, cancel, forget, drain; and what a new link means. */
import type { JobId, LeaseId, Range } from "@everycore/protocol/pure";
import type { AgentEvent, Effect, LeaseFacts } from "./events.ts";
import { acknowledgedOf, ownEnd, queuedItems, sayHello, settle, slicesOf, workersOf } from "./jobs.ts";
import type { AgentState, Job, Lease, Slice, Worker } from "./model.ts";
import { announceAgain, busyWorker, cutSlice, giveAway } from "./slices.ts";
import { drainTransitions, move } from "./transitions.ts";
import { isAlive, kill } from "./workers.ts";

type Of<Kind extends AgentEvent["kind"]> = Extract<AgentEvent, { kind: Kind }>;

/**
 * One that has nothing left and no leader waits so long for the next, to say goodbye: else that would wait for it, three
 * times as long, with all that it may have held. A leader is replaced in less.
 */
const goodbyeMs = 5_000;
/** Acknowledged sequences of ended jobs that are still told. */
const ackedSeqsMax = 2_000;

/** DESIGN 9, "Give back": the tail of the queue first; if that is empty, the running slice with most left. */
export function giveBack(state: AgentState, event: Of<"giveBackAsked">, effects: Effect[]): void {
  const job = state.jobs.get(event.job);
  if (job === undefined)
    return void effects.push({ kind: "gaveBack", job: event.job, grant: undefined, ranges: [] });
  if (event.isAll) {
    if (!giveJobBack(job, effects))
      effects.push({ kind: "gaveBack", job: job.id, grant: undefined, ranges: [] });
    return;
  }
  const idle = state.slots.filter((slot) => busyWorker(state, slot) === undefined).length;
  const queued = queuedItems(job);
  const want =
    job.itemMs === undefined ? Math.ceil(queued / 2) : Math.max(1, Math.floor(event.wantMs / job.itemMs));
  let left = Math.min(want, queued - idle);
  const leases = [...job.leases.values()].sort(
    (a, b) => a.priority - b.priority || b.tag - a.tag || b.grant.n - a.grant.n,
  );
  let gave = false;
  for (const lease of leases) {
    const ranges = takeTail(lease, left);
    if (ranges.length === 0) continue;
    for (const range of ranges) left -= range.end - range.start;
    giveAway(lease, ranges, effects);
    gave = true;
  }
  if (!gave && !splitLongest(state, job, effects)) {
    effects.push({ kind: "gaveBack", job: job.id, grant: undefined, ranges: [] });
  }
}

function takeTail(lease: Lease, items: number): Range[] {
  const ranges: Range[] = [];
  for (let left = items; left > 0;) {
    const last = lease.queue.last();
    if (last === undefined) break;
    const start = Math.max(last.start, last.end - left);
    lease.queue.remove(start, last.end);
    ranges.unshift({ start, end: last.end });
    left -= last.end - start;
  }
  return ranges;
}

/** Half of what is left of the slice with most left; false when every slice is down to its running item. */
function splitLongest(state: AgentState, job: Job, effects: Effect[]): boolean {
  const left = ({ slice }: { slice: ReturnType<typeof slicesOf>[number]["slice"] }): number =>
    ownEnd(slice) - Math.max(slice.start, slice.cursor ?? slice.start);
  const [most] = slicesOf(state, job.id)
    .filter(
      ({ slice, worker }) =>
        (slice.life === "sent" || slice.life === "cut") && isAlive(worker) && left({ slice }) > 1,
    )
    .sort((a, b) => left(b) - left(a));
  if (most === undefined) return false;
  const { slice, worker } = most;
  const end = ownEnd(slice);
  const elapsed = state.now - Math.max(slice.sentAt, slice.cursorAt);
  const ran = job.itemMs === undefined ? 0 : Math.floor(elapsed / job.itemMs);
  const at = Math.min(end - 1, (slice.cursor ?? slice.start) + ran);
  cutSlice(worker, slice, { limit: Math.max(at + 1, Math.ceil((at + 1 + end) / 2)), for: "leader" }, effects);
  return true;
}

export function confirmed(state: AgentState, event: Of<"giveBackConfirmed">, effects: Effect[]): void {
  const job = state.jobs.get(event.job);
  const lease = job?.leases.get(event.lease);
  if (job === undefined || lease === undefined) return;
  lease.gaveBack.removeAll(event.ranges);
  settle(state, job, lease, effects);
}

/** Covered or leased elsewhere: whatever of them runs is stopped, what they ended with is forgotten. */
export function dropLeases(state: AgentState, ids: readonly LeaseId[], effects: Effect[]): void {
  const found: { readonly job: Job; readonly lease: Lease }[] = [];
  for (const id of ids) {
    for (const job of state.jobs.values()) {
      const lease = job.leases.get(id);
      if (lease !== undefined) found.push({ job, lease });
    }
  }
  for (const { lease } of found) lease.dropped = true;
  for (const { job, lease } of found) {
    for (const places of [lease.queue, lease.done, lease.gaveBack]) places.clear();
    dropWaiting(state, job, (run) => run.lease.id === lease.grant.id, effects);
    const slices = slicesOf(state, job.id).filter(({ slice }) => slice.lease === lease.grant.id);
    for (const { worker, slice } of slices) dropSlice(job, worker, slice, effects);
    if (slices.some(({ worker }) => isAlive(worker))) continue; // it goes when they have ended
    job.leases.delete(lease.grant.id);
    effects.push({ kind: "forgetLease", job: job.id, lease: lease.grant.id });
  }
}

/** P3: in front of it may run an item of a lease that stays. Only what has begun is ended with its worker. */
function dropSlice(job: Job, worker: Worker, slice: Slice, effects: Effect[]): void {
  if (slice.start >= ownEnd(slice)) return; // cut to nothing before
  const [front] = worker.slices;
  const waits = front !== slice && job.leases.get(front!.lease)?.dropped === false;
  const canBeCut = isAlive(worker) && (slice.life === "sent" || slice.life === "cut");
  if (waits && canBeCut && slice.cursor === undefined)
    cutSlice(worker, slice, { limit: slice.start, for: "drop" }, effects);
  else kill(worker, { kind: "cancel" }, effects);
}

/**
 * A lease of a retry with other code, when the end of the round before was not heard of here: what is left of that is
 * stale, for its items have ended or were opened again, and its workers have the former code in them.
 */
export function replaceCode(state: AgentState, facts: LeaseFacts, effects: Effect[]): void {
  const job = state.jobs.get(facts.job);
  if (job === undefined || facts.task.code === job.task.code) return;
  if (facts.epoch < state.epoch || facts.grant.round <= job.round) return;
  dropLeases(state, [...job.leases.keys()], effects);
  for (const worker of workersOf(state, job.id)) kill(worker, { kind: "stop" }, effects);
  job.task = facts.task;
  job.failure = undefined;
  job.itemMs = undefined;
  job.learned = { items: 0, ms: 0 };
}

function dropWaiting(
  state: AgentState,
  job: Job,
  isDropped: (run: Job["waiting"][number]) => boolean,
  effects: Effect[],
): void {
  const dropped = job.waiting.filter(isDropped);
  if (dropped.length === 0) return;
  const bytes = dropped.reduce((sum, run) => sum + run.to - run.from, 0);
  job.waiting = job.waiting.filter((run) => !isDropped(run));
  job.waitingBytes -= bytes;
  state.spoolBytes -= bytes;
  effects.push({ kind: "freeOutcomes", runs: dropped });
}

/** Cancelled or ended, in this round: leases of a later one may have overtaken the message, by another way (P5). */
export function jobOver(
  state: AgentState,
  { job: id, round }: Of<"cancelled"> | Of<"jobEnded">,
  effects: Effect[],
): void {
  const job = state.jobs.get(id);
  if (job === undefined || round === undefined || job.round <= round) return forgetJob(state, id, effects);
  const over = [...job.leases.values()].filter(({ grant }) => grant.round <= round);
  dropLeases(
    state,
    over.map(({ grant }) => grant.id),
    effects,
  );
}

/** Workers die at once (P5: a cancelled core is free within a second), all is forgotten. */
function forgetJob(state: AgentState, id: JobId, effects: Effect[]): void {
  const job = state.jobs.get(id);
  for (const worker of workersOf(state, id))
    kill(worker, { kind: worker.slices.length > 0 ? "cancel" : "stop" }, effects);
  if (job !== undefined) {
    for (const lease of job.leases.keys()) effects.push({ kind: "forgetLease", job: id, lease });
    dropWaiting(state, job, () => true, effects);
    state.jobs.delete(id);
  }
  for (const strike of [...state.strikes.values()]) if (strike.job === id) state.strikes.delete(strike.id);
  state.ackedSeqs.delete(id);
  effects.push({ kind: "dropJob", job: id });
}

export function linkUp(state: AgentState, effects: Effect[]): void {
  effects.push(sayHello(state));
}

export function welcomed(state: AgentState, event: Of<"welcomed">, effects: Effect[]): void {
  if (event.epoch < state.epoch) {
    state.connected = false;
    const reason = `its epoch ${event.epoch} is over; this agent has seen ${state.epoch}`;
    return void effects.push({ kind: "closeLink", reason });
  }
  state.epoch = event.epoch;
  state.connected = true;
  state.starvingTold = 0;
  state.nodes = Math.max(1, event.nodes);
  dropLeases(state, event.drop, effects);
  announceAgain(state, effects);
  while (state.ackedSeqs.size > ackedSeqsMax) {
    const oldest = state.ackedSeqs.keys().next().value;
    if (oldest === undefined) break;
    state.ackedSeqs.delete(oldest);
  }
}

export function drain(state: AgentState, event: Of<"drainAsked">): void {
  state.drain = move(drainTransitions, { machine: "agent", id: 0, from: state.drain, event: "drain" });
  state.drainBy = Math.min(state.drainBy, state.now + event.deadlineMs);
}

/** Its leader thinks better of it. What a signal began goes on: whoever sent it waits for our end. */
export function undrain(state: AgentState): void {
  if (state.drain !== "draining" || Number.isFinite(state.drainBy)) return;
  state.drain = move(drainTransitions, { machine: "agent", id: 0, from: state.drain, event: "undrain" });
  state.idleSince = undefined;
  state.starvingTold = 0;
}

/** What will not start here any more is its leader's again: of all jobs while we drain, of those that do not load. */
export function giveIdleBack(state: AgentState, effects: Effect[]): void {
  for (const job of state.jobs.values())
    if (state.drain === "draining" || job.failure !== undefined) giveJobBack(job, effects);
}

/** All of the job that does not run yet; false: there is none. */
function giveJobBack(job: Job, effects: Effect[]): boolean {
  let gave = false;
  for (const lease of job.leases.values()) {
    const ranges = lease.queue.toRanges();
    if (ranges.length === 0) continue;
    lease.queue.clear();
    giveAway(lease, ranges, effects);
    gave = true;
  }
  return gave;
}

/** Running slices come to their end, or to the deadline; then all is committed and confirmed, and we go. */
export function drainOn(state: AgentState, effects: Effect[]): void {
  if (state.drain !== "draining") return;
  const busy = [...state.workers.values()].filter((worker) => worker.slices.length > 0);
  const late = state.now >= state.drainBy;
  if (late) for (const worker of busy) kill(worker, { kind: "stop" }, effects);
  const open = state.commits.size > 0 || state.strikes.size > 0 || [...state.jobs.values()].some(isOpen);
  // Two seconds beyond the deadline even what is not confirmed goes: the files keep the outcomes.
  const isOver = state.now >= state.drainBy + 2_000;
  if ((busy.length > 0 || open) && !isOver) return;
  state.idleSince ??= state.now;
  const waits = !state.connected && state.epoch > 0 && state.now < state.idleSince + goodbyeMs;
  if (waits && !isOver) return;
  state.drain = move(drainTransitions, { machine: "agent", id: 0, from: state.drain, event: "done" });
  effects.push({ kind: "drained", acknowledged: acknowledgedOf(state) });
}

const isOpen = (job: Job): boolean =>
  job.waiting.length > 0 || [...job.leases.values()].some((lease) => !lease.gaveBack.isEmpty);
