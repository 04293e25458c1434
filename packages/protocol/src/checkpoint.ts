/**
 * What a leader knows of an active job from its log, as data, so that the next leader need not read it again (decision
 * 0110). A cache in EC_META: without it, or with an older one, everything comes out the same. Types only (pure); the
 * bytes are checkpoint-codec.ts.
 */
import type { FoldSnapshot } from "./fold.ts";
import { foldVersion } from "./fold.ts";
import type { JobId, NodeId, SegmentId } from "./ids.ts";
import type { JobRecord } from "./job.ts";
import type { BlockRef } from "./lease.ts";
import type { CountedCrash } from "./node-record.ts";
import type { Range } from "./ranges.ts";
import type { StrikeCause } from "./records.ts";

export interface JobCheckpoint {
  readonly job: JobId;
  /** With the job it names a life of its id (decision 0041). */
  readonly segment: SegmentId;
  readonly foldVersion: number;
  /** When NATS stored the record at `fold.sums.seq`: if another one stands there, it is another log. */
  readonly storedAt: number;
  readonly fold: FoldSnapshot;
  readonly blocks: readonly BlockRef[];
  readonly pieces: readonly number[];
  readonly openedRound: number;
  readonly itemMs: number | undefined;
  readonly learned: { readonly items: number; readonly ms: number };
  /** The last deaths, for people. */
  readonly strikes: readonly (Range & { readonly cause: StrikeCause; readonly node: NodeId })[];
  /** Items without an outcome whose worker died, and where and when. */
  readonly suspicions: readonly (readonly [
    number,
    readonly { readonly node: NodeId; readonly at: number }[],
  ])[];
  /** What counts against nodes by this job. */
  readonly crashes: readonly (Omit<CountedCrash, "job"> & { readonly node: NodeId })[];
}

/** It is of this life of the job, and folded by the rules of this version. */
export const isCheckpointOf = (checkpoint: JobCheckpoint, record: JobRecord): boolean =>
  checkpoint.job === record.id &&
  checkpoint.segment === record.segment &&
  checkpoint.foldVersion === foldVersion;
