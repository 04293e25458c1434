/** What an agent says over its link, as proto-loader gives it, checked and turned into the core's events. */
import type { JobId, LeaseGrant, LeaseReply, NodeId, Range } from "@everycore/protocol";
import {
  checkLabels,
  decodeErrorInfo,
  EverycoreError,
  isJobId,
  isLeaseId,
  isNodeId,
} from "@everycore/protocol";
import type { LeaseReport, NodeReport } from "../core/index.ts";
import type { WorldEvent } from "../loop.ts";

interface WireRange {
  readonly start: number;
  readonly end: number;
}
interface WireGrant {
  readonly id: Buffer;
  readonly start: number;
  readonly end: number;
  readonly node: string;
  readonly round: number;
  readonly n: number;
}
interface WireReport {
  readonly job: string;
  readonly grant: WireGrant | null;
  readonly unfinished: readonly WireRange[];
  readonly unacknowledged: readonly WireRange[];
  readonly acknowledgedSeq: number;
  readonly gaveBack: readonly WireRange[];
}
export interface WireNode {
  readonly id: string;
  readonly host: string;
  readonly slots: number;
  readonly slotsReason: string;
  readonly version: string;
  readonly runtimes: readonly { readonly name: string; readonly version: string; readonly path: string }[];
  readonly labels: readonly string[];
  readonly memoryBytes: number;
  readonly isolation: string;
  readonly os: string;
  readonly pid: number;
}
interface WireHello {
  readonly node: WireNode | null;
  readonly machineId: string;
  readonly incarnation: string;
  readonly epochSeen: number;
  readonly leases: readonly WireReport[];
  readonly accepted: number;
  readonly filesRecovered: boolean;
  readonly acknowledged: Readonly<Record<string, number>>;
}
export interface OutputPart {
  readonly ask: number;
  readonly slot: number;
  readonly stream: string;
  readonly data: Buffer;
  readonly dropped: number;
  readonly last: boolean;
}
export interface FromAgent {
  readonly part?: string;
  readonly hello?: WireHello;
  readonly heartbeat?: {
    readonly busy: number;
    readonly spoolBytes: number;
    readonly disk: string;
    readonly stateBytes: number;
    readonly stateBytesMax: number;
    readonly gaveBack: readonly WireReport[];
  };
  readonly gaveBack?: {
    readonly job: string;
    readonly grant: WireGrant | null;
    readonly ranges: readonly WireRange[];
  };
  readonly taskFailed?: {
    readonly job: string;
    readonly error: Buffer;
    readonly died: boolean;
    readonly round: number;
  };
  readonly starving?: { readonly slots: number };
  readonly output?: OutputPart;
  readonly drained?: { readonly acknowledged: Readonly<Record<string, number>> };
  readonly leaseFound?: { readonly job: string; readonly lease: Buffer; readonly accepted?: number };
  readonly sliceStarting?: {
    readonly job: string;
    readonly grant: WireGrant | null;
    readonly range: WireRange | null;
    readonly ask: number;
  };
}

export const malformed = (what: string): EverycoreError =>
  new EverycoreError("bad-input", `agent message: ${what} is malformed`);

function jobOf(text: string): JobId {
  if (!isJobId(text)) throw malformed("job");
  return text;
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

function rangesOf(ranges: readonly WireRange[]): Range[] {
  return ranges.map(({ start, end }) => {
    if (!isCount(start) || !isCount(end) || start >= end) throw malformed("range");
    return { start, end };
  });
}

function grantOf(grant: WireGrant | null): LeaseGrant {
  const id = grant?.id.toString("hex");
  if (grant === null || !isLeaseId(id) || !isNodeId(grant.node)) throw malformed("lease");
  const { start, end, node, round, n } = grant;
  if (![start, end, round, n].every(isCount) || start >= end) throw malformed("lease");
  return { id, start, end, node, round, n };
}

/** What NATS did not bring. */
function leaseAnswer(
  from: NodeId,
  { job, lease, accepted }: NonNullable<FromAgent["leaseFound"]>,
): WorldEvent {
  const id = lease.toString("hex");
  if (!isLeaseId(id)) throw malformed("lease");
  const reply: LeaseReply =
    typeof accepted === "number"
      ? { ok: true, accepted }
      : { ok: false, reason: "late", message: "it has not arrived" };
  return { kind: "leaseAnswered", job: jobOf(job), lease: id, reply, from };
}

const reportOf = (report: WireReport): LeaseReport => ({
  job: jobOf(report.job),
  grant: grantOf(report.grant),
  unfinished: rangesOf(report.unfinished),
  unacknowledged: rangesOf(report.unacknowledged),
  gaveBack: rangesOf(report.gaveBack),
  acknowledgedSeq: report.acknowledgedSeq,
});

/** A runtime `python` of version 3.11.4 is advertised as `python` and as `python3.11`. */
function runtimeNames(node: WireNode): string[] {
  const names = new Set<string>();
  for (const { name, version } of node.runtimes) {
    names.add(name);
    const short = /^\d+\.\d+/.exec(version)?.[0];
    if (name === "python" && short !== undefined) names.add(`python${short}`);
  }
  return [...names];
}

/** Malformed ones are left out: what they would ask for cannot be required. */
function labelsOf(node: WireNode): readonly string[] {
  try {
    return checkLabels(node.labels);
  } catch {
    return [];
  }
}

function acknowledgedOf(said: Pick<WireHello, "acknowledged">): Map<JobId, number> {
  const acknowledged = new Map<JobId, number>();
  for (const [job, seq] of Object.entries(said.acknowledged)) if (isJobId(job)) acknowledged.set(job, seq);
  return acknowledged;
}

export function helloOf(hello: WireHello): { report: NodeReport; node: WireNode } {
  const { node } = hello;
  if (node === null || !isNodeId(node.id) || hello.incarnation === "") throw malformed("hello");
  const report: NodeReport = {
    node: node.id,
    host: node.host,
    machine: hello.machineId,
    slots: node.slots,
    runtimes: runtimeNames(node),
    labels: labelsOf(node),
    incarnation: hello.incarnation,
    epochSeen: hello.epochSeen,
    leases: hello.leases.map(reportOf),
    accepted: hello.accepted,
    filesRecovered: hello.filesRecovered,
    acknowledged: acknowledgedOf(hello),
  };
  return { report, node };
}

/** Why a node takes no work, by the word of its heartbeat. */
const diskReasons = new Map([
  ["full", "its disk is full"],
  ["limit", "its state directory has taken all that it may of its disk"],
]);

/** Those of a heartbeat stand by themselves: one that is malformed takes none with it that came before. */
export function* eventsOf(message: FromAgent, node: NodeId): Generator<WorldEvent> {
  const { heartbeat, gaveBack, taskFailed, starving, drained, sliceStarting, leaseFound } = message;
  if (heartbeat) {
    const { busy, disk } = heartbeat;
    const diskReason = diskReasons.get(disk);
    const why = diskReason === undefined ? {} : { diskReason };
    yield { kind: "nodeHeartbeat", node, busy, diskFull: diskReason !== undefined, ...why };
    for (const wire of heartbeat.gaveBack) {
      const { job, grant, gaveBack: ranges } = reportOf(wire);
      if (ranges.length > 0) yield { kind: "gaveBack", node, job, grant, ranges };
    }
  } else if (gaveBack) {
    const grant = gaveBack.grant === null ? undefined : grantOf(gaveBack.grant);
    yield { kind: "gaveBack", node, job: jobOf(gaveBack.job), grant, ranges: rangesOf(gaveBack.ranges) };
  } else if (taskFailed) {
    yield taskFailure(node, taskFailed);
  } else if (starving) {
    yield { kind: "starving", node, slots: starving.slots };
  } else if (drained) {
    yield { kind: "drained", node, acknowledged: acknowledgedOf(drained) };
  } else if (leaseFound) {
    yield leaseAnswer(node, leaseFound);
  } else if (sliceStarting) {
    const { job, ask } = sliceStarting;
    const { id: lease } = grantOf(sliceStarting.grant);
    const range = rangesOf(sliceStarting.range === null ? [] : [sliceStarting.range])[0];
    if (range === undefined) throw malformed("slice");
    yield { kind: "sliceStarting", node, job: jobOf(job), lease, range, ask };
  } else throw malformed(message.part ?? "kind");
}

function taskFailure(node: NodeId, said: NonNullable<FromAgent["taskFailed"]>): WorldEvent {
  const { error, died, round } = said;
  const { name, message } = decodeErrorInfo(error);
  // Our own refusals are sentences; the class of a user's exception is part of what it says.
  const text = name === "EverycoreError" ? message : `${name}: ${message}`;
  return { kind: "taskFailed", node, job: jobOf(said.job), round, message: text, died };
}
