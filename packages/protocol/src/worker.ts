/**
 * The part of the contract that a worker host needs, and nothing else: a host is started for each job and slot,
 * so every module it loads costs all of them.
 */
export * from "./errors.ts";
export * from "./file-patterns.ts";
export * from "./limits.ts";
export * from "./outcomes.ts";
export * from "./packing.ts";
export * from "./program-arguments.ts";
export * from "./slot-file.ts";
export * from "./slot-layout.ts";
export * from "./wire.ts";
