/**
 * How much work is cut off at once: the same function cuts leases (at the leader) and slices (at the agent).
 * Single items first, until a cost is known: a guess would be wrong by orders of magnitude.
 */

export interface CutRequest {
  /** Items that there are, >= 1. */
  readonly items: number;
  /** Learned cost of one item in ms of one slot, or undefined while unknown. */
  readonly itemMs: number | undefined;
  /** Work wanted, ms of one slot. */
  readonly targetMs: number;
  /** Upper bound in items, whatever the cost. */
  readonly itemsMax: number;
}

/** Items to cut off: at least one, at most all. */
export function cut(request: CutRequest): number {
  const { items, itemMs, targetMs, itemsMax } = request;
  if (itemMs === undefined) return 1;
  const wanted = Math.floor(targetMs / Math.max(itemMs, 1e-6));
  return Math.max(1, Math.min(items, itemsMax, wanted));
}

/**
 * Taper: no lease may hold more than this share of what remains, so that the end of a job is spread over
 * all slots: node slots x remaining / (2 x cluster slots), at least one.
 */
export function taper(options: { remaining: number; nodeSlots: number; clusterSlots: number }): number {
  const { remaining, nodeSlots, clusterSlots } = options;
  return Math.max(1, Math.ceil((nodeSlots * remaining) / (2 * Math.max(1, clusterSlots))));
}
