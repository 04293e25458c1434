/**
 * Log records to and from the header `Ec-C` (base64url msgpack, at most 16 KB). Nobody else reads or writes
 * it. Ranges travel as [start, end]; leases as [id, start, end, node, round, n]; parts as
 * [lease, start, end, status] or [lease, start, end, status, missing]; usage as
 * [slot, items, slices, splits, busyMs, cpuMs]. See proto/data-plane.md, "Records".
 */
import type { Fields } from "./checks.ts";
import { bad, count, fieldsOf, list, number, oneOf, optional, text } from "./checks.ts";
import { EverycoreError } from "./errors.ts";
import type { JobId, LeaseId, NodeId } from "./ids.ts";
import { isJobId, isLeaseId, isNodeId } from "./ids.ts";
import { limits } from "./limits.ts";
import type { Codec, CommittedStatus, SealedStatus } from "./outcomes.ts";
import { codecName, codecs, committedStatus } from "./outcomes.ts";
import type { Range } from "./ranges.ts";
import type { CommitPart, DeathDetail, LeaseGrant, LogRecord, SlotUsage } from "./records.ts";
import { protocolVersion } from "./subjects.ts";
import { decode, encode } from "./wire.ts";

const committedNames = new Map<number, CommittedStatus>(
  (Object.entries(committedStatus) as [CommittedStatus, number][]).map(([name, code]) => [code, name]),
);
const rangesMax = 2_000;

export const leaseToWire = (grant: LeaseGrant): unknown[] => [
  Buffer.from(grant.id, "hex"),
  grant.start,
  grant.end,
  grant.node,
  grant.round,
  grant.n,
];

export function leaseFromWire(value: unknown, what = "lease"): LeaseGrant {
  if (!Array.isArray(value) || value.length < 6) throw bad(what, "lease");
  const [idBytes, start, end, node, round, n] = value as unknown[];
  const id = idBytes instanceof Uint8Array ? Buffer.from(idBytes).toString("hex") : "";
  if (!isLeaseId(id)) throw bad(what, "lease id");
  if (!isNodeId(node)) throw bad(what, "lease node");
  for (const part of [start, end, round, n]) {
    if (typeof part !== "number" || !Number.isSafeInteger(part) || part < 0) throw bad(what, "lease numbers");
  }
  const grant = { id: id as LeaseId, start, end, node: node as NodeId, round, n } as LeaseGrant;
  if (grant.start >= grant.end) throw bad(what, "lease range");
  return grant;
}

export const rangesToWire = (ranges: readonly Range[]): number[][] => ranges.map((r) => [r.start, r.end]);

export function rangesFromWire(fields: Fields, field: string, what: string, max = rangesMax): Range[] {
  return list(fields, field, what, max).map((value) => {
    const [start, end] = Array.isArray(value) ? (value as unknown[]) : [];
    const good = Number.isSafeInteger(start) && Number.isSafeInteger(end);
    if (!good || (start as number) < 0 || (start as number) >= (end as number)) throw bad(what, field);
    return { start: start as number, end: end as number };
  });
}

/** The header's text. Throws `over-limit` when it would pass 16 KB: the writer must cut its commit smaller. */
export function encodeRecord(record: LogRecord): string {
  const bytes = encode({ v: protocolVersion, ...toWire(record) });
  if (bytes.length > limits.recordHeaderBytesMax) {
    throw new EverycoreError(
      "over-limit",
      `a ${record.kind} record of job ${record.job} needs ${bytes.length} header bytes, more than recordHeaderBytesMax`,
    );
  }
  return bytes.toString("base64url");
}

function toWire(record: LogRecord): Record<string, unknown> {
  switch (record.kind) {
    case "commit":
      return {
        ...record,
        leases: record.leases.map(leaseToWire),
        parts: record.parts.map(partToWire),
        usage: record.usage.map((u) => [u.slot, u.items, u.slices, u.splits, u.busyMs, u.cpuMs]),
      };
    case "strike":
      return { ...record, lease: leaseToWire(record.lease), ranges: rangesToWire(record.ranges) };
    case "seal":
    case "reopen":
      return { ...record, ranges: rangesToWire(record.ranges) };
    case "input":
      return { ...record, codec: codecs[record.codec] };
    case "chunk":
    case "fence":
    case "close":
      return { ...record };
  }
}

const partToWire = (part: CommitPart): number[] => {
  const wire = [part.lease, part.start, part.end, committedStatus[part.status]];
  return part.missing === undefined ? wire : [...wire, part.missing];
};

/** Parses a header; throws EverycoreError `bad-input` for anything malformed or of another version. */
export function decodeRecord(header: string): LogRecord {
  if (header.length > limits.recordHeaderBytesMax * 2) throw bad("record", "length");
  const fields = fieldsOf(decode(Buffer.from(header, "base64url")), "record");
  if (fields["v"] !== protocolVersion) throw bad("record", "v");
  const job = fields["job"];
  if (!isJobId(job)) throw bad("record", "job");
  const kind = oneOf(fields, "kind", "record", [
    "commit",
    "chunk",
    "strike",
    "seal",
    "reopen",
    "fence",
    "input",
    "close",
  ]);
  return kind === "commit" || kind === "chunk" || kind === "strike"
    ? agentRecord(kind, job, fields)
    : coordinatorRecord(kind, job, fields);
}

function agentRecord(kind: "commit" | "chunk" | "strike", job: JobId, fields: Fields): LogRecord {
  const epoch = (): number => count(fields, "epoch", kind);
  switch (kind) {
    case "commit":
      return {
        kind,
        job,
        epoch: epoch(),
        leases: list(fields, "leases", kind, limits.commitLeasesMax).map((l) => leaseFromWire(l, kind)),
        parts: list(fields, "parts", kind, limits.commitPartsMax).map(partFromWire),
        usage: list(fields, "usage", kind, 4_096).map(usageFromWire),
        bytes: count(fields, "bytes", kind),
      };
    case "chunk": {
      const lease = fields["lease"];
      if (!isLeaseId(lease)) throw bad(kind, "lease");
      return { kind, job, lease, index: count(fields, "index", kind), piece: count(fields, "piece", kind) };
    }
    case "strike":
      return {
        kind,
        job,
        epoch: epoch(),
        cause: oneOf(fields, "cause", kind, ["crash", "lost", "suspected"]),
        lease: leaseFromWire(fields["lease"], kind),
        ranges: rangesFromWire(fields, "ranges", kind),
        byLeader: fields["byLeader"] === true,
        ...detailFromWire(fields),
      };
  }
}

function coordinatorRecord(
  kind: "seal" | "reopen" | "fence" | "input" | "close",
  job: JobId,
  fields: Fields,
): LogRecord {
  const epoch = (): number => count(fields, "epoch", kind);
  switch (kind) {
    case "seal": {
      const node = fields["node"];
      return {
        kind,
        job,
        epoch: epoch(),
        round: count(fields, "round", kind),
        ranges: rangesFromWire(fields, "ranges", kind),
        status: oneOf<SealedStatus>(fields, "status", kind, ["crash", "lost", "cancelled", "expired"]),
        message: text(fields, "message", kind),
        ...(isNodeId(node) ? { node } : {}),
        ...detailFromWire(fields),
      };
    }
    case "reopen":
      return {
        kind,
        job,
        epoch: epoch(),
        ranges: rangesFromWire(fields, "ranges", kind),
        round: count(fields, "round", kind),
      };
    case "fence":
      return { kind, job, epoch: epoch() };
    case "input":
      return {
        kind,
        job,
        first: count(fields, "first", kind),
        count: count(fields, "count", kind),
        codec: codecFromWire(fields),
        piece: count(fields, "piece", kind),
        pieces: count(fields, "pieces", kind),
        bytes: count(fields, "bytes", kind),
      };
    case "close":
      return { kind, job, total: count(fields, "total", kind) };
  }
}

function partFromWire(value: unknown): CommitPart {
  const numbers = Array.isArray(value) ? (value as unknown[]) : [];
  if (numbers.length < 4 || !numbers.every((n) => Number.isSafeInteger(n) && (n as number) >= 0)) {
    throw bad("commit", "parts");
  }
  const [lease, start, end, code, missing] = numbers as number[];
  const status = committedNames.get(code!);
  if (status === undefined || start! >= end!) throw bad("commit", "parts");
  const part = { lease: lease!, start: start!, end: end!, status };
  return missing === undefined ? part : { ...part, missing };
}

function usageFromWire(value: unknown): SlotUsage {
  const numbers = Array.isArray(value) ? (value as unknown[]) : [];
  if (numbers.length < 6 || !numbers.every((n) => typeof n === "number" && n >= 0))
    throw bad("commit", "usage");
  const [slot, items, slices, splits, busyMs, cpuMs] = numbers as number[];
  return { slot: slot!, items: items!, slices: slices!, splits: splits!, busyMs: busyMs!, cpuMs: cpuMs! };
}

function codecFromWire(fields: Fields): Codec {
  const codec = codecName(count(fields, "codec", "input"));
  if (codec === undefined) throw bad("input", "codec");
  return codec;
}

export function parseDeathDetail(value: unknown): DeathDetail {
  const fields = fieldsOf(value, "detail");
  const what = "detail";
  const detail: Record<string, unknown> = {
    signal: optional(fields, "signal", what, text),
    exitCode: optional(fields, "exitCode", what, number),
    peakBytes: optional(fields, "peakBytes", what, count),
    limitBytes: optional(fields, "limitBytes", what, count),
    stderrTail: optional(fields, "stderrTail", what, text),
    reason: optional(fields, "reason", what, text),
  };
  for (const key of Object.keys(detail)) if (detail[key] === undefined) delete detail[key];
  return detail as DeathDetail;
}

function detailFromWire(fields: Fields): { detail?: DeathDetail } {
  const value = fields["detail"];
  return value === undefined || value === null ? {} : { detail: parseDeathDetail(value) };
}
