/**
 * What the leader keeps of a node in EC_NODES, as types only (pure): whom the next leader waits for, and how the node
 * stands. Coded in node-record-codec.ts, written by the coordinator's core alone.
 */
import type { JobId, NodeId } from "./ids.ts";

/** An item whose worker died on a node, and which ended well on another. */
export interface CrashedItem {
  readonly job: JobId;
  readonly index: number;
}

/** The same with its times, ms since 1970: it counts for a while, unless it was forgiven. */
export interface CountedCrash extends CrashedItem {
  readonly crashedAt: number;
  /** When its item ended well. */
  readonly at: number;
}

export interface Quarantine {
  /** ms since 1970. */
  readonly since: number;
  readonly until: number;
  /** Why: the crashes that were counted. */
  readonly crashes: readonly CrashedItem[];
}

export interface StandingRecord {
  /** Crashes before it count no more: when the last quarantine ended. */
  readonly countsFrom: number;
  /** Quarantines in a row: each one is twice as long as the one before. */
  readonly times: number;
  /** What counts against it: the logs of their jobs may be gone before it counts no more. */
  readonly crashes?: readonly CountedCrash[];
  /** The one that lasts. */
  readonly quarantine?: Quarantine;
}

export interface NodeRecord {
  readonly id: NodeId;
  readonly host: string;
  /** Of the leader that wrote it. */
  readonly epoch: number;
  readonly draining: boolean;
  /** Drained, or lost for long: nobody waits for it; kept for what stands against it. */
  readonly isGone: boolean;
  readonly standing?: StandingRecord;
}
