/**
 * Which job gets a log segment of its own, how large segments start and grow, and when the cluster's storage is
 * so full that work must pause (DESIGN 4). Pure: segments.ts asks and acts.
 */
import type { JobSpec } from "@everycore/protocol";
import { limits } from "@everycore/protocol";
import type { StorageLevel } from "../core/index.ts";

const MB = 1024 * 1024;
const pipeBytes = 8 * MB;
/** A segment is worth having with this much; smaller reservations would be full at once. */
export const segmentBytesMin = 4 * MB;

export interface SegmentUse {
  /** Bytes reserved by its stream's max_bytes. */
  readonly maxBytes: number;
  readonly bytes: number;
}

export interface Storage {
  /** Bytes that streams of everycore may reserve in all: 90 % of what the server has for us. */
  readonly allowed: number;
  /** Bytes reserved by all streams of everycore, segments included. */
  readonly reserved: number;
}

/** What a client says of its input before it sends it. */
export interface InputHint {
  /** Its length cannot be known. */
  readonly isPipe: boolean;
  /** Of a file; 0 where nothing is known. */
  readonly bytes: number;
}

export function wantsOwnSegment(spec: JobSpec, input: InputHint): boolean {
  const isLarge = input.bytes > limits.ownSegmentBytes || (spec.rangeItems ?? 0) > limits.ownSegmentItems;
  return input.isPipe || isLarge;
}

/** Sizes to try for a new segment, largest first; the first that fits is taken. */
export function firstSizes(isPipe: boolean, storage: Storage): number[] {
  const wanted = isPipe ? [pipeBytes] : [limits.segmentBytesInitial, pipeBytes, segmentBytesMin];
  return wanted.filter((bytes) => storage.reserved + bytes <= storage.allowed);
}

/** Size to grow to once it is over half full, or undefined: no need, or no room. */
export function grownSize(segment: SegmentUse, storage: Storage): number | undefined {
  if (segment.bytes <= segment.maxBytes / 2) return undefined;
  const room = storage.allowed - storage.reserved;
  const more = Math.min(segment.maxBytes, room);
  // The last bits of room are taken too, but not in crumbs: each update costs the server a write.
  return more < MB ? undefined : segment.maxBytes + more;
}

export interface SharedSegment extends SegmentUse {
  readonly createdAt: number;
}

export function isRotationDue(shared: SharedSegment, now: number): boolean {
  return now - shared.createdAt > limits.segmentAgeMs || shared.bytes > limits.segmentBytesRotate;
}

/**
 * Marks of deleted jobs from before this time are needed no more: each shared segment that exists is younger, so that
 * none of their records can stand in it. Clocks of coordinators and NATS may differ by less than the margin.
 */
export function marksNeededSince(sharedCreatedAt: Iterable<number>, now: number): number {
  return Math.min(now, ...sharedCreatedAt) - limits.markKeptMs;
}

/** A segment that could not grow counts by itself, else its appends would fail before anything had paused. */
export function storageLevel(segments: readonly SegmentUse[], storage: Storage): StorageLevel {
  let share = 0;
  let used = 0;
  for (const segment of segments) {
    used += segment.bytes;
    if (grownSize({ ...segment, bytes: segment.maxBytes }, storage) === undefined) {
      share = Math.max(share, segment.bytes / segment.maxBytes);
    }
  }
  share = Math.max(share, used / Math.max(1, storage.allowed));
  if (share >= limits.storageRefuseShare) return "refuse";
  return share >= limits.storagePauseShare ? "pause" : "ok";
}
