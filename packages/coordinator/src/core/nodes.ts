/**
 * A node's life: reports, silence, loss, and what it says of its leases; its end in order is in drains.ts. A report is
 * idempotent: it states what the agent holds, and whatever this leader believed beyond that returns to the queue.
 */
import type { Acknowledged, LeaseId, NodeId, Range } from "@everycore/protocol/pure";
import { furthest, IntervalSet, isEnded, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import { fail } from "./jobs.ts";
import { appendStrike } from "./leader-records.ts";
import { newLease, roundOf } from "./leases.ts";
import type { ClusterState, Job, Keys, Lease, LeaseReport, Node, NodeReport } from "./model.ts";
import { dropLease, hold, leaseOf, leasesOn, queuedWithin, returnToQueue, unqueue } from "./queues.ts";
import { isQuarantined } from "./quarantine.ts";
import { fits } from "./runtimes.ts";
import { saveNode, standingOf } from "./standing.ts";
import { move, nodeTransitions } from "./transitions.ts";

/** A node that had nothing to give is not asked again for this long, lest the two of them talk all day. */
const nothingToGiveMs = 100;
/** One that gave: long enough for what it gave to reach the idle slots, short beside a slice. */
const gaveMs = 5;

function newNode(state: ClusterState, id: NodeId): Node {
  return {
    id,
    host: "",
    machine: "",
    slots: 1,
    state: "connected",
    reason: "",
    incarnation: "",
    lastSeenAt: 0,
    suspectedAt: 0,
    speed: 1,
    leases: new Map(),
    runtimes: [],
    labels: [],
    busy: 0,
    starving: 0,
    draining: false,
    undrainedAt: 0,
    diskFull: false,
    refusedUntil: 0,
    asked: new Map(),
    startWaits: undefined,
    deferred: undefined,
    leaving: undefined,
    reported: false,
    standing: standingOf(state, id),
  };
}

export const moveNode = (node: Node, event: string): void => {
  node.state = move(nodeTransitions, { machine: "node", id: node.id, from: node.state, event });
};

/** An agent said hello: again after a broken link, or for the first time. */
export function report(state: ClusterState, keys: Keys, said: NodeReport, effects: Effect[]): void {
  let node = state.nodes.get(said.node);
  const known = node !== undefined && node.state !== "drained";
  if (node === undefined) state.nodes.set(said.node, (node = newNode(state, said.node)));
  else moveNode(node, "report");
  node.lastSeenAt = state.now;
  node.reason = "";
  node.host = said.host;
  node.machine = said.machine;
  node.slots = Math.max(1, said.slots);
  node.runtimes = said.runtimes;
  node.labels = said.labels;
  node.diskFull = false;
  node.refusedUntil = 0;
  node.starving = 0;
  node.startWaits = undefined;
  node.asked.clear();
  if (node.incarnation !== "" && node.incarnation !== said.incarnation) {
    node.draining = false;
    // A restarted agent may have what it lacked: an interpreter, a module.
    for (const job of state.jobs.values()) job.failedOn.delete(node.id);
  }
  if (!known) saveNode(state, node.id, effects);
  effects.push({ kind: "nodeChanged", node: node.id });
  // Its next life knows what its files said, not what was committed before.
  node.deferred = { ...said, acknowledged: furthest(said.acknowledged, node.leaving ?? new Map()) };
  node.leaving = undefined;
  settle(state, keys, node, effects);
  // Still deferred: taken up again by takeover.ts as the logs are read.
  if (node.deferred !== undefined) state.takingOver = true;
}

/**
 * Takes the node's report if every log it speaks of is folded as far as its agent saw; else it waits: a lease
 * that it no longer lists may have ended in commits that this leader has not read yet.
 */
export function settle(state: ClusterState, keys: Keys, node: Node, effects: Effect[]): void {
  const said = node.deferred;
  if (said === undefined) return;
  if (!isFolded(state, said.acknowledged)) return;
  node.deferred = undefined;
  // It may have missed an end while its link was broken: else it would keep workers for that job (P7).
  for (const id of said.acknowledged.keys()) {
    const job = state.jobs.get(id);
    if (job === undefined || isEnded(job.state))
      effects.push({ kind: "sendJobEnded", node: node.id, job: id, ...roundOf(job) });
  }
  const restarted = node.incarnation !== said.incarnation;
  const listed = new Map<LeaseId, LeaseReport>(said.leases.map((lease) => [lease.grant.id, lease]));
  reconcile(state, node, said, { restarted, listed }, effects);
  node.incarnation = said.incarnation;
  const unknown: LeaseId[] = [];
  for (const lease of said.leases) {
    if (!adopt(state, keys, node, lease, said, effects)) unknown.push(lease.grant.id);
  }
  if (unknown.length > 0) effects.push({ kind: "dropLeases", node: node.id, leases: unknown });
  node.reported = true;
  if (restarted && !said.filesRecovered && state.awaited.has(node.id)) state.someLost = true;
  state.awaited.delete(node.id);
  state.dirty = true;
}

/** Whether all that an agent had committed when it spoke is read, and all that was there at a takeover. */
export function isFolded(state: ClusterState, acknowledged: Acknowledged): boolean {
  for (const [id, seq] of acknowledged) {
    const job = state.jobs.get(id);
    if (job !== undefined && !isEnded(job.state) && job.fold.seq < seq) return false;
  }
  return state.recovered && !isHeldUpByLogs(state);
}

/** What an ended job's log says of leases is of no use any more. */
export const isHeldUpByLogs = (state: ClusterState): boolean =>
  [...state.folding].some((job) => !isEnded(job.state));

/** Compares what this leader believes with what the agent says. */
function reconcile(
  state: ClusterState,
  node: Node,
  said: NodeReport,
  how: { restarted: boolean; listed: ReadonlyMap<LeaseId, LeaseReport> },
  effects: Effect[],
): void {
  for (const { job, lease } of leasesOn(state, node)) {
    const told = how.listed.get(lease.grant.id);
    if (told !== undefined) {
      const has = IntervalSet.of([...told.unfinished, ...told.unacknowledged]);
      for (const held of lease.open.toRanges()) {
        for (const lacks of has.missingIn(held.start, held.end)) returnToQueue(state, job, lease, lacks);
      }
    } else if (how.restarted) {
      if (said.filesRecovered) dropLease(state, job, lease, "lose");
      else strikeLost(state, job, lease, effects);
    } else if (lease.accepted !== undefined && lease.accepted <= said.accepted) {
      // Silence about a lease counts only up to the agent's counter: later ones crossed the report.
      dropLease(state, job, lease, "lose");
    }
  }
}

/** A reported lease that this leader does not know is adopted where its items are free; false: drop it. */
function adopt(
  state: ClusterState,
  keys: Keys,
  node: Node,
  told: LeaseReport,
  said: NodeReport,
  effects: Effect[],
): boolean {
  const job = state.jobs.get(told.job);
  if (job === undefined || isEnded(job.state) || job.state === "cancelling") {
    effects.push({ kind: "sendCancel", node: node.id, job: told.job, ...roundOf(job) });
    return true;
  }
  const { grant } = told;
  let lease = leaseOf(job, grant.id);
  if (lease === undefined) {
    if (grant.node !== node.id || !keys.verify(job.id, grant)) return false;
    lease = newLease(state, job, { grant, mode: "normal", isDouble: false });
    lease.state = "held";
    lease.accepted = said.accepted;
    for (const range of [...told.unfinished, ...told.unacknowledged]) adoptRange(job, lease, range);
    if (lease.open.isEmpty) return false;
    job.leases.set(grant.id, lease);
    node.leases.set(grant.id, job.id);
    if (job.startedAt === undefined) job.startedAt = state.now;
  }
  for (const range of told.gaveBack) returnToQueue(state, job, lease, range);
  if (told.gaveBack.length > 0) {
    effects.push({
      kind: "confirmGaveBack",
      node: node.id,
      job: job.id,
      lease: grant.id,
      ranges: told.gaveBack,
    });
  }
  return true;
}

function adoptRange(job: Job, lease: Lease, range: Range): void {
  const { grant } = lease;
  const inside = { start: Math.max(range.start, grant.start), end: Math.min(range.end, grant.end) };
  // An item that was struck or retried under this lease is no longer its own, whatever an old report says.
  const members = queuedWithin(job, inside).flatMap((free) => job.fold.mishaps.membersOf(grant.id, free));
  for (const run of members.flatMap((free) => job.fold.roundRuns(free))) {
    if (run.round !== grant.round) continue;
    unqueue(job, run);
    hold(job, lease, run);
  }
}

/**
 * The node is gone: whatever its lease still holds gets a `lost` strike, and leaves the lease when the fold
 * sees it (log.ts), so that its queue is chosen with the strike counted.
 */
function strikeLost(state: ClusterState, job: Job, lease: Lease, effects: Effect[]): void {
  if (lease.mode !== "normal") {
    // Announced slices: only what had started can have taken the node with it.
    for (const open of lease.open.toRanges()) {
      for (const idle of lease.started.missingIn(open.start, open.end))
        returnToQueue(state, job, lease, idle);
    }
  }
  appendStrike(state, job, { lease: lease.grant, ranges: lease.open.toRanges(), cause: "lost" }, effects);
}

export function heartbeat(
  state: ClusterState,
  event: { node: NodeId; busy: number; diskFull: boolean; diskReason?: string },
  effects: Effect[],
): void {
  const node = state.nodes.get(event.node);
  if (node?.state === "drained") return;
  if (node === undefined || node.state === "lost") {
    // Its leases were placed elsewhere, it may even be forgotten: only a report, which a new link brings, brings it back
    // (P5).
    effects.push({
      kind: "closeLink",
      node: event.node,
      reason: "silent for so long that it was held for lost",
    });
    return;
  }
  node.lastSeenAt = state.now;
  node.busy = event.busy;
  if (node.diskFull !== event.diskFull) {
    node.diskFull = event.diskFull;
    node.reason = event.diskFull ? (event.diskReason ?? "its disk is full") : "";
    state.dirty = true;
    effects.push({ kind: "nodeChanged", node: node.id });
  }
  // A broken link is mended by a report; a mere silence ends with the next sign of life.
  if (node.state === "suspected" && node.reason === "silent" && node.reported) {
    moveNode(node, "heard");
    node.reason = "";
    state.dirty = true;
    effects.push({ kind: "nodeChanged", node: node.id });
  }
  state.touched.add(node.id);
}

export function linkBroke(
  state: ClusterState,
  event: { node: NodeId; incarnation: string },
  effects: Effect[],
): void {
  const node = state.nodes.get(event.node);
  if (node === undefined || node.state !== "connected") return;
  if (node.incarnation !== event.incarnation && node.deferred?.incarnation !== event.incarnation) return;
  suspect(state, node, "link broken", effects);
}

function suspect(state: ClusterState, node: Node, reason: string, effects: Effect[]): void {
  moveNode(node, "silence");
  node.suspectedAt = state.now;
  node.reason = reason;
  node.busy = 0;
  effects.push({ kind: "nodeChanged", node: node.id });
}

/** Silence becomes suspicion, suspicion loss (P5: every wait has an end). */
export function tickNode(state: ClusterState, node: Node, effects: Effect[]): void {
  if (node.state === "connected" && state.now - node.lastSeenAt > times.suspectMs) {
    suspect(state, node, "silent", effects);
  }
  if (node.state === "lost" && state.now - node.suspectedAt > times.forgetNodeMs)
    forget(state, node, effects);
  if (node.state !== "suspected" || state.now - node.suspectedAt <= times.lostMs) return;
  moveNode(node, "expire");
  node.reason = `lost: ${node.reason}`;
  node.deferred = undefined;
  node.leaving = undefined;
  for (const { job, lease } of leasesOn(state, node)) strikeLost(state, job, lease, effects);
  effects.push({ kind: "nodeChanged", node: node.id });
}

/** Lost for ten minutes: the next leader need not wait for it. Its leases ended with their strikes. */
function forget(state: ClusterState, node: Node, effects: Effect[]): void {
  if (node.leases.size > 0) return;
  state.nodes.delete(node.id);
  saveNode(state, node.id, effects);
  effects.push({ kind: "nodeChanged", node: node.id });
}

export function gaveBack(
  state: ClusterState,
  event: { node: NodeId; job: Job["id"]; grant: Lease["grant"] | undefined; ranges: readonly Range[] },
  effects: Effect[],
): void {
  const node = state.nodes.get(event.node);
  const job = state.jobs.get(event.job);
  if (node === undefined || job === undefined) return;
  // One ask has several answers, a lease each; none of them is asked for more before what came is placed.
  node.asked.set(event.job, state.now + (event.ranges.length === 0 ? nothingToGiveMs : gaveMs));
  if (event.grant === undefined) return;
  if (node.deferred !== undefined) node.deferred = without(node.deferred, event.grant.id, event.ranges);
  const lease = leaseOf(job, event.grant.id);
  if (lease !== undefined && lease.grant.node === node.id) {
    for (const range of event.ranges) returnToQueue(state, job, lease, range);
  }
  effects.push({
    kind: "confirmGaveBack",
    node: node.id,
    job: event.job,
    lease: event.grant.id,
    ranges: event.ranges,
  });
  state.dirty = true;
}

/** A report that waits still says `unfinished` of what was given back since: nobody would run it (P5). */
function without(said: NodeReport, id: LeaseId, ranges: readonly Range[]): NodeReport {
  const leases = said.leases.map((lease) => {
    if (lease.grant.id !== id) return lease;
    const unfinished = IntervalSet.of(lease.unfinished);
    unfinished.removeAll(ranges);
    return { ...lease, unfinished: unfinished.toRanges() };
  });
  return { ...said, leases };
}

/**
 * A node cannot load the task: it gets no more of it. What it holds comes by other ways, committed or given back: placed
 * anew by this word it would run again, for the commits that crossed it are not read yet (P3).
 */
export function taskFailed(
  state: ClusterState,
  event: { node: NodeId; job: Job["id"]; round: number; message: string; died: boolean },
  effects: Effect[],
): void {
  const job = state.jobs.get(event.job);
  if (job === undefined || isEnded(job.state) || event.round < job.round) return;
  job.failedOn.set(event.node, event.message);
  failIfUnloadable(state, job, effects);
}

/**
 * A task that has run elsewhere is sound: the node is not. One that never ran will not run anywhere, and the job fails
 * with the node's words, once; not before its log is read, which tells whether it ran.
 */
export function failIfUnloadable(state: ClusterState, job: Job, effects: Effect[]): void {
  const message = [...job.failedOn.values()].at(-1);
  if (message === undefined || job.phase !== "open" || isEnded(job.state)) return;
  if (job.fold.counts().value > 0 && hasHope(state, job)) return;
  fail(state, job, message, effects);
}

/** Another node may yet run it: also one whose link is being mended, or that has no room at the moment. */
const hasHope = (state: ClusterState, job: Job): boolean =>
  [...state.nodes.values()].some(
    (node) => (node.state === "connected" || node.state === "suspected") && !node.draining && fits(node, job),
  );

export const usableFor = (node: Node, job: Job): boolean =>
  node.state === "connected" &&
  node.deferred === undefined &&
  !node.draining &&
  !node.diskFull &&
  !isQuarantined(node) &&
  fits(node, job);
