/**
 * Where an item waits, and how it gets from one place to another. The only file that writes queues and the
 * `open` sets of leases; everything else asks here, so that C1 (one place per item) is kept in one page.
 */
import type { JobId, LeaseId, NodeId, Range } from "@everycore/protocol/pure";
import { IntervalSet, sizeOf } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Job, Lease, Node, Queues } from "./model.ts";
import { leaseTransitions, move } from "./transitions.ts";

export const emptyQueues = (): Queues => ({
  normal: new IntervalSet(),
  announced: new IntervalSet(),
  alone: new IntervalSet(),
  awaiting: new IntervalSet(),
  crashed: new Map(),
  delayed: new IntervalSet(),
  due: new Map(),
});

/** Those that may be leased now. */
export const queuedItems = (job: Job): number =>
  job.queues.normal.size + job.queues.announced.size + job.queues.alone.size + job.queues.crashed.size;

/** With those that wait before they are tried again. */
export const waitingItems = (job: Job): number => queuedItems(job) + job.queues.delayed.size;

/**
 * Puts the uncovered items of [start, end) that are nowhere else into the queue that their strikes ask for.
 * Covered items are skipped: whoever returns a range need not know what was accepted meanwhile.
 */
export function enqueue(state: ClusterState, job: Job, range: Range): void {
  for (const open of job.fold.covered.missingIn(range.start, range.end)) {
    for (const free of job.sealing.missingIn(open.start, open.end))
      for (const rest of undoubled(job, free)) enqueueFree(state, job, rest);
  }
  job.known = Math.max(job.known, range.end);
  state.dirty = true;
}

function enqueueFree(state: ClusterState, job: Job, range: Range): void {
  for (let at = range.start; at < range.end;) {
    const run = job.fold.mishaps.careRun(at, range.end);
    let stop = run.end;
    // Crashed items are single; a run of the same care is cut around them.
    const crashed = job.fold.mishaps.nextCrashed(at, stop);
    if (crashed === at) {
      job.queues.crashed.set(at, state.now);
      stop = at + 1;
    } else {
      if (crashed !== undefined) stop = crashed;
      queueOfLevel(job, run.level).add(at, stop);
    }
    at = stop;
  }
}

/** As `enqueue`, but they may be leased from `at` on. */
function delay(job: Job, range: Range, at: number): void {
  const { delayed, due } = job.queues;
  for (const open of job.fold.covered.missingIn(range.start, range.end)) {
    for (const free of job.sealing.missingIn(open.start, open.end).flatMap((part) => undoubled(job, part))) {
      delayed.add(free.start, free.end);
      let items = due.get(at);
      if (items === undefined) due.set(at, (items = new IntervalSet()));
      items.add(free.start, free.end);
    }
  }
}

/** Items whose time has come leave the delayed ones. */
export function takeDue(job: Job, now: number): Range[] {
  const { delayed, due } = job.queues;
  const taken: Range[] = [];
  for (const [at, items] of due) {
    if (at > now) continue;
    due.delete(at);
    taken.push(...items.toRanges());
  }
  delayed.removeAll(taken);
  return taken;
}

function removeDelayed(job: Job, { start, end }: Range): number {
  const { delayed, due } = job.queues;
  const taken = delayed.remove(start, end);
  if (taken === 0) return 0;
  for (const [at, items] of due) if (items.remove(start, end) > 0 && items.isEmpty) due.delete(at);
  return taken;
}

function queueOfLevel(job: Job, care: number): IntervalSet {
  if (care === 0) return job.queues.normal;
  return care === 1 ? job.queues.announced : job.queues.alone;
}

/** Takes [start, end) out of all queues; returns how many items were in one. */
export function unqueue(job: Job, range: Range): number {
  const { normal, announced, alone, awaiting, crashed } = job.queues;
  let taken = removeDelayed(job, range);
  for (const set of [normal, announced, alone, awaiting]) taken += set.remove(range.start, range.end);
  if (crashed.size > 0) {
    for (const index of crashed.keys()) {
      if (index < range.start || index >= range.end) continue;
      crashed.delete(index);
      taken += 1;
    }
  }
  return taken;
}

/** Items of [start, end) that wait in some queue: nobody has them. */
export function queuedWithin(job: Job, range: Range): Range[] {
  const found = new IntervalSet();
  const { normal, announced, alone, awaiting, crashed, delayed } = job.queues;
  for (const set of [normal, announced, alone, awaiting, delayed])
    found.addAll(set.within(range.start, range.end));
  for (const index of crashed.keys()) {
    if (index >= range.start && index < range.end) found.add(index, index + 1);
  }
  return found.toRanges();
}

/** The lease, be it its items' own place or a second one. */
export const leaseOf = (job: Job | undefined, id: LeaseId): Lease | undefined =>
  job?.leases.get(id) ?? job?.doubles.get(id);

/** The leases of a node, each looked up when its turn comes: what is done to one may end another. */
export function* leasesOn(state: ClusterState, node: Node): Generator<{ job: Job; lease: Lease }> {
  for (const [id, of] of [...node.leases]) {
    const job = state.jobs.get(of);
    const lease = leaseOf(job, id);
    if (job !== undefined && lease !== undefined) yield { job, lease };
  }
}

/** The lease that holds the item. */
export function holderOf(job: Job, index: number): Lease | undefined {
  for (const lease of job.leases.values()) if (lease.open.has(index)) return lease;
  return undefined;
}

/** Items that lose their place and have a second lease stay where that is: it becomes their place. */
function undoubled(job: Job, range: Range): Range[] {
  if (job.doubles.size === 0) return [range];
  const rest = IntervalSet.of([range]);
  for (const [id, lease] of job.doubles) {
    const [item] = lease.open.within(range.start, range.end);
    if (item === undefined || rest.remove(item.start, item.end) === 0) continue;
    job.doubles.delete(id);
    lease.isDouble = false;
    job.leases.set(id, lease);
    countHeld(job, lease, 1);
  }
  return rest.toRanges();
}

/** Of two that run an item one was first: the other lets go of it. */
function endDoubles(
  state: ClusterState,
  job: Job,
  range: Range,
  lease: LeaseId | undefined,
  effects: Effect[],
): void {
  for (const double of job.doubles.values()) {
    const [item] = double.open.within(range.start, range.end);
    if (item === undefined) continue;
    const isFirst = double.grant.id === lease;
    const loser = isFirst ? holderOf(job, item.start) : double;
    if (isFirst) job.doubled.won += 1;
    // One that still has others goes on: what it ends with here comes as a duplicate.
    if (loser?.open.size === 1)
      effects.push({ kind: "dropLeases", node: loser.grant.node, leases: [loser.grant.id] });
    takeFromLease(state, job, double, item);
  }
}

/** [start, end) has ended: it leaves whatever queue or lease it was in. `lease` is where it most likely is. */
export function leave(
  state: ClusterState,
  job: Job,
  range: Range,
  lease: LeaseId | undefined,
  effects: Effect[],
): void {
  if (job.doubles.size > 0) endDoubles(state, job, range, lease, effects);
  job.sealing.remove(range.start, range.end);
  let left = range.end - range.start;
  const likely = lease === undefined ? undefined : job.leases.get(lease);
  if (likely !== undefined) left -= takeFromLease(state, job, likely, range);
  if (left > 0) left -= unqueue(job, range);
  if (left <= 0) return;
  for (const other of job.leases.values()) takeFromLease(state, job, other, range);
}

/** C6. The lease gets [start, end). */
export function hold(job: Job, lease: Lease, range: Range): void {
  countHeld(job, lease, lease.open.add(range.start, range.end));
}

function countHeld(job: Job, { grant: { node }, isDouble }: Lease, items: number): void {
  if (isDouble) return;
  const { held } = job;
  const left = (held.byNode.get(node) ?? 0) + items;
  held.total += items;
  if (left === 0) held.byNode.delete(node);
  else held.byNode.set(node, left);
}

/** C6. The lease lets go of all that it still has. */
function letGo(job: Job, lease: Lease): void {
  countHeld(job, lease, -lease.open.size);
  lease.open.clear();
}

/** Removes [start, end) from the lease's open items; a lease without any is finished. */
export function takeFromLease(state: ClusterState, job: Job, lease: Lease, range: Range): number {
  const taken = lease.open.remove(range.start, range.end);
  countHeld(job, lease, -taken);
  if (taken > 0) lease.movedAt = state.now;
  if (lease.open.isEmpty) endLease(state, job, lease, "finish");
  return taken;
}

/** Items of [start, end) that the lease still holds go back to the queue, now or at a time. */
export function returnToQueue(
  state: ClusterState,
  job: Job,
  lease: Lease,
  range: Range & { readonly at?: number | undefined },
): void {
  const held = lease.open.within(range.start, range.end);
  countHeld(job, lease, -sizeOf(held));
  lease.open.removeAll(held);
  if (held.length > 0) lease.movedAt = state.now;
  // Of a double they have their place elsewhere.
  for (const part of lease.isDouble ? [] : held) {
    if (range.at === undefined) enqueue(state, job, part);
    else delay(job, part, range.at);
  }
  if (lease.open.isEmpty) endLease(state, job, lease, "finish");
}

/** The lease is over; what it still held goes back to the queue. */
export function dropLease(
  state: ClusterState,
  job: Job,
  lease: Lease,
  event: "refuse" | "expire" | "lose",
): void {
  const held = lease.open.toRanges();
  letGo(job, lease);
  endLease(state, job, lease, event);
  for (const part of lease.isDouble ? [] : held) enqueue(state, job, part);
}

function endLease(state: ClusterState, job: Job, lease: Lease, event: string): void {
  if (lease.state === "gone") return;
  // A commit may overtake the acknowledgement of its own lease.
  const from = event === "finish" && lease.state === "sending" ? "held" : lease.state;
  lease.state = move(leaseTransitions, { machine: "lease", id: lease.grant.id, from, event });
  job.leases.delete(lease.grant.id);
  job.doubles.delete(lease.grant.id);
  state.nodes.get(lease.grant.node)?.leases.delete(lease.grant.id);
  touchFor(state, lease.grant.node, job.id);
}

/** The node may get more of this job. */
export function touchFor(state: ClusterState, node: NodeId, job: JobId): void {
  const jobs = state.committed.get(node);
  if (jobs === undefined) state.committed.set(node, new Set([job]));
  else jobs.add(job);
}

/** Forgets every lease and queue of the job, without returning anything: it is being cancelled. */
export function abandonAll(state: ClusterState, job: Job): void {
  for (const lease of [...job.doubles.values(), ...job.leases.values()]) {
    letGo(job, lease);
    endLease(state, job, lease, "lose");
  }
  const { normal, announced, alone, awaiting, crashed, delayed, due } = job.queues;
  for (const set of [normal, announced, alone, awaiting, delayed]) set.clear();
  crashed.clear();
  due.clear();
}

/** Estimated work that the lease still holds, ms of one slot; unknown costs count as 1 ms. */
export const openMs = (job: Job, lease: Lease): number => lease.open.size * (job.itemMs ?? 1);
