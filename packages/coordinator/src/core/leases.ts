/** What agents answer to leases, and the announcements of slices in modes `announced` and `alone`. */
import type {
  JobId,
  LeaseGrant,
  LeaseId,
  LeaseMode,
  LeaseReply,
  NodeId,
  Range,
} from "@everycore/protocol/pure";
import { IntervalSet, isEnded, limits, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Job, Keys, Lease, Node, StartAsk } from "./model.ts";
import { isQuarantined } from "./quarantine.ts";
import { dropLease, leaseOf, leasesOn } from "./queues.ts";
import { memoryFor } from "./strikes.ts";
import { leaseTransitions, move } from "./transitions.ts";

/** A node that refused a lease gets nothing for this long. */
const refusalPauseMs = 250;
/**
 * A suspect waits so long for outcomes on their way. What was started before it may also have been cut: it is in the
 * agent's queue again, behind the suspect, and would have no outcome for ever (P5).
 */
const suspicionMs = 5_000;
/** So long after its drain was taken back, a lease may have overtaken that message. */
const undrainMs = 2_000;

export function answered(
  state: ClusterState,
  event: { job: JobId; lease: LeaseId; reply: LeaseReply | undefined; from?: NodeId },
  effects: Effect[],
): void {
  const job = state.jobs.get(event.job);
  const lease = leaseOf(job, event.lease);
  if (job === undefined || lease === undefined || lease.state !== "sending") return;
  const { reply, from } = event;
  // Of its own leases alone.
  if (from !== undefined && from !== lease.grant.node) return;
  const node = state.nodes.get(lease.grant.node);
  if (reply === undefined) {
    const isWanted = job.state !== "paused" && node?.state === "connected" && !isQuarantined(node);
    if (lease.sends < times.leaseSendsMax && isWanted) {
      lease.sends += 1;
      effects.push(sendEffect(job, lease));
      return;
    }
    if (node?.state !== "connected") return giveUp(state, job, lease, effects);
    // It may run there, and only the answer be lost with a server of NATS: its agent knows (P3).
    state.askedLeases.set(lease.grant.id, { job: job.id, at: state.now });
    effects.push({ kind: "askLease", node: node.id, job: job.id, lease: lease.grant.id });
    return;
  }
  if (reply.ok) {
    lease.state = move(leaseTransitions, {
      machine: "lease",
      id: event.lease,
      from: lease.state,
      event: "accept",
    });
    lease.accepted = reply.accepted;
    return;
  }
  if (node !== undefined) {
    node.refusedUntil = state.now + refusalPauseMs;
    if (reply.reason === "disk") node.diskFull = true;
    if (reply.reason === "draining" && state.now - node.undrainedAt > undrainMs) node.draining = true;
    if (reply.reason === "runtime") job.failedOn.set(node.id, reply.message);
  }
  dropLease(state, job, lease, "refuse");
}

/** It may have arrived all the same: whoever holds it is told to drop it, the fold sorts out the rest. */
function giveUp(state: ClusterState, job: Job, lease: Lease, effects: Effect[]): void {
  effects.push({ kind: "dropLeases", node: lease.grant.node, leases: [lease.grant.id] });
  dropLease(state, job, lease, "expire");
}

/** No answer over the link either: it is placed anew (P5). */
export function tickAskedLeases(state: ClusterState, effects: Effect[]): void {
  for (const [id, { job: of, at }] of state.askedLeases) {
    const job = state.jobs.get(of);
    const lease = leaseOf(job, id);
    const isOpen = lease?.state === "sending";
    if (isOpen && state.now - at < times.leaseAskMs) continue;
    state.askedLeases.delete(id);
    if (isOpen) giveUp(state, job!, lease, effects);
  }
}

/** A grant under a number of this epoch, never used before; its id binds all its fields. */
export function newGrant(
  state: ClusterState,
  keys: Keys,
  job: Job,
  to: Range & { readonly node: NodeId },
): LeaseGrant {
  state.counter += 1;
  const { start, end, node } = to;
  const round = job.fold.roundOf(start);
  const fields = { start, end, node, round, n: state.epoch * 2 ** 32 + state.counter };
  return { id: keys.leaseId(job.id, fields), ...fields };
}

/** A lease that nobody has heard of, and that holds nothing yet. */
export function newLease(
  state: ClusterState,
  job: Job,
  of: Pick<Lease, "grant" | "mode" | "isDouble">,
): Lease {
  return {
    ...of,
    job: job.id,
    state: "sending",
    open: new IntervalSet(),
    started: new IntervalSet(),
    sends: 1,
    accepted: undefined,
    tag: job.tag,
    since: state.now,
    movedAt: state.now,
    doubledAt: undefined,
  };
}

/** A second lease of one item, which keeps the place that it has. */
export function lendDouble(
  state: ClusterState,
  keys: Keys,
  job: Job,
  to: { readonly item: number; readonly node: Node; readonly mode: LeaseMode },
  effects: Effect[],
): Lease {
  const { item, node, mode } = to;
  const grant = newGrant(state, keys, job, { start: item, end: item + 1, node: node.id });
  const lease = newLease(state, job, { grant, mode, isDouble: true });
  lease.open.add(item, item + 1);
  job.doubles.set(grant.id, lease);
  node.leases.set(grant.id, job.id);
  countSent(job, node);
  effects.push(sendEffect(job, lease));
  return lease;
}

export function countSent(job: Job, node: Node): void {
  job.leasesSent += 1;
  job.leasesByNode.set(node.id, (job.leasesByNode.get(node.id) ?? 0) + 1);
}

/** The message for a lease; built anew for each try, since coverage may have grown. */
export function sendEffect(job: Job, lease: Lease): Effect {
  const { grant } = lease;
  const total = job.fold.total;
  const partials = job.spec.task.reduce !== undefined && total !== undefined && grant.start === total;
  return {
    kind: "sendLease",
    node: grant.node,
    job: job.id,
    grant,
    mode: lease.mode,
    attempts: job.fold.mishaps.attemptsWithin(grant.start, grant.end),
    memoryBytes: memoryFor(job, grant),
    blocks: partials || job.spec.codec === "range" ? undefined : blocksOf(job, grant),
    partials,
    itemMs: job.itemMs ?? 0,
    tag: lease.tag,
  };
}

/** Position of the block that contains `index`, by binary search. */
function blockAt(job: Job, index: number): number {
  let lo = 0;
  let hi = job.blocks.length - 1;
  while (lo < hi) {
    const mid = (lo + hi + 1) >>> 1;
    if (job.blocks[mid]!.first <= index) lo = mid;
    else hi = mid - 1;
  }
  return lo;
}

function blocksOf(job: Job, range: Range): Job["blocks"] {
  const blocks: Job["blocks"] = [];
  for (let at = blockAt(job, range.start); at < job.blocks.length; at += 1) {
    const block = job.blocks[at]!;
    if (block.first >= range.end) break;
    blocks.push(block);
  }
  return blocks;
}

/** How far a lease from `start` may reach before its input passes the bound in bytes; at least one item. */
export function inputEnd(job: Job, start: number, end: number): number {
  if (job.blocks.length === 0) return end;
  let bytes = 0;
  for (let at = blockAt(job, start); at < job.blocks.length; at += 1) {
    const block = job.blocks[at]!;
    if (block.first >= end) break;
    bytes += block.bytes;
    if (bytes > limits.leaseInputBytesMax) return Math.max(start + 1, Math.min(end, block.first));
  }
  return end;
}

/** The round that is over, of a job that is still known. */
export const roundOf = (job: Job | undefined): { round?: number } =>
  job === undefined ? {} : { round: job.round };

/** A slice in trouble asks to start: what has started is what a death of the node may be blamed on. */
export function sliceStarting(state: ClusterState, event: StartAsk, effects: Effect[]): void {
  const job = state.jobs.get(event.job);
  const lease = leaseOf(job, event.lease);
  if (lease === undefined || lease.grant.node !== event.node) {
    // Until its report is taken, a lease may still be adopted; the agent asks again. Afterwards nobody waits for it.
    const settled = state.recovered && state.nodes.get(event.node)?.deferred === undefined;
    if (!settled) return;
    const isOver = job === undefined || isEnded(job.state);
    if (isOver) effects.push({ kind: "sendJobEnded", node: event.node, job: event.job, ...roundOf(job) });
    else effects.push({ kind: "dropLeases", node: event.node, leases: [event.lease] });
    return;
  }
  const node = state.nodes.get(event.node);
  if (node !== undefined && lease.mode === "alone" && isUnderSuspicion(state, node, lease, event.range)) {
    const before = node.startWaits?.lease === event.lease ? node.startWaits.since : undefined;
    const since = event.since ?? before ?? state.now;
    if (state.now - since < suspicionMs) {
      node.startWaits = { ...event, since };
      return;
    }
  }
  if (node !== undefined) node.startWaits = undefined;
  for (const held of lease.open.within(event.range.start, event.range.end)) {
    lease.started.add(held.start, held.end);
  }
  effects.push({ kind: "mayStart", node: event.node, ask: event.ask });
}

/**
 * Another item was started there and has no outcome in the log. It may have ended, and its outcome be on its way: were
 * its neighbour to take the node now, it would be blamed as well, and for the last time.
 */
function isUnderSuspicion(state: ClusterState, node: Node, lease: Lease, range: Range): boolean {
  for (const { lease: other } of leasesOn(state, node)) {
    for (const { start, end } of other.started) {
      for (const open of other.open.within(start, end)) {
        const isOwn = other === lease && open.start >= range.start && open.end <= range.end;
        if (!isOwn) return true;
      }
    }
  }
  return false;
}

/** What the node has committed may be what its next slice waits for; else the agent asks again after a second. */
export function askedStart(state: ClusterState, id: NodeId, effects: Effect[]): void {
  const node = state.nodes.get(id);
  const waits = node?.startWaits;
  if (node === undefined || waits === undefined) return;
  node.startWaits = undefined;
  sliceStarting(state, waits, effects);
}
