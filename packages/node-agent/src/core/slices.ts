/**
 * Which slot runs what: slices of 20-50 ms are cut from the leases, jobs in the order of (priority, tag), the leases of
 * one in that of their age; an idle slot is filled at once, a busy one gets a second slice behind it while items are
 * cheap and nobody starves.
 */
import { cut, levelAt, limits } from "@everycore/protocol/pure";
import type { AgentEvent, Effect } from "./events.ts";
import { ownEnd, queuedItems, requeue, settle } from "./jobs.ts";
import type { AgentState, Job, Lease, Slice, Slot, Worker } from "./model.ts";
import { move, sliceTransitions } from "./transitions.ts";
import { isAlive, kill, onSlot, workerFor, spareQuietMs } from "./workers.ts";

/** Items dearer than this run without a slice behind them: the gap between slices is small beside them. */
const aheadItemMs = 5;
/** Items of one slice, whatever their cost. */
const sliceItemsMax = 50_000;
/** An announced slice that was not allowed to start is announced again after this. */
const askAgainMs = 1_000;
/** Items after which a worker is replaced: small leaks of its task end here. */
const workerItemsMax = 10_000_000;
/** Memory of what items cost: older slices count less, so that a job may change its mind. */
const learnedMsMax = 2_000;

type Of<Kind extends AgentEvent["kind"]> = Extract<AgentEvent, { kind: Kind }>;

/** Fills idle slots, then puts one slice behind running ones. */
export function dispatch(state: AgentState, effects: Effect[]): void {
  if (state.disk !== "ok" || state.spoolBytes >= limits.spoolBytesMax || state.drain !== "working") return;
  for (const slot of state.slots) {
    if (busyWorker(state, slot) !== undefined) continue;
    if (aloneRuns(state)) return;
    if (!startOn(state, slot, effects)) break;
  }
  if (aloneRuns(state) || state.slots.some((slot) => busyWorker(state, slot) === undefined)) return;
  for (const slot of state.slots) queueBehind(state, slot, effects);
}

export const busyWorker = (state: AgentState, slot: Slot): Worker | undefined =>
  onSlot(state, slot.id).find((worker) => worker.slices.length > 0);

function aloneRuns(state: AgentState): boolean {
  for (const worker of state.workers.values()) {
    for (const slice of worker.slices) {
      if (state.jobs.get(slice.job)?.leases.get(slice.lease)?.mode === "alone") return true;
    }
  }
  return false;
}

/**
 * The lease whose turn it is: by (priority, tag) between jobs, by age within one, so that its outcomes come in order.
 * The tag of a lease is its job's share when it was leased; what it has been served since counts too, or ten seconds of
 * leased work would go before a small job.
 */
function nextLease(state: AgentState): { job: Job; lease: Lease } | undefined {
  let best: Turn | undefined;
  for (const job of state.jobs.values()) {
    const lease = job.failure !== undefined ? undefined : oldestWaiting(job);
    if (lease === undefined) continue;
    const next = { job, lease, tag: servedTag(job, lease) };
    if (best === undefined || isBefore(next, best)) best = next;
  }
  return best;
}

function oldestWaiting(job: Job): Lease | undefined {
  let oldest: Lease | undefined;
  for (const lease of job.leases.values()) {
    if (!lease.ready || lease.queue.isEmpty) continue;
    if (oldest === undefined || lease.grant.n < oldest.grant.n) oldest = lease;
  }
  return oldest;
}

const servedTag = (job: Job, { tag, queue, grant }: Lease): number =>
  tag + ((queue.first()?.start ?? grant.start) - grant.start) * (job.itemMs ?? 0);

interface Turn {
  readonly job: Job;
  readonly lease: Lease;
  readonly tag: number;
}

const isBefore = (a: Turn, b: Turn): boolean =>
  a.lease.priority !== b.lease.priority
    ? a.lease.priority > b.lease.priority
    : a.tag !== b.tag
      ? a.tag < b.tag
      : a.lease.grant.n < b.lease.grant.n;

/** False: nothing is waiting for a slot. */
function startOn(state: AgentState, slot: Slot, effects: Effect[]): boolean {
  const next = nextLease(state);
  if (next === undefined) return false;
  // A suspect of taking nodes down runs with nothing beside it: first everything else comes to its end.
  if (next.lease.mode === "alone" && [...state.workers.values()].some((worker) => worker.slices.length > 0))
    return false;
  const worker = workerFor(state, slot, next, effects);
  if (worker !== undefined) give(state, { slot, worker, ...next }, effects);
  return true;
}

function queueBehind(state: AgentState, slot: Slot, effects: Effect[]): void {
  const worker = busyWorker(state, slot);
  if (worker === undefined || worker.slices.length !== 1 || !isAlive(worker) || worker.worn) return;
  const [running] = worker.slices;
  const job = worker.job === undefined ? undefined : state.jobs.get(worker.job);
  if (job?.itemMs === undefined || job.itemMs > aheadItemMs || running?.life !== "sent") return;
  // It runs longer than thought: what is put behind it would wait for nothing.
  if (state.now - Math.max(running.sentAt, running.cursorAt) > limits.sliceTargetMs) return;
  const next = nextLease(state);
  if (next?.job !== job || next.lease.mode !== "normal" || next.lease.memoryBytes !== undefined) return;
  // The last items are left for whichever slot is free first.
  const perSlice = limits.sliceTargetMs / job.itemMs;
  if (queuedItems(job) < state.slots.length * Math.min(perSlice, 4)) return;
  give(state, { slot, worker, ...next }, effects);
}

function give(
  state: AgentState,
  to: { slot: Slot; worker: Worker; job: Job; lease: Lease },
  effects: Effect[],
): void {
  const { slot, worker, job, lease } = to;
  const first = lease.queue.first();
  if (first === undefined) return;
  const end = sliceEnd(state, job, lease, first);
  lease.queue.remove(first.start, end);
  const asks = lease.mode !== "normal";
  const slice: Slice = {
    id: (slot.nextSlice += 1),
    job: job.id,
    lease: lease.grant.id,
    start: first.start,
    end,
    life: asks ? "asking" : "sent",
    limit: end,
    ask: asks ? (state.nextAsk += 1) : 0,
    sentAt: state.now,
    estimateMs: job.itemMs === undefined ? undefined : job.itemMs * (end - first.start),
    cursor: undefined,
    cursorAt: state.now,
    cutEnd: end,
    cutFor: undefined,
    splits: 0,
  };
  worker.slices.push(slice);
  worker.usedAt = state.now;
  // Nothing goes behind a slice with memory of its own: it would be measured by that, and by what is left of it.
  if (lease.memoryBytes !== undefined) worker.worn = true;
  if (asks) effects.push(announce(lease, slice));
  else effects.push(sendSlice(worker, lease, slice));
}

function sliceEnd(state: AgentState, job: Job, lease: Lease, first: { start: number; end: number }): number {
  if (lease.mode === "alone" || lease.partials) return first.start + 1;
  const there = first.end - first.start;
  const wanted = cut({
    items: there,
    itemMs: job.itemMs,
    targetMs: limits.sliceTargetMs,
    itemsMax: sliceItemsMax,
  });
  if (job.task.reduced)
    return first.start + 2 ** Math.min(levelAt(first.start, first.end), Math.floor(Math.log2(wanted)));
  // Towards the end of the queue slots share what is left, rather than one of them taking it.
  const share = Math.ceil(queuedItems(job) / state.slots.length);
  return first.start + Math.max(1, Math.min(wanted, share));
}

const announce = (lease: Lease, slice: Slice): Effect => ({
  kind: "sliceStarting",
  job: lease.job,
  grant: lease.grant,
  range: { start: slice.start, end: slice.end },
  ask: slice.ask,
});

const sendSlice = (worker: Worker, lease: Lease, slice: Slice): Effect => ({
  kind: "sendSlice",
  worker: worker.id,
  slice: slice.id,
  job: slice.job,
  lease: slice.lease,
  start: slice.start,
  end: slice.end,
  attempts: lease.attempts.filter((run) => run.start < slice.end && run.end > slice.start),
  partials: lease.partials,
});

/** The leader knows that the slice starts: a death of this node can now be laid at its door. */
export function mayStart(state: AgentState, event: Of<"mayStart">, effects: Effect[]): void {
  for (const worker of state.workers.values()) {
    for (const slice of worker.slices) {
      if (slice.life !== "asking" || slice.ask !== event.ask) continue;
      const lease = state.jobs.get(slice.job)?.leases.get(slice.lease);
      if (lease === undefined || !isAlive(worker)) continue;
      slice.life = move(sliceTransitions, {
        machine: "slice",
        id: slice.id,
        from: slice.life,
        event: "allow",
      });
      slice.sentAt = state.now;
      effects.push(sendSlice(worker, lease, slice));
    }
  }
}

/** A new link: what was asked on the old one is asked again. */
export function announceAgain(state: AgentState, effects: Effect[]): void {
  for (const worker of state.workers.values()) {
    for (const slice of worker.slices) {
      const lease = state.jobs.get(slice.job)?.leases.get(slice.lease);
      if (slice.life === "asking" && lease !== undefined) effects.push(announce(lease, slice));
    }
  }
}

export function sliceEnded(state: AgentState, event: Of<"sliceEnded">, effects: Effect[]): void {
  const worker = state.workers.get(event.worker);
  const slice = worker?.slices.find((known) => known.id === event.slice);
  if (worker === undefined || slice === undefined) return;
  worker.slices = worker.slices.filter((known) => known !== slice);
  worker.usedAt = state.now;
  const slot = state.slots[worker.slot];
  if (slot !== undefined) slot.quietUntil = state.now + spareQuietMs;
  worker.items += Math.max(0, event.ended - slice.start);
  if (worker.items >= workerItemsMax) worker.worn = true;
  const next = worker.slices[0];
  if (next !== undefined) next.cursorAt = state.now;
  const job = state.jobs.get(slice.job);
  if (job === undefined) return;
  const rest = { start: Math.max(slice.start, event.ended), end: ownEnd(slice) };
  const lease = job.leases.get(slice.lease);
  if (lease?.memoryBytes !== undefined) kill(worker, { kind: "stop" }, effects);
  // Cut for the leader, and over before the cursor was read: what was to be given is known all the better.
  if (slice.life === "cutting" && slice.cutFor === "leader" && lease !== undefined && rest.start < rest.end) {
    giveAway(lease, [rest], effects);
  } else requeue(state, slice, rest);
  learn(job, event.ended - slice.start, event.busyMs);
  const usage = job.usage.get(worker.slot) ?? {
    slot: worker.slot,
    items: 0,
    slices: 0,
    splits: 0,
    busyMs: 0,
    cpuMs: 0,
  };
  job.usage.set(worker.slot, {
    slot: worker.slot,
    items: usage.items + Math.max(0, event.ended - slice.start),
    slices: usage.slices + 1,
    splits: usage.splits + slice.splits,
    busyMs: usage.busyMs + event.busyMs,
    cpuMs: usage.cpuMs + event.cpuMs,
  });
  settle(state, job, job.leases.get(slice.lease), effects);
}

function learn(job: Job, items: number, ms: number): void {
  if (items <= 0) return;
  const { learned } = job;
  learned.items += items;
  learned.ms += ms;
  if (learned.ms > learnedMsMax) {
    learned.items /= 2;
    learned.ms /= 2;
  }
  job.itemMs = Math.max(learned.ms / learned.items, 1e-4);
}

/** The truncated part of a slice: where its worker was tells what is ours again. */
export function cursorRead(state: AgentState, event: Of<"cursorRead">, effects: Effect[]): void {
  const worker = state.workers.get(event.worker);
  if (worker === undefined) return;
  for (const slice of worker.slices) {
    // No sight: the slice has not begun, and will see the limit when it does.
    const cursor = event.sights.find((seen) => seen.slice === slice.id)?.cursor;
    if (cursor !== undefined && cursor !== slice.cursor) {
      slice.cursor = cursor;
      slice.cursorAt = state.now;
    }
    if (event.cut && slice.life === "cutting") takeBack(state, worker, slice, effects);
  }
  checkTimeout(state, worker, event.phase, effects);
}

/** DESIGN 9, "Give back" d and e: whoever claims an item after this cursor has seen the limit. */
function takeBack(state: AgentState, worker: Worker, slice: Slice, effects: Effect[]): void {
  slice.life = move(sliceTransitions, { machine: "slice", id: slice.id, from: slice.life, event: "read" });
  if (slice.cutFor === "drop") {
    // It had begun before its limit was there: what stood in front of it has ended, and costs nothing.
    if (slice.cursor !== undefined) kill(worker, { kind: "cancel" }, effects);
    return;
  }
  const back = Math.max(slice.limit, slice.cursor === undefined ? slice.start : slice.cursor + 1);
  const upTo = slice.cutEnd;
  const asked = slice.limit;
  slice.limit = Math.min(back, upTo);
  // The page says what holds: after a kill -9 of the agent the running item must be seen as inside its slice.
  // Raised to c+1 at most, and c was claimed before: nothing more is run for it.
  if (slice.limit !== asked)
    effects.push({ kind: "setLimit", worker: worker.id, slice: slice.id, limit: slice.limit });
  const job = state.jobs.get(slice.job);
  const lease = job?.leases.get(slice.lease);
  if (job === undefined || lease === undefined || back >= upTo) return;
  slice.splits += 1;
  if (slice.cutFor === "leader") giveAway(lease, [{ start: back, end: upTo }], effects);
  else lease.queue.add(back, upTo);
  settle(state, job, lease, effects);
}

export function giveAway(
  lease: Lease,
  ranges: readonly { start: number; end: number }[],
  effects: Effect[],
): void {
  lease.gaveBack.addAll(ranges);
  effects.push({ kind: "gaveBack", job: lease.job, grant: lease.grant, ranges });
}

export function cutSlice(
  worker: Worker,
  slice: Slice,
  to: { limit: number; for: "leader" | "self" | "drop" },
  effects: Effect[],
): void {
  slice.cutEnd = ownEnd(slice);
  slice.life = move(sliceTransitions, { machine: "slice", id: slice.id, from: slice.life, event: "cut" });
  slice.cutFor = to.for;
  slice.limit = to.limit;
  effects.push({ kind: "setLimit", worker: worker.id, slice: slice.id, limit: to.limit });
  effects.push({ kind: "readCursor", worker: worker.id, cut: true });
}

/** The item's time runs from when its cursor was first seen; judged only by a cursor just read: never early. */
function checkTimeout(state: AgentState, worker: Worker, phase: string, effects: Effect[]): void {
  const [slice] = worker.slices;
  if (slice?.cursor === undefined || phase !== "item" || !isAlive(worker)) return;
  const timeoutMs = state.jobs.get(slice.job)?.task.itemTimeoutMs;
  if (timeoutMs === undefined || slice.cursor >= ownEnd(slice)) return;
  if (state.now - slice.cursorAt >= timeoutMs) kill(worker, { kind: "timeout", item: slice.cursor }, effects);
}

/** An announcement without an answer is repeated: its leader may not have taken our report yet (P5). */
function askAgain(state: AgentState, worker: Worker, effects: Effect[]): void {
  for (const slice of worker.slices) {
    const lease = state.jobs.get(slice.job)?.leases.get(slice.lease);
    if (slice.life !== "asking" || lease === undefined || state.now - slice.sentAt < askAgainMs) continue;
    slice.sentAt = state.now;
    effects.push(announce(lease, slice));
  }
}

/** Looks that fall due: item timeouts, and slices that run far longer than was thought. */
export function watchSlices(state: AgentState, effects: Effect[]): void {
  for (const worker of state.workers.values()) {
    if (isAlive(worker)) askAgain(state, worker, effects);
    const [slice] = worker.slices;
    if (slice === undefined || !isAlive(worker) || worker.life !== "serving") continue;
    const job = state.jobs.get(slice.job);
    if (job?.task.itemTimeoutMs !== undefined)
      effects.push({ kind: "readCursor", worker: worker.id, cut: false });
    const estimate = Math.max(slice.estimateMs ?? 0, limits.sliceTargetMs);
    const since = Math.max(slice.sentAt, slice.cursorAt, worker.takenAt);
    const isOver = state.now - since > limits.sliceOverrunFactor * estimate;
    if (!isOver) continue;
    // What waits behind an overrun is freed whole; of the slice itself everything after the running item.
    for (const late of worker.slices) {
      const end = ownEnd(late);
      if (late.life !== "sent" || (late === slice && end - slice.start <= 1)) continue;
      cutSlice(worker, late, { limit: late.start, for: "self" }, effects);
    }
  }
}
