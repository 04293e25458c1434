/** What one record changed in a fold (fold.ts). */
import type { LeaseId, NodeId } from "./ids.ts";
import type { OutcomeStatus } from "./outcomes.ts";
import type { Range } from "./ranges.ts";
import type { StrikeCause } from "./records.ts";

export interface AcceptedPart extends Range {
  readonly status: OutcomeStatus;
  readonly node: NodeId | undefined;
  readonly lease: LeaseId | undefined;
  /** Sequence of the record; for commits `entry` is the body entry of the first item. */
  readonly seq: number;
  readonly entry: number;
  readonly missing: number;
}

/** What one record changed. The leader's core turns it into queue moves; readers into index entries. */
export interface FoldDelta {
  readonly accepted: AcceptedPart[];
  /** Parts that were dropped, with the reason; their lease may still hold uncovered items of them. */
  readonly dropped: { part: Range; lease: LeaseId; reason: "stale" | "duplicate" | "invalid" }[];
  /** Items to be tried again (an error with retries left); `count` is how often they have been. */
  readonly again: (Range & { lease: LeaseId; node: NodeId; count: number })[];
  /** Uncovered items that a death touched. */
  readonly struck: (Range & { lease: LeaseId; node: NodeId; cause: StrikeCause })[];
  /** Uncovered items that are to be run with care (F6). */
  readonly suspected: Range[];
  /** Items uncovered by a reopen. */
  readonly reopened: Range[];
  /** A leader's record that came after a higher fence, or was malformed. */
  ignored: boolean;
}

export const emptyDelta = (): FoldDelta => ({
  accepted: [],
  dropped: [],
  again: [],
  struck: [],
  suspected: [],
  reopened: [],
  ignored: false,
});
