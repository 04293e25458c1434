/**
 * Layout of the files that an agent and its workers share (DESIGN 8; proto/data-plane.md "Slot files").
 * Constants only (pure); the Python worker host has the same numbers. All integers little-endian.
 *
 * Page `page`, 4096 bytes, one writer per field:
 *   0  u32 magic   4 u32 version                                             agent, at creation
 *  32  u64 pid    40 u64 start time (clock ticks)    48  16 bytes boot id    agent
 *  64  limit cell 0: u64 slice, u64 limit            80  limit cell 1        agent; cell = slice % 2
 * 128  u32 phase 136 u64 slice being run                                     worker
 *
 * Outcome files `out-<n>`, append-only, a sequence of records:
 *   u32 length of what follows | u64 index | u8 status | u8 codec | u32 micros | payload
 * A torn last record is ignored. The running item is c = slice start + complete item records of the slice.
 */

export const page = {
  bytes: 4096,
  magic: 0x4345_3031,
  version: 1,
  pidAt: 32,
  startTimeAt: 40,
  bootIdAt: 48,
  limitCellAt: (slice: number): number => 64 + 16 * (slice % 2),
  phaseAt: 128,
  sliceAt: 136,
} as const;

/** Where a worker is; keeps a failing import or initializer from being blamed on an item. */
export const phases = { none: 0, idle: 1, load: 2, init: 3, item: 4 } as const;
export type Phase = keyof typeof phases;

/** Bytes of a record before its payload, the length included. */
export const recordHeadBytes = 18;

/** Statuses of records, beside outcomeStatus (0 value, 1 error). */
export const recordStatus = {
  /** Reduced jobs: the item has a value, which went into the running partial. No payload. */
  counted: 16,
  /** Reduced jobs: payload = u8 level | u32 missing | bytes of the partial; index = start of the span. */
  partial: 17,
  /** First record of a slice: index = slice, payload = msgpack head, opaque to workers. */
  head: 255,
} as const;

/**
 * Exit code of a worker that could not append: its disk is full, no item is to blame. It leaves the phase `item`
 * before it ends, since a task may exit with any code.
 */
export const exitDiskFull = 75;
