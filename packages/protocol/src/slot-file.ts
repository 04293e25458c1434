/**
 * Reading and writing what slot-layout.ts lays out, and the frames on fd 3. The Python worker host has the same.
 */
import { recordHeadBytes } from "./slot-layout.ts";

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
  /** Where the slice stands in the trace of its job, if that has one: what tasks continue from. */
  readonly traceparent?: string;
  readonly tracestate?: string;
}

export interface TaskFrame {
  readonly t: "task";
  readonly job: string;
  readonly runtime: string;
  /** Folder of the unpacked bundle; exec: only where the job ships files. */
  readonly dir?: string;
  readonly entry?: string;
  readonly export?: string;
  readonly reduce?: string;
  readonly argv?: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly addEnv?: Readonly<Record<string, string>>;
  readonly returns?: readonly string[];
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
