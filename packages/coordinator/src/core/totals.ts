/**
 * What this leader has seen since it leads: sums for metrics, never read by a decision. Records that a takeover only
 * folds are not counted, else every new leader would count a job's whole history.
 */
import type { FoldDelta } from "@everycore/protocol/pure";
import type { ClusterState, Job, Totals } from "./model.ts";
import { waitingItems } from "./queues.ts";
import { shownState } from "./views.ts";

export const newTotals = (): Totals => ({
  outcomes: { value: 0, error: 0, timeout: 0, crash: 0, lost: 0, cancelled: 0, expired: 0 },
  dropped: { stale: 0, duplicate: 0, invalid: 0 },
  strikes: { crash: 0, lost: 0 },
  retries: 0,
  quarantines: 0,
  checks: { equal: 0, differing: 0, unchecked: 0 },
});

export function addToTotals(state: ClusterState, job: Job, delta: FoldDelta): void {
  if (job.phase === "folding") return;
  const { outcomes, dropped, strikes } = state.totals;
  for (const part of delta.accepted) outcomes[part.status] += part.end - part.start;
  for (const { part, reason } of delta.dropped) dropped[reason] += part.end - part.start;
  for (const { start, end, cause } of delta.struck) strikes[cause] += end - start;
  for (const { start, end } of delta.again) state.totals.retries += end - start;
}

export interface Load {
  readonly jobs: Readonly<Record<string, number>>;
  readonly nodes: Readonly<Record<string, number>>;
  /** Of nodes that may get work. */
  readonly slots: { readonly busy: number; readonly idle: number };
  readonly items: { readonly queued: number; readonly leased: number };
  /** What is queued, by the costs learned so far, in ms of one core. */
  readonly queuedMs: number;
  /** The same of what is leased. */
  readonly leasedMs: number;
  /** Items queued or leased whose cost nobody knows yet: in neither. */
  readonly unknownItems: number;
}

/** The cluster at this moment. Walks active jobs and nodes: for a scrape or a status, not for a step. */
export function loadOf(state: ClusterState): Load {
  const jobs: Record<string, number> = {};
  for (const { state: of } of state.jobs.values()) jobs[of] = (jobs[of] ?? 0) + 1;
  const items = { queued: 0, leased: 0 };
  let queuedMs = 0;
  let leasedMs = 0;
  let unknownItems = 0;
  for (const job of state.active) {
    const queued = waitingItems(job);
    const leased = job.held.total;
    items.queued += queued;
    items.leased += leased;
    if (job.itemMs === undefined) unknownItems += queued + leased;
    queuedMs += queued * (job.itemMs ?? 0);
    leasedMs += leased * (job.itemMs ?? 0);
  }
  const nodes: Record<string, number> = {};
  const slots = { busy: 0, idle: 0 };
  for (const node of state.nodes.values()) {
    const of = shownState(node);
    nodes[of] = (nodes[of] ?? 0) + 1;
    if (of !== "connected") continue;
    slots.busy += Math.min(node.busy, node.slots);
    slots.idle += Math.max(0, node.slots - node.busy);
  }
  return { jobs, nodes, slots, items, queuedMs, leasedMs, unknownItems };
}
