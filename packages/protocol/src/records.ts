/**
 * The records of a job's log (DESIGN 4 and 5): the only journal. Domain types; their bytes are read and
 * written by record-codec.ts alone. Everything a fold needs stands in the message header `Ec-C`.
 */
import type { JobId, LeaseId, NodeId } from "./ids.ts";
import type { Codec, CommittedStatus, SealedStatus } from "./outcomes.ts";
import type { Range } from "./ranges.ts";

/** What a lease grants, bound together by its id (lease-id.ts). */
export interface LeaseGrant {
  readonly id: LeaseId;
  readonly start: number;
  readonly end: number;
  readonly node: NodeId;
  /** Round of all items of the lease; raised by `reopen`. */
  readonly round: number;
  /** epoch x 2^32 + counter, never reused. */
  readonly n: number;
}

/** A run of items of one lease that ended alike. In reduced jobs a part is one span with one body entry. */
export interface CommitPart {
  /** Position of the part's lease in the commit's `leases`. */
  readonly lease: number;
  readonly start: number;
  readonly end: number;
  readonly status: CommittedStatus;
  /** Reduced jobs: items of the span that have no value. */
  readonly missing?: number;
}

/** What one slot did for these outcomes; summed up by the fold into the job's usage. */
export interface SlotUsage {
  readonly slot: number;
  readonly items: number;
  readonly slices: number;
  /** Slices truncated by a live split. */
  readonly splits: number;
  /** Time the slot's worker was running items, ms. */
  readonly busyMs: number;
  /** CPU time of the worker (and its children), ms. */
  readonly cpuMs: number;
}

export interface CommitRecord {
  readonly kind: "commit";
  readonly job: JobId;
  readonly epoch: number;
  readonly leases: readonly LeaseGrant[];
  readonly parts: readonly CommitPart[];
  readonly usage: readonly SlotUsage[];
  /** Bytes of the outcomes, chunks included. */
  readonly bytes: number;
}

/** What a strike that counts was for. */
export type StrikeCause = "crash" | "lost";

/** A piece of an outcome too large for a commit's body; it comes before its commit. */
export interface ChunkRecord {
  readonly kind: "chunk";
  readonly job: JobId;
  readonly lease: LeaseId;
  readonly index: number;
  readonly piece: number;
}

/**
 * A death seen while items ran, or their node was lost. Covers nothing. `suspected`: a new leader cannot know whether
 * they were leased to a node that is gone; no death was seen, and the lease is the leader's own (F6).
 */
export interface StrikeRecord {
  readonly kind: "strike";
  readonly job: JobId;
  readonly epoch: number;
  readonly cause: StrikeCause | "suspected";
  readonly lease: LeaseGrant;
  readonly ranges: readonly Range[];
  /** Written by the leader (lost nodes) rather than by an agent: subject to the fence. */
  readonly byLeader: boolean;
  readonly detail?: DeathDetail;
}

export interface DeathDetail {
  readonly signal?: string;
  readonly exitCode?: number;
  readonly peakBytes?: number;
  /** The memory limit that its agent ended the worker for; what the next try may use follows from it. */
  readonly limitBytes?: number;
  readonly stderrTail?: string;
  /** For people: "out of memory", "worker exited". */
  readonly reason?: string;
}

/** The leader's outcome for items that no agent can end. */
export interface SealRecord {
  readonly kind: "seal";
  readonly job: JobId;
  readonly epoch: number;
  readonly round: number;
  readonly ranges: readonly Range[];
  readonly status: SealedStatus;
  /** Shown as the items' error. */
  readonly message: string;
  readonly node?: NodeId;
  readonly detail?: DeathDetail;
}

export interface ReopenRecord {
  readonly kind: "reopen";
  readonly job: JobId;
  readonly epoch: number;
  readonly ranges: readonly Range[];
  readonly round: number;
}

export interface FenceRecord {
  readonly kind: "fence";
  readonly job: JobId;
  readonly epoch: number;
}

/** Items, packed into one message, or into `pieces` messages when one item is larger than a message. */
export interface InputRecord {
  readonly kind: "input";
  readonly job: JobId;
  readonly first: number;
  readonly count: number;
  readonly codec: Codec;
  readonly piece: number;
  readonly pieces: number;
  /** Bytes of the whole block. */
  readonly bytes: number;
}

/** The input ends: the job has `total` items. */
export interface CloseRecord {
  readonly kind: "close";
  readonly job: JobId;
  readonly total: number;
}

export type LogRecord =
  | CommitRecord
  | ChunkRecord
  | StrikeRecord
  | SealRecord
  | ReopenRecord
  | FenceRecord
  | InputRecord
  | CloseRecord;
