/** What travels with a lease, as types (pure): parsed and encoded in messages.ts. */
import type { JobId } from "./ids.ts";
import type { TaskSpec } from "./job.ts";
import type { LevelRun } from "./level-set.ts";
import type { Codec } from "./outcomes.ts";
import type { LeaseGrant } from "./records.ts";

/** A block of input in the log. */
export interface BlockRef {
  readonly first: number;
  readonly count: number;
  readonly bytes: number;
  /** Sequences of its pieces in the segment's stream, in order. */
  readonly seqs: readonly number[];
}

/** How a lease is to be run: see DESIGN 5, "Strikes". */
export const leaseModes = ["normal", "announced", "alone"] as const;
/** normal; each slice start reported and acknowledged; single items, alone on the node. */
export type LeaseMode = (typeof leaseModes)[number];

export interface LeaseItems {
  readonly codec: Codec;
  /** A packed block of exactly [start, end), when small. */
  readonly inline?: Uint8Array;
  /** Blocks that together contain [start, end), to be fetched. */
  readonly blocks?: readonly BlockRef[];
  /** The one item is the combination of all partials of the job, to be fetched (reductions). */
  readonly partials?: boolean;
}

/** `ec.v1.lease.<agent>`, request. */
export interface LeaseMessage {
  readonly epoch: number;
  readonly job: JobId;
  readonly segment: string;
  readonly task: TaskSpec;
  readonly grant: LeaseGrant;
  readonly items: LeaseItems;
  /** Items tried before, and how often; all others 0. */
  readonly attempts: readonly LevelRun[];
  readonly mode: LeaseMode;
  /** Memory of the worker that runs it, bytes, where its node's own limit was not enough once; absent: that limit. */
  readonly memoryBytes?: number;
  /** Learned cost, ms per item on this node; 0 while unknown. */
  readonly itemMs: number;
  readonly priority: number;
  /** Fair-share tag: the agent's queue is ordered by (priority, tag), not by arrival. */
  readonly tag: number;
}

/** `task`: it does not load there; TaskFailed says why. */
export const leaseRefusals = [
  "epoch",
  "draining",
  "full",
  "disk",
  "runtime",
  "task",
  "malformed",
  "late",
] as const;
export type LeaseRefusal = (typeof leaseRefusals)[number];
/** `accepted`: the agent's counter of accepted leases after this one. */
export type LeaseReply =
  | { readonly ok: true; readonly accepted: number }
  | { readonly ok: false; readonly reason: LeaseRefusal; readonly message: string };
