/**
 * Which range goes to which node (DESIGN 9): weighted fair share between users and jobs, priority, runtime;
 * credit in work ahead; tapering towards the end; give-back when slots idle while others hold a queue. Pure
 * policy: it reads the state, makes leases, and never touches coverage.
 */
import type { IntervalSet, JobId, LeaseMode, NodeId, Range } from "@everycore/protocol/pure";
import { limits, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import { save } from "./job-record.ts";
import { countSent, inputEnd, newGrant, newLease, sendEffect } from "./leases.ts";
import type { ClusterState, Job, Keys, Node } from "./model.ts";
import { usableFor } from "./nodes.ts";
import { isQuarantined } from "./quarantine.ts";
import { hold, openMs, queuedItems, unqueue } from "./queues.ts";
import { weightsOf } from "./shares.ts";
import { speculate } from "./speculation.ts";

/** Items per slot of a node's first leases, while the cost is unknown: give-back makes a wrong guess cheap. */
const blindItemsPerSlot = 32;
/** Work per slot below which a node's queue is filled whatever the taper says, ms. */
const floorMsPerSlot = 250;
/** Credit of one job per slot however many share it, ms: with less, each commit would ask for a lease of its own. */
const sharedCreditMs = 1_000;
/** Leases of one job sent to one node in one step. */
const leasesPerStep = 4;
/** Items reserved ahead while the cost is unknown. */
const blindReserve = 65_536;
/** A victim must hold at least this much work, ms, or twice its slots in items, to be asked. */
const giveBackFloorMs = 4;
/** An unanswered give-back is asked again after this. */
const giveBackAgainMs = 1_000;

/** A node without work is looked for again at most this often, beside the ticks. */
const hungryMs = 5;

/**
 * Looks at what something has changed for: mostly one node and one job, whose commit made room. All are looked at when
 * work enters a queue, when a node lacks work, and with each tick. So the leader's work grows with what its agents do,
 * not with that times their number or that of the jobs.
 */
export function place(state: ClusterState, keys: Keys, effects: Effect[]): void {
  const { placed, touched, committed } = state;
  if (!state.leading || (!state.dirty && touched.size === 0 && committed.size === 0)) return;
  const looks = { wasDirty: state.dirty, touched: [...touched], committed: new Map(committed) };
  state.dirty = false;
  touched.clear();
  committed.clear();
  if (state.storage !== "ok") return;
  const jobs = runnable(state);
  if (jobs.length === 0) return;
  const isWhole =
    looks.wasDirty ||
    (placed.isHungry && state.now - placed.at >= hungryMs) ||
    jobs.some((job) => job.queues.crashed.size > 0 || !job.queues.alone.isEmpty);
  const round = { state, keys, effects, weights: undefined, jobs };
  if (isWhole) placeAll(round);
  else placeSome(round, looks);
}

function placeAll(round: Round): void {
  const { state, keys, jobs, effects } = round;
  const { placed } = state;
  const nodes = [...state.nodes.values()].filter(takesWork);
  placed.slots = nodes.reduce((sum, node) => sum + node.slots, 0);
  placed.at = state.now;
  placed.isHungry = false;
  if (nodes.length === 0) return;
  jobs.sort(servedFirst);
  const isOrderFree = nodes.length === 1 || jobs.every((job) => queuedItems(job) === 0);
  const inOrder = isOrderFree ? nodes : leastLoadedFirst(state, nodes);
  for (const job of jobs) placeTroubled(round, job, inOrder);
  for (const node of inOrder) fillNode(round, node, jobs);
  for (const job of jobs) reserveAhead(state, job, placed.slots, effects);
  rebalance(state, nodes, effects);
  for (const job of jobs) speculate(state, keys, job, nodes, effects);
}

/** Of a node that was touched all jobs, of one that committed the jobs of its commits. */
function placeSome(
  round: Round,
  looks: { touched: readonly NodeId[]; committed: ReadonlyMap<NodeId, ReadonlySet<JobId>> },
): void {
  const { state, jobs, effects } = round;
  const looked = new Set<Job>();
  const nodes: Node[] = [];
  const look = (id: NodeId, of: readonly Job[]): void => {
    const node = state.nodes.get(id);
    if (node === undefined || !takesWork(node)) return;
    nodes.push(node);
    fillNode(round, node, of);
    for (const job of of) looked.add(job);
  };
  if (looks.touched.length > 0) jobs.sort(servedFirst);
  for (const id of looks.touched) look(id, jobs);
  for (const [id, ids] of looks.committed) {
    if (looks.touched.includes(id)) continue;
    look(id, jobs.filter((job) => ids.has(job.id)).sort(servedFirst));
  }
  for (const job of looked) reserveAhead(state, job, state.placed.slots, effects);
  rebalance(state, nodes, effects);
}

const takesWork = (node: Node): boolean =>
  node.state === "connected" && !node.draining && !isQuarantined(node);

/** A node that has refused is looked at again when its time is over. */
function fillNode(round: Round, node: Node, jobs: readonly Job[]): void {
  const { state } = round;
  if (state.now < node.refusedUntil) {
    state.touched.add(node.id);
    return;
  }
  for (const job of jobs) if (hasQueue(job) && usableFor(node, job)) fill(round, job, node);
}

const hasQueue = (job: Job): boolean => !job.queues.normal.isEmpty || !job.queues.announced.isEmpty;

interface Round {
  readonly state: ClusterState;
  readonly keys: Keys;
  readonly effects: Effect[];
  /** Jobs with work to place. */
  readonly jobs: Job[];
  /** Of users, once they are asked for. */
  weights: ReadonlyMap<string, number> | undefined;
}

/** Jobs with work to place. */
function runnable(state: ClusterState): Job[] {
  const jobs: Job[] = [];
  for (const job of state.active) {
    const runs = (job.state === "accepting" || job.state === "running") && job.stored;
    if (runs && job.phase !== "folding" && (queuedItems(job) > 0 || job.leases.size > 0)) jobs.push(job);
  }
  return jobs;
}

/** Who is served before whom: priority, then the share served so far, then age. */
export const servedFirst = (a: Job, b: Job): number =>
  b.spec.priority - a.spec.priority || a.tag - b.tag || a.createdAt - b.createdAt;

/** Nodes with the least work ahead choose first. */
function leastLoadedFirst(state: ClusterState, nodes: readonly Node[]): Node[] {
  const byLoad = nodes.map((node) => ({ node, load: loadOf(state, node) }));
  return byLoad.sort((a, b) => a.load - b.load).map(({ node }) => node);
}

/** Work ahead of a node, ms per slot. */
function loadOf(state: ClusterState, node: Node): number {
  let ms = 0;
  for (const [lease, job] of node.leases) {
    const of = state.jobs.get(job);
    const held = of?.leases.get(lease);
    if (of !== undefined && held !== undefined) ms += openMs(of, held);
  }
  return (ms * node.speed) / node.slots;
}

const itemsHeld = (job: Job, node: NodeId): number => job.held.byNode.get(node) ?? 0;

/** Fills the node's credit for this job, from the queues normal and announced. */
function fill(round: Round, job: Job, node: Node): void {
  for (let sent = 0; sent < leasesPerStep; sent += 1) {
    const want = wantedItems(round, job, node);
    if (want < 1) return;
    const from = job.queues.normal.isEmpty ? job.queues.announced : job.queues.normal;
    const mode: LeaseMode = from === job.queues.normal ? "normal" : "announced";
    const range = nextRange(job, from, want);
    if (range === undefined) return;
    lend(round, job, node, range, mode);
  }
}

/** Items that the node may be given now; 0: it has enough. */
function wantedItems(round: Round, job: Job, node: Node): number {
  const waiting = job.queues.normal.size + job.queues.announced.size;
  if (waiting === 0) return 0;
  const held = itemsHeld(job, node.id);
  const clusterSlots = round.state.placed.slots;
  if (job.itemMs === undefined) {
    const share = Math.ceil((waiting * node.slots) / (2 * clusterSlots));
    const cap = Math.max(2 * node.slots, Math.min(blindItemsPerSlot * node.slots, share));
    return held >= node.slots ? 0 : cap - held;
  }
  const itemMs = job.itemMs * node.speed;
  const remainingMs = (waiting + job.held.total) * itemMs;
  const taperMs = (remainingMs * node.slots) / (2 * clusterSlots);
  // The credit of a slot is shared by the jobs: ten of them are not ten times as far ahead.
  const creditMs = Math.max(limits.leaseAheadMs / round.jobs.length, sharedCreditMs) * node.slots;
  const cap = Math.min(creditMs, Math.max(taperMs, floorMsPerSlot * node.slots));
  const heldMs = held * itemMs;
  // Refilled in steps, so that a thousand agents do not mean a lease per commit; an idle slot never waits.
  if (heldMs > 0.6 * cap && held >= 2 * node.slots) return 0;
  const items = Math.floor((cap - heldMs) / itemMs);
  return Math.min(limits.leaseItemsMax, Math.max(items, 2 * node.slots - held));
}

/** The next contiguous run of one round, within reserve and input bounds. */
function nextRange(job: Job, from: IntervalSet, want: number): Range | undefined {
  const first = from.first();
  if (first === undefined || first.start >= job.reserved) return undefined;
  let end = Math.min(first.end, first.start + want, job.reserved);
  end = job.fold.roundRun(first.start, end).end;
  if (job.spec.task.reduce !== undefined) end = alignedEnd(first.start, end);
  end = inputEnd(job, first.start, end);
  return { start: first.start, end };
}

/** Reduced jobs: an end on a large power of two keeps spans large. Never less than half of what was wanted. */
function alignedEnd(start: number, end: number): number {
  for (let unit = 2 ** 30; unit > 1; unit /= 2) {
    const aligned = Math.floor(end / unit) * unit;
    if (aligned > start && aligned - start >= (end - start) / 2) return aligned;
  }
  return end;
}

function lend(round: Round, job: Job, node: Node, range: Range, mode: LeaseMode): void {
  const { state, keys, effects } = round;
  const weights = (round.weights ??= weightsOf(state));
  unqueue(job, range);
  const grant = newGrant(state, keys, job, { ...range, node: node.id });
  const lease = newLease(state, job, { grant, mode, isDouble: false });
  hold(job, lease, range);
  job.leases.set(grant.id, lease);
  node.leases.set(grant.id, job.id);
  node.starving = 0;
  countSent(job, node);
  job.tag += (range.end - range.start) * (job.itemMs ?? 1) * (weights.get(job.user) ?? 1);
  if (job.startedAt === undefined) job.startedAt = state.now;
  effects.push(sendEffect(job, lease));
}

/** Items that killed a worker or lost two nodes: single, on a node that has not seen them die. */
function placeTroubled(round: Round, job: Job, nodes: readonly Node[]): void {
  for (const [index, since] of [...job.queues.crashed]) {
    if (index >= job.reserved) continue;
    const node = nodeForCrashed(round.state, job, nodes, { index, since });
    if (node !== undefined) lend(round, job, node, { start: index, end: index + 1 }, "normal");
  }
  for (const range of job.queues.alone.toRanges()) {
    for (let index = range.start; index < range.end && index < job.reserved; index += 1) {
      const node = nodes.find(
        (n) => usableFor(n, job) && round.state.now >= n.refusedUntil && itemsHeld(job, n.id) < 2 * n.slots,
      );
      if (node === undefined) return;
      lend(round, job, node, { start: index, end: index + 1 }, "alone");
    }
  }
}

/** Another machine first, then another node; the same one when there is no other, or after 30 s. */
function nodeForCrashed(
  state: ClusterState,
  job: Job,
  nodes: readonly Node[],
  item: { index: number; since: number },
): Node | undefined {
  const killed = new Set(job.fold.mishaps.crashes(item.index).map((crash) => crash.node));
  const machines = new Set([...killed].map((id) => state.nodes.get(id)?.machine));
  const able = nodes.filter((node) => usableFor(node, job) && state.now >= node.refusedUntil);
  const fresh = able.filter((node) => !killed.has(node.id));
  const elsewhere = fresh.find((node) => !machines.has(node.machine)) ?? fresh[0];
  if (elsewhere !== undefined) return elsewhere;
  // Nodes that may come back within the time are worth waiting for.
  const others = [...state.nodes.values()].some(
    (node) =>
      !killed.has(node.id) &&
      !node.draining &&
      !isQuarantined(node) &&
      (node.state === "connected" || node.state === "suspected"),
  );
  return others && state.now - item.since < times.crashElsewhereMs ? undefined : able[0];
}

/** Raises the mark below which leases may be given, before they need it (C3; DESIGN 9, takeover step 4). */
function reserveAhead(state: ClusterState, job: Job, clusterSlots: number, effects: Effect[]): void {
  const { normal } = job.queues;
  const limit = job.reserving ?? job.reserved;
  const last = Math.max(normal.last()?.end ?? 0, ...(job.reducing ? [job.known] : []), 0);
  if (last <= limit) return;
  const ahead =
    job.itemMs === undefined
      ? blindReserve
      : Math.ceil((clusterSlots * limits.leaseAheadMs * 2) / job.itemMs);
  const below = normal.within(0, limit).reduce((sum, range) => sum + range.end - range.start, 0);
  if (below > ahead / 4 && below > 0) return;
  const next = Math.min(last, limit + Math.max(ahead, 1_024));
  job.reserving = next;
  save(state, job, effects);
}

/** Slots idle while others hold a queue: ask the one with the most work for its tail (DESIGN 9, "Give back"). */
function rebalance(state: ClusterState, nodes: readonly Node[], effects: Effect[]): void {
  const victims = new Map<Job, Victim[]>();
  for (const idle of nodes) {
    const hungry = idle.leases.size === 0 ? idle.slots : idle.starving;
    if (hungry === 0) continue;
    state.placed.isHungry = true;
    if (state.now < idle.refusedUntil) continue;
    for (const job of state.active) {
      const isSettled = queuedItems(job) > 0 || job.leases.size === 0 || job.state === "paused";
      if (isSettled || !usableFor(idle, job)) continue;
      let list = victims.get(job);
      if (list === undefined) victims.set(job, (list = victimsOf(state, job)));
      const victim = takeRichest(list, idle);
      if (victim === undefined) continue;
      victim.node.asked.set(job.id, state.now + giveBackAgainMs);
      const wantMs = (victim.ms * hungry) / (hungry + victim.node.slots);
      const isAll = victim.isLittle;
      effects.push({ kind: "sendGiveBack", node: victim.node.id, job: job.id, wantMs, isAll });
      break;
    }
  }
}

interface Victim {
  readonly node: Node;
  readonly ms: number;
  /** Nothing to share: all that has not begun goes elsewhere. */
  readonly isLittle: boolean;
}

/** Nodes that may be asked for work of the job, the richest last. */
function victimsOf(state: ClusterState, job: Job): Victim[] {
  const victims: Victim[] = [];
  for (const [id, items] of job.held.byNode) {
    const node = state.nodes.get(id);
    const ms = items * (job.itemMs ?? 1);
    if (node === undefined || node.state !== "connected" || state.now < (node.asked.get(job.id) ?? 0))
      continue;
    const isLittle = items < 2 || (job.itemMs !== undefined && ms < giveBackFloorMs);
    if (isLittle && !waitsBehindOthers(state, job, node)) continue;
    victims.push({ node, ms, isLittle });
  }
  return victims.sort((a, b) => a.ms - b.ms);
}

/** More is there than its slots can run, and not of this job alone: the last item of it may stand behind a long one. */
function waitsBehindOthers(state: ClusterState, job: Job, node: Node): boolean {
  const jobs = new Set(node.leases.values());
  if (jobs.size < 2) return false;
  let items = 0;
  for (const id of jobs) items += state.jobs.get(id)?.held.byNode.get(node.id) ?? 0;
  return items > node.slots;
}

/** Out of the list: a node is asked once. Never the one that lacks work itself. */
function takeRichest(victims: Victim[], idle: Node): Victim | undefined {
  const at = victims.length - (victims.at(-1)?.node === idle ? 2 : 1);
  return at < 0 ? undefined : victims.splice(at, 1)[0];
}
