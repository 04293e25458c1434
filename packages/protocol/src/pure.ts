/**
 * The part of the contract that knows no bytes, no clock and no platform: all that the cores may import. Their
 * tsconfig has no types of Node, so whatever is exported here must compile without them.
 */
export * from "./acknowledged.ts";
export * from "./checkpoint.ts";
export * from "./cut.ts";
export * from "./errors.ts";
export * from "./file-patterns.ts";
export type { AcceptedPart, FoldDelta } from "./fold-delta.ts";
export * from "./fold.ts";
export * from "./ids.ts";
export * from "./job.ts";
export * from "./labels.ts";
export * from "./lease.ts";
export * from "./level-set.ts";
export * from "./limits.ts";
export * from "./members.ts";
export * from "./mishaps.ts";
export * from "./node-record.ts";
export * from "./outcomes.ts";
export * from "./ranges.ts";
export * from "./records.ts";
export * from "./slot-layout.ts";
export * from "./spans.ts";
