/**
 * Messages of the data plane, from bytes to checked types and back (proto/data-plane.md has every field).
 * Whatever comes from outside passes one of the parsers here; they throw EverycoreError `bad-input`.
 */
import { parseAuditResult } from "./audit-result.ts";
import type { Fields } from "./checks.ts";
import { bad, bytes, count, fieldsOf, flag, list, number, oneOf, optional, text } from "./checks.ts";
import type { ErrorInfo } from "./errors.ts";
import { EverycoreError } from "./errors.ts";
import { patternFault } from "./file-patterns.ts";
import type { BundleDigest, JobId } from "./ids.ts";
import type { BlockRef, LeaseItems, LeaseMessage, LeaseReply } from "./lease.ts";
import { leaseModes, leaseRefusals } from "./lease.ts";
import { isBundleDigest, isJobId, isSegmentId } from "./ids.ts";
import type { FailureLimit, JobIntent, JobRecord, JobSpec, Repair, RepairCode, TaskSpec } from "./job.ts";
import { checkRequirements } from "./labels.ts";
import { jobStates, runtimes } from "./job.ts";
import { limits } from "./limits.ts";
import type { Codec, OutcomeCounts } from "./outcomes.ts";
import { codecName, codecs, emptyCounts } from "./outcomes.ts";
import type { LevelRun } from "./level-set.ts";
import { leaseFromWire, leaseToWire, rangesFromWire, rangesToWire } from "./record-codec.ts";
import type { LeaseGrant } from "./records.ts";
import { returnedFilesOf } from "./returned-files.ts";
import { protocolVersion } from "./subjects.ts";
import { isTracestate, traceFields } from "./trace-context.ts";
import { decode, encode, encodeWithBytes } from "./wire.ts";

/** `ec.v1.fetch`, request of an agent. Authorised by the lease's id; bundles by a lease of a job that uses it. */
export interface FetchRequest {
  readonly job: JobId;
  readonly grant: LeaseGrant;
  readonly what: "bundle" | "block" | "partials";
  /** block: sequence of the piece. */
  readonly seq?: number;
  /** bundle, partials: first byte wanted. */
  readonly offset?: number;
}

/** Answer: at most `messageBytesMax` bytes, `total` bytes in all; `later` when not folded that far. */
export type FetchReply =
  | { readonly ok: true; readonly total: number; readonly bytes: Uint8Array }
  | { readonly ok: false; readonly reason: "later" | "refused" | "gone"; readonly message: string };

export function encodeLease(message: LeaseMessage): Buffer {
  return encode({
    v: protocolVersion,
    ...message,
    grant: leaseToWire(message.grant),
    items: {
      codec: codecs[message.items.codec],
      inline: message.items.inline,
      blocks: message.items.blocks?.map((b) => [b.first, b.count, b.bytes, b.seqs]),
      partials: message.items.partials,
    },
    attempts: message.attempts.map((run) => [run.start, run.end, run.level]),
  });
}

const versioned = (data: Uint8Array, what: string): Fields => {
  const fields = fieldsOf(decode(data), what);
  if (fields["v"] !== protocolVersion) throw bad(what, "v");
  return fields;
};

const jobOf = (fields: Fields, what: string): JobId => {
  const job = fields["job"];
  if (!isJobId(job)) throw bad(what, "job");
  return job;
};

export function decodeLease(data: Uint8Array): LeaseMessage {
  const what = "lease message";
  const fields = versioned(data, what);
  const segment = fields["segment"];
  if (!isSegmentId(segment)) throw bad(what, "segment");
  const memoryBytes = optional(fields, "memoryBytes", what, count);
  return {
    epoch: count(fields, "epoch", what),
    job: jobOf(fields, what),
    segment,
    task: parseTask(fields["task"]),
    grant: leaseFromWire(fields["grant"], what),
    items: parseItems(fields["items"]),
    attempts: list(fields, "attempts", what, 100_000).map((run) => {
      const [start, end, level] = Array.isArray(run) ? (run as unknown[]) : [];
      for (const n of [start, end, level]) if (!Number.isSafeInteger(n)) throw bad(what, "attempts");
      return { start, end, level } as LevelRun;
    }),
    mode: oneOf(fields, "mode", what, leaseModes),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    itemMs: number(fields, "itemMs", what),
    priority: number(fields, "priority", what),
    tag: number(fields, "tag", what),
  };
}

function parseItems(value: unknown): LeaseItems {
  const what = "lease items";
  const fields = fieldsOf(value, what);
  const codec = codecName(count(fields, "codec", what));
  if (codec === undefined) throw bad(what, "codec");
  const inline = optional(fields, "inline", what, bytes);
  const blocks = optional(fields, "blocks", what, (f, n, w) => list(f, n, w, 100_000).map(parseBlockRef));
  const partials = optional(fields, "partials", what, flag);
  return {
    codec,
    ...(inline === undefined ? {} : { inline }),
    ...(blocks === undefined ? {} : { blocks }),
    ...(partials === undefined ? {} : { partials }),
  };
}

function parseBlockRef(value: unknown): BlockRef {
  const [first, items, size, seqs] = Array.isArray(value) ? (value as unknown[]) : [];
  for (const n of [first, items, size, ...(Array.isArray(seqs) ? (seqs as unknown[]) : [undefined])]) {
    if (!Number.isSafeInteger(n) || (n as number) < 0) throw bad("block", "numbers");
  }
  return { first, count: items, bytes: size, seqs } as BlockRef;
}

/** Plain object without undefined values: msgpack has none. */
const compact = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;

const strings = (fields: Fields, field: string, what: string): string[] =>
  list(fields, field, what, 100_000).map((value) => {
    if (typeof value !== "string") throw bad(what, field);
    return value;
  });

const requirements = (fields: Fields, field: string, what: string): readonly string[] =>
  checkRequirements(strings(fields, field, what));

function patterns(fields: Fields, field: string, what: string): readonly string[] {
  const given = list(fields, field, what, limits.returnPatternsMax);
  for (const pattern of given)
    if (typeof pattern !== "string" || patternFault(pattern) !== undefined) throw bad(what, field);
  return given as readonly string[];
}

const stringMap = (fields: Fields, field: string, what: string): Record<string, string> => {
  const map = fieldsOf(fields[field], `${what}.${field}`);
  for (const value of Object.values(map)) if (typeof value !== "string") throw bad(what, field);
  return map as Record<string, string>;
};

/** "3.11": patch versions run the same code, so that none is asked for. */
function pythonVersion(fields: Fields, field: string, what: string): string {
  const version = text(fields, field, what, 16);
  if (!/^\d+\.\d+$/.test(version)) throw bad(what, field);
  return version;
}

function traceparent(fields: Fields, field: string, what: string): string {
  const value = text(fields, field, what);
  if (traceFields(value) === undefined) throw bad(what, field);
  return value;
}

function tracestate(fields: Fields, field: string, what: string): string {
  const value = text(fields, field, what);
  if (!isTracestate(value)) throw bad(what, field);
  return value;
}

export function parseTask(value: unknown): TaskSpec {
  const what = "task";
  const fields = fieldsOf(value, what);
  const bundle = optional(fields, "bundle", what, text);
  if (bundle !== undefined && !isBundleDigest(bundle)) throw bad(what, "bundle");
  const task = compact({
    runtime: oneOf(fields, "runtime", what, runtimes),
    bundle: bundle as BundleDigest | undefined,
    entry: optional(fields, "entry", what, text),
    export: optional(fields, "export", what, text),
    argv: optional(fields, "argv", what, strings),
    cwd: optional(fields, "cwd", what, text),
    env: optional(fields, "env", what, stringMap),
    addEnv: optional(fields, "addEnv", what, stringMap),
    returns: optional(fields, "returns", what, patterns),
    python: optional(fields, "python", what, pythonVersion),
    require: optional(fields, "require", what, requirements),
    reduce: optional(fields, "reduce", what, text),
    seed: text(fields, "seed", what),
    rangeStart: number(fields, "rangeStart", what),
    itemTimeoutMs: optional(fields, "itemTimeoutMs", what, number),
    retries: count(fields, "retries", what),
    traceparent: optional(fields, "traceparent", what, traceparent),
    tracestate: optional(fields, "tracestate", what, tracestate),
  }) as TaskSpec;
  if (!/^[0-9a-f]{16}$/.test(task.seed)) throw bad(what, "seed");
  if (task.runtime === "exec" ? (task.argv?.length ?? 0) === 0 : task.bundle === undefined) {
    throw bad(what, task.runtime === "exec" ? "argv" : "bundle");
  }
  if (task.returns !== undefined && task.runtime !== "exec") throw bad(what, "returns");
  // Files stand in the item's own folder.
  if (task.cwd !== undefined && (task.returns ?? (task.runtime === "exec" ? task.bundle : undefined)))
    throw bad(what, "cwd");
  if (task.python !== undefined && task.runtime !== "python") throw bad(what, "python");
  if (task.retries > limits.retriesMax) {
    throw new EverycoreError("over-limit", `retries ${task.retries} is more than ${limits.retriesMax}`);
  }
  if (task.itemTimeoutMs !== undefined && task.itemTimeoutMs <= 0) throw bad(what, "itemTimeoutMs");
  return task;
}

export function parseSpec(value: unknown): JobSpec {
  const what = "job specification";
  const fields = fieldsOf(value, what);
  const codec = oneOf(fields, "codec", what, Object.keys(codecs) as Codec[]);
  const spec = compact({
    name: text(fields, "name", what, 200),
    task: parseTask(fields["task"]),
    codec,
    rangeItems: optional(fields, "rangeItems", what, count),
    priority: number(fields, "priority", what),
    strict: flag(fields, "strict", what),
    ttlMs: count(fields, "ttlMs", what),
    maxFailures: optional(fields, "maxFailures", what, parseFailureLimit),
    retryDelayMs: optional(fields, "retryDelayMs", what, count),
    jobTimeoutMs: optional(fields, "jobTimeoutMs", what, count),
    speculate: optional(fields, "speculate", what, flag),
    audit: optional(fields, "audit", what, number),
  }) as JobSpec;
  if (spec.jobTimeoutMs === 0) throw bad(what, "jobTimeoutMs");
  checkAudit(spec, what);
  if ((codec === "range") !== (spec.rangeItems !== undefined)) throw bad(what, "rangeItems");
  if ((spec.rangeItems ?? 0) > limits.jobItemsMax) {
    throw new EverycoreError("over-limit", `a job may have at most ${limits.jobItemsMax} items`);
  }
  return spec;
}

function checkAudit({ audit, task }: JobSpec, what: string): void {
  if (audit === undefined) return;
  if (!(audit > 0 && audit <= 1)) throw bad(what, "audit");
  if (task.reduce === undefined) return;
  throw new EverycoreError(
    "bad-input",
    "a reduction cannot be audited: its items have no value of their own",
    {
      hint: "leave --audit away, or --reduce and combine the values yourself",
    },
  );
}

function parseFailureLimit(fields: Fields, field: string, what: string): FailureLimit {
  const limit = fieldsOf(fields[field], `${what}.${field}`);
  const most = count(limit, "most", what);
  const isShare = flag(limit, "isShare", what);
  if (isShare && most >= 100) throw bad(what, field);
  return { most, isShare };
}

export const encodeSpec = (spec: JobSpec): Buffer => encode(spec);
export const decodeSpec = (data: Uint8Array): JobSpec => parseSpec(decode(data));

export function encodeJobRecord(record: JobRecord): Buffer {
  const intent = record.intent;
  return encode({
    v: protocolVersion,
    ...record,
    intent: intent?.kind === "reopen" ? { ...intent, ranges: rangesToWire(intent.ranges) } : intent,
  });
}

export function decodeJobRecord(data: Uint8Array): JobRecord {
  const what = "job record";
  const fields = versioned(data, what);
  const id = fields["id"];
  if (!isJobId(id)) throw bad(what, "id");
  const segment = fields["segment"];
  if (!isSegmentId(segment)) throw bad(what, "segment");
  return compact({
    id,
    user: text(fields, "user", what),
    spec: parseSpec(fields["spec"]),
    segment,
    state: oneOf(fields, "state", what, jobStates),
    reserved: count(fields, "reserved", what),
    round: count(fields, "round", what),
    epoch: count(fields, "epoch", what),
    foldVersion: count(fields, "foldVersion", what),
    intent: optional(fields, "intent", what, parseIntent),
    repairs: optional(fields, "repairs", what, parseRepairs),
    createdAt: number(fields, "createdAt", what),
    startedAt: optional(fields, "startedAt", what, number),
    endedAt: optional(fields, "endedAt", what, number),
    ranMs: optional(fields, "ranMs", what, count),
    total: optional(fields, "total", what, count),
    reason: optional(fields, "reason", what, text),
    counts: optional(fields, "counts", what, parseCounts),
    missing: optional(fields, "missing", what, count),
    audit: optional(fields, "audit", what, parseAuditResult),
  }) as JobRecord;
}

const parseRepairs = (fields: Fields, field: string): Repair[] =>
  list(fields, field, "job record", limits.repairsMax).map((value) => {
    const repair = fieldsOf(value, "repair");
    return { round: count(repair, "round", "repair"), ...parseRepairCode(repair) };
  });

/** What `job retry --code` sends. */
export function parseRepairCode(value: unknown): RepairCode {
  const what = "code of a retry";
  const fields = fieldsOf(value, what);
  const bundle = text(fields, "bundle", what);
  if (!isBundleDigest(bundle)) throw bad(what, "bundle");
  return { bundle, entry: text(fields, "entry", what, 4_096), export: text(fields, "export", what, 4_096) };
}

function parseIntent(fields: Fields, field: string): JobIntent {
  const what = "job intent";
  const intent = fieldsOf(fields[field], what);
  const kind = oneOf(intent, "kind", what, ["cancel", "fail", "reopen"]);
  switch (kind) {
    case "cancel":
      return {
        kind,
        status: oneOf(intent, "status", what, ["cancelled", "expired"]),
        message: text(intent, "message", what),
      };
    case "fail":
      return { kind, message: text(intent, "message", what) };
    case "reopen":
      return {
        kind,
        ranges: rangesFromWire(intent, "ranges", what, 1_000_000),
        round: count(intent, "round", what),
      };
  }
}

function parseCounts(fields: Fields, field: string): OutcomeCounts {
  const given = fieldsOf(fields[field], "counts");
  const counts = emptyCounts();
  for (const key of Object.keys(counts) as (keyof OutcomeCounts)[]) counts[key] = count(given, key, "counts");
  return counts;
}

export const encodeLeaseReply = (reply: LeaseReply): Buffer => encode({ v: protocolVersion, ...reply });

export function decodeLeaseReply(data: Uint8Array): LeaseReply {
  const what = "lease reply";
  const fields = versioned(data, what);
  if (flag(fields, "ok", what)) return { ok: true, accepted: count(fields, "accepted", what) };
  return {
    ok: false,
    reason: oneOf(fields, "reason", what, leaseRefusals),
    message: text(fields, "message", what),
  };
}

export const encodeFetch = (request: FetchRequest): Buffer =>
  encode({ v: protocolVersion, ...request, grant: leaseToWire(request.grant) });

export function decodeFetch(data: Uint8Array): FetchRequest {
  const what = "fetch request";
  const fields = versioned(data, what);
  const seq = optional(fields, "seq", what, count);
  const offset = optional(fields, "offset", what, count);
  return {
    job: jobOf(fields, what),
    grant: leaseFromWire(fields["grant"], what),
    what: oneOf(fields, "what", what, ["bundle", "block", "partials"]),
    ...(seq === undefined ? {} : { seq }),
    ...(offset === undefined ? {} : { offset }),
  };
}

export function encodeFetchReply(reply: FetchReply): Buffer {
  if (!reply.ok) return encode({ v: protocolVersion, ...reply });
  const { bytes: data, ...rest } = reply;
  return encodeWithBytes({ v: protocolVersion, ...rest }, "bytes", data);
}

export function decodeFetchReply(data: Uint8Array): FetchReply {
  const what = "fetch reply";
  const fields = versioned(data, what);
  if (flag(fields, "ok", what)) {
    return { ok: true, total: count(fields, "total", what), bytes: bytes(fields, "bytes", what) };
  }
  return {
    ok: false,
    reason: oneOf(fields, "reason", what, ["later", "refused", "gone"]),
    message: text(fields, "message", what),
  };
}

export const encodeErrorInfo = (info: ErrorInfo): Buffer => encode(compact(info));

/** Parses an error leniently: what a foreign worker left out or overdid is cut, never refused. */
export function decodeErrorInfo(data: Uint8Array): ErrorInfo {
  const fields = fieldsOf(decode(data), "error");
  const string = (field: string, max: number): string | undefined => {
    const value = fields[field];
    return typeof value === "string" ? value.slice(0, max) : undefined;
  };
  const integer = (field: string): number | undefined => {
    const value = fields[field];
    return typeof value === "number" && Number.isFinite(value) ? value : undefined;
  };
  const native = fields["native"] as ErrorInfo["native"] | undefined;
  const stdout = fields["stdout"];
  return compact({
    kind: string("kind", 64) ?? "error",
    name: string("name", 256) ?? "Error",
    message: string("message", limits.errorMessageBytesMax) ?? "",
    trace: string("trace", limits.errorTraceBytesMax),
    cause: string("cause", limits.errorMessageBytesMax),
    exitCode: integer("exitCode"),
    signal: string("signal", 32),
    peakBytes: integer("peakBytes"),
    stderrTail: string("stderrTail", limits.stderrTailBytesMax),
    stdout: stdout instanceof Uint8Array ? stdout : undefined,
    ...returnedFilesOf(fields),
    native: native?.bytes instanceof Uint8Array ? native : undefined,
  }) as ErrorInfo;
}
