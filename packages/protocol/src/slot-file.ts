/**
 * Layout of the files that an agent and its workers share (DESIGN 8; proto/data-plane.md "Slot files").
 * Constants and pure readers; the Python worker host has the same numbers. All integers little-endian.
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

export interface SlotRecord {
  readonly index: number;
  readonly status: number;
  readonly codec: number;
  readonly micros: number;
  readonly payload: Buffer;
}

export function readU64(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;
}

export function writeU64(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32LE(value % 2 ** 32, at);
  buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

/**
 * The record at `at`, or undefined when it is torn or not yet whole; `next` is where the following begins.
 * The payload is a view.
 */
export function readRecord(buffer: Buffer, at: number): { record: SlotRecord; next: number } | undefined {
  if (at + recordHeadBytes > buffer.length) return undefined;
  const length = buffer.readUInt32LE(at);
  const next = at + 4 + length;
  if (length < recordHeadBytes - 4 || next > buffer.length) return undefined;
  return {
    next,
    record: {
      index: readU64(buffer, at + 4),
      status: buffer[at + 12]!,
      codec: buffer[at + 13]!,
      micros: buffer.readUInt32LE(at + 14),
      payload: buffer.subarray(at + recordHeadBytes, next),
    },
  };
}

/** Frames on fd 3: u32 length + msgpack map with field `t`. See proto/data-plane.md "Worker frames". */
export interface SliceFrame {
  readonly t: "slice";
  /** Sequence of the slice on this slot, from 1, never reused while the agent lives. */
  readonly slice: number;
  readonly start: number;
  readonly end: number;
  /** Path of the outcome file to append to. */
  readonly file: string;
  /** Payload of the head record, which the worker appends first. */
  readonly head: Uint8Array;
  readonly codec: number;
  /** Packed block of exactly [start, end), or the files that contain it. */
  readonly block?: Uint8Array;
  readonly files?: readonly { readonly path: string; readonly first: number; readonly count: number }[];
  /** Path of a packed block of partials: the one item of this slice is their combination. */
  readonly partials?: string;
  /** The slice is one span of a reduced job. */
  readonly reduced: boolean;
}

export interface TaskFrame {
  readonly t: "task";
  readonly job: string;
  readonly runtime: string;
  /** Folder of the unpacked bundle. */
  readonly dir?: string;
  readonly entry?: string;
  readonly export?: string;
  readonly reduce?: string;
  readonly argv?: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly seed: string;
  readonly rangeStart: number;
  /** Reduced jobs retry in place. */
  readonly retries: number;
  readonly node: string;
  readonly slot: number;
  /** Private scratch folder, the worker's cwd. */
  readonly scratch: string;
}

export type ToWorker = TaskFrame | SliceFrame | { readonly t: "stop" };

export type FromWorker =
  | { readonly t: "ready"; readonly pid: number; readonly version: string }
  /** The task is loaded; items can run. */
  | { readonly t: "loaded" }
  | { readonly t: "initFailed"; readonly error: Uint8Array }
  | {
      readonly t: "sliceEnded";
      readonly slice: number;
      /** First item that was not run. */
      readonly at: number;
      readonly busyMs: number;
      readonly cpuMs: number;
    };
