/**
 * A straggler late in a job: one item that runs far longer than the others did, while slots have nothing to do. If the
 * job asks for it, such an item gets a second lease on another node. Both run; the fold takes whose outcome comes first
 * (P2), the other is ended, and what it may have committed counts as a duplicate.
 */
import type { Effect } from "./events.ts";
import { lendDouble } from "./leases.ts";
import type { ClusterState, Job, Keys, Lease, Node } from "./model.ts";
import { usableFor } from "./nodes.ts";
import { holderOf, queuedItems } from "./queues.ts";

/** An item is late when it runs so many times as long as the job's items do by what was learned. */
const lateFactor = 3;
/** And never before so long: the leader hears of an end up to a commit later, and a second try costs a slot. */
const lateMs = 1_000;
/** What is learned from fewer items tells nothing of the next one. */
const itemsLearnedMin = 10;

/** `nodes`: those that take work. */
export function speculate(
  state: ClusterState,
  keys: Keys,
  job: Job,
  nodes: readonly Node[],
  effects: Effect[],
): void {
  if (job.spec.speculate !== true || !isLate(job)) return;
  const doubled = new Set([...job.doubles.values()].map(({ open }) => open.first()?.start));
  for (const lease of [...job.leases.values()]) {
    const item = lease.open.first()?.start;
    if (item === undefined || doubled.has(item) || !isStraggler(state, job, lease)) continue;
    const node = idleFor(state, job, lease, nodes);
    if (node === undefined) return;
    // A second try that comes to nothing is not repeated at once.
    lease.doubledAt = state.now;
    lendDouble(state, keys, job, { item, node, mode: "normal" }, effects);
    job.doubled.given += 1;
    node.starving = Math.max(0, node.starving - 1);
  }
}

/** Its input is complete, nothing of it waits, most of it has ended. A reduction commits spans: two would overlap. */
function isLate(job: Job): boolean {
  const { fold, held, spec } = job;
  if (job.state !== "running" || job.phase !== "open" || spec.task.reduce !== undefined) return false;
  if (fold.total === undefined || queuedItems(job) > 0 || !job.queues.awaiting.isEmpty) return false;
  return fold.covered.size >= Math.max(itemsLearnedMin, 3 * held.total);
}

/** The one item that its lease still has is not in trouble, and has been the last for long. */
function isStraggler(state: ClusterState, job: Job, lease: Lease): boolean {
  if (lease.open.size !== 1 || lease.state !== "held" || lease.mode !== "normal") return false;
  const item = lease.open.first()!.start;
  if (job.fold.mishaps.crashes(item).length > 0 || job.itemMs === undefined) return false;
  const speed = state.nodes.get(lease.grant.node)?.speed ?? 1;
  const since = Math.max(lease.movedAt, lease.doubledAt ?? 0);
  return state.now - since > Math.max(lateMs, lateFactor * job.itemMs * speed);
}

/** A node with a slot that has nothing to do; on another machine if there is one. */
function idleFor(state: ClusterState, job: Job, lease: Lease, nodes: readonly Node[]): Node | undefined {
  const { machine } = state.nodes.get(lease.grant.node) ?? {};
  const idle = nodes.filter(
    (node) =>
      node.id !== lease.grant.node &&
      (node.leases.size === 0 || node.starving > 0) &&
      state.now >= node.refusedUntil &&
      usableFor(node, job),
  );
  return idle.find((node) => node.machine !== machine) ?? idle[0];
}

/** For people: which items run twice, and which could (`--speculate`). */
export function stragglersOf(
  state: ClusterState,
  job: Job,
): { readonly item: number; readonly lease: Lease; readonly double: Lease | undefined }[] {
  const found: { item: number; lease: Lease; double: Lease | undefined }[] = [];
  for (const double of job.doubles.values()) {
    const item = double.open.first()!.start;
    const lease = holderOf(job, item);
    if (lease !== undefined) found.push({ item, lease, double });
  }
  if (!isLate(job)) return found;
  for (const lease of job.leases.values()) {
    const item = lease.open.first()!.start;
    const isKnown = found.some((known) => known.item === item);
    if (!isKnown && isStraggler(state, job, lease)) found.push({ item, lease, double: undefined });
  }
  return found;
}
