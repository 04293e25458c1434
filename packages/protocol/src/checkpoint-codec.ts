/**
 * The bytes of a checkpoint in EC_META: u32 CRC-32 | msgpack. Ranges are written as differences, which are one byte each
 * where items end in order. Whatever is malformed, damaged or of another version is refused as `bad-input`: its reader
 * goes without.
 */
import { crc32 } from "node:zlib";
import type { Fields } from "./checks.ts";
import { bad, count, fieldsOf, list, number, oneOf, optional } from "./checks.ts";
import type { JobCheckpoint } from "./checkpoint.ts";
import type { FailedStatus, FoldSnapshot } from "./fold.ts";
import { failedStatuses, foldVersion } from "./fold.ts";
import type { LeaseId, NodeId } from "./ids.ts";
import { isJobId, isLeaseId, isNodeId, isSegmentId } from "./ids.ts";
import type { BlockRef } from "./lease.ts";
import type { Crash, MishapsSnapshot } from "./mishaps.ts";
import type { Range } from "./ranges.ts";
import { parseDeathDetail } from "./record-codec.ts";
import type { SlotUsage } from "./records.ts";
import { protocolVersion } from "./subjects.ts";
import { decode, encode } from "./wire.ts";

const what = "checkpoint";
const crcBytes = 4;
/** The bytes themselves are bounded where they are stored. */
const any = Number.POSITIVE_INFINITY;

export function encodeCheckpoint(checkpoint: JobCheckpoint): Buffer {
  const { fold, blocks, suspicions, strikes, crashes, ...plain } = checkpoint;
  const body = encode({
    v: protocolVersion,
    ...plain,
    fold: foldToWire(fold),
    // Each block begins where the one before ends.
    blocks: blocks.map((block) => [block.count, block.bytes, ...block.seqs]),
    strikes: strikes.map((note) => [note.start, note.end, note.cause, note.node]),
    suspicions: suspicions.map(([index, of]) => [index, ...of.flatMap(({ node, at }) => [node, at])]),
    crashes: crashes.map(({ node, index, crashedAt, at }) => [node, index, crashedAt, at]),
  });
  const head = Buffer.alloc(crcBytes);
  head.writeUInt32BE(crc32(body));
  return Buffer.concat([head, body]);
}

export function decodeCheckpoint(data: Uint8Array): JobCheckpoint {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const body = bytes.subarray(crcBytes);
  if (bytes.length <= crcBytes || bytes.readUInt32BE() !== crc32(body)) throw bad(what, "crc");
  const fields = fieldsOf(decode(body), what);
  if (fields["v"] !== protocolVersion) throw bad(what, "v");
  if (fields["foldVersion"] !== foldVersion) throw bad(what, "foldVersion");
  const { job, segment } = fields;
  if (!isJobId(job)) throw bad(what, "job");
  if (!isSegmentId(segment)) throw bad(what, "segment");
  const learned = fieldsOf(fields["learned"], what);
  return {
    job,
    segment,
    foldVersion,
    storedAt: number(fields, "storedAt", what),
    fold: foldFromWire(fieldsOf(fields["fold"], what)),
    blocks: blocksFromWire(fields),
    pieces: numbers(fields, "pieces"),
    openedRound: count(fields, "openedRound", what),
    itemMs: optional(fields, "itemMs", what, number),
    learned: { items: number(learned, "items", what), ms: number(learned, "ms", what) },
    strikes: tuples(fields, "strikes", 4).map(([start, end, cause, node]) => ({
      ...rangeOf(start, end),
      cause: oneOf({ cause }, "cause", what, ["crash", "lost"]),
      node: nodeOf(node),
    })),
    suspicions: tuples(fields, "suspicions", 3).map(([index, ...of]) => [
      numberOf(index),
      pairs(of).map(([node, at]) => ({ node: nodeOf(node), at: number({ at }, "at", what) })),
    ]),
    crashes: tuples(fields, "crashes", 4).map(([node, index, crashedAt, at]) => ({
      node: nodeOf(node),
      index: numberOf(index),
      crashedAt: number({ crashedAt }, "crashedAt", what),
      at: number({ at }, "at", what),
    })),
  };
}

function foldToWire({ usage, covered, failed, rounds, gaps, mishaps, ...plain }: FoldSnapshot): object {
  return {
    ...plain,
    usage: usage.map(({ node, commits, slots }) => [
      node,
      commits,
      ...slots.flatMap((u) => [u.slot, u.items, u.slices, u.splits, u.busyMs, u.cpuMs]),
    ]),
    covered: differences(covered),
    failed: failed.map(([status, ranges]) => [status, differences(ranges)]),
    rounds: rounds.map(([round, ranges]) => [round, differences(ranges)]),
    gaps: gaps.map(({ start, end, missing }) => [start, end, missing]),
    agains: mishaps.agains.map(differences),
    lost: mishaps.lost.map(differences),
    suspected: differences(mishaps.suspected),
    deaths: mishaps.crashes.map(([index, of]) => [
      index,
      ...of.flatMap(({ node, detail }) => [node, detail ?? null]),
    ]),
    counted: mishaps.counted.map(([lease, ranges]) => [Buffer.from(lease, "hex"), differences(ranges)]),
  };
}

function foldFromWire(fields: Fields): FoldSnapshot {
  const sums = fieldsOf(fields["sums"], what);
  const dropped = fieldsOf(fields["dropped"], what);
  return {
    sums: {
      seq: count(sums, "seq", what),
      fence: count(sums, "fence", what),
      missing: count(sums, "missing", what),
      appended: count(sums, "appended", what),
      total: optional(sums, "total", what, count),
      outcomeBytes: count(sums, "outcomeBytes", what),
      retries: count(sums, "retries", what),
      strikeCount: count(sums, "strikeCount", what),
    },
    dropped: {
      stale: count(dropped, "stale", what),
      duplicate: count(dropped, "duplicate", what),
      invalid: count(dropped, "invalid", what),
    },
    usage: tuples(fields, "usage", 2).map(([node, commits, ...slots]) => ({
      node: nodeOf(node),
      commits: numberOf(commits),
      slots: usageFromWire(slots),
    })),
    covered: ranges(fields["covered"]),
    failed: tuples(fields, "failed", 2).map(([status, of]) => [
      oneOf<FailedStatus>({ status }, "status", what, failedStatuses),
      ranges(of),
    ]),
    rounds: tuples(fields, "rounds", 2).map(([round, of]) => [numberOf(round), ranges(of)]),
    gaps: tuples(fields, "gaps", 3).map(([start, end, missing]) => ({
      ...rangeOf(start, end),
      missing: numberOf(missing),
    })),
    mishaps: mishapsFromWire(fields),
  };
}

const mishapsFromWire = (fields: Fields): MishapsSnapshot => ({
  agains: list(fields, "agains", what, any).map(ranges),
  lost: list(fields, "lost", what, any).map(ranges),
  suspected: ranges(fields["suspected"]),
  crashes: tuples(fields, "deaths", 3).map(([index, ...of]) => [
    numberOf(index),
    pairs(of).map(([node, detail]): Crash => ({
      node: nodeOf(node),
      detail: detail === null ? undefined : parseDeathDetail(detail),
    })),
  ]),
  counted: tuples(fields, "counted", 2).map(([lease, of]) => [leaseOf(lease), ranges(of)]),
});

function usageFromWire(values: readonly unknown[]): SlotUsage[] {
  const fieldsEach = 6;
  if (values.length % fieldsEach !== 0 || !values.every((n) => typeof n === "number" && n >= 0))
    throw bad(what, "usage");
  const usage: SlotUsage[] = [];
  for (let at = 0; at < values.length; at += fieldsEach) {
    const [slot, items, slices, splits, busyMs, cpuMs] = values.slice(at, at + fieldsEach) as number[];
    usage.push({
      slot: slot!,
      items: items!,
      slices: slices!,
      splits: splits!,
      busyMs: busyMs!,
      cpuMs: cpuMs!,
    });
  }
  return usage;
}

function blocksFromWire(fields: Fields): BlockRef[] {
  let first = 0;
  return tuples(fields, "blocks", 3).map((values) => {
    const [items, size, ...seqs] = values.map(numberOf);
    const block = { first, count: items!, bytes: size!, seqs };
    first += items!;
    return block;
  });
}

/** From the end of the range before to its start, then its length. */
function differences(of: readonly Range[]): number[] {
  const numbers: number[] = [];
  let last = 0;
  for (const { start, end } of of) {
    numbers.push(start - last, end - start);
    last = end;
  }
  return numbers;
}

function ranges(value: unknown): Range[] {
  const found: Range[] = [];
  let last = 0;
  const given = numbers({ value }, "value");
  if (given.length % 2 !== 0) throw bad(what, "ranges");
  for (let at = 0; at < given.length; at += 2) {
    const start = last + given[at]!;
    last = start + given[at + 1]!;
    found.push(rangeOf(start, last));
  }
  return found;
}

function rangeOf(start: unknown, end: unknown): Range {
  const range = { start: numberOf(start), end: numberOf(end) };
  if (range.start >= range.end) throw bad(what, "range");
  return range;
}

const numberOf = (value: unknown): number => count({ value }, "value", what);

const numbers = (fields: Fields, field: string): number[] => list(fields, field, what, any).map(numberOf);

/** Lists of so many values at least. */
const tuples = (fields: Fields, field: string, length: number): unknown[][] =>
  list(fields, field, what, any).map((value) => {
    if (!Array.isArray(value) || value.length < length) throw bad(what, field);
    return value as unknown[];
  });

function pairs(values: readonly unknown[]): [unknown, unknown][] {
  const found: [unknown, unknown][] = [];
  for (let at = 0; at < values.length; at += 2) found.push([values[at], values[at + 1]]);
  return found;
}

function nodeOf(value: unknown): NodeId {
  if (!isNodeId(value)) throw bad(what, "node");
  return value;
}

function leaseOf(value: unknown): LeaseId {
  const id = value instanceof Uint8Array ? Buffer.from(value).toString("hex") : "";
  if (!isLeaseId(id)) throw bad(what, "lease");
  return id;
}
