/** Wire types, subjects, codec, limits, errors, ids, ranges and the fold: all that two packages share. */
export * from "./checkpoint-codec.ts";
export * from "./checks.ts";
export * from "./lease-id.ts";
export * from "./messages.ts";
export * from "./node-record-codec.ts";
export * from "./packing.ts";
export * from "./program-arguments.ts";
export * from "./pure.ts";
export * from "./record-codec.ts";
export * from "./returned-files.ts";
export * from "./slot-file.ts";
export * from "./subjects.ts";
export * from "./told-addresses.ts";
export * from "./trace-context.ts";
export * from "./wire.ts";
