/** The only place that spells a NATS subject, a stream or a bucket (DESIGN 4). */
import type { JobId, NodeId, SegmentId } from "./ids.ts";
import { isJobId, isSegmentId } from "./ids.ts";

export const protocolVersion = 1;

export const subjects = {
  /** Commits, chunks, strikes, seals, reopens and fences of one job, by writer. */
  log: (segment: SegmentId, writer: string, job: JobId) => `ec.v1.log.${segment}.${writer}.${job}`,
  /** Input blocks and the close of one job. */
  input: (segment: SegmentId, job: JobId) => `ec.v1.in.${segment}.${job}`,
  /** Everything of one job in its segment, for a reader's filters. */
  logOfJob: (segment: SegmentId, job: JobId) => `ec.v1.log.${segment}.*.${job}`,
  segmentLog: (segment: SegmentId) => `ec.v1.log.${segment}.>`,
  segmentInput: (segment: SegmentId) => `ec.v1.in.${segment}.>`,
  /** Leases to one agent: request, answered on receipt. */
  lease: (node: NodeId) => `ec.v1.lease.${node}`,
  /** Bundles, input blocks and partials for agents: request to any coordinator (queue group). */
  fetch: "ec.v1.fetch",
  fetchQueue: "coordinators",
  /** The leader's address, each second. */
  leader: "ec.v1.leader",
  /** What each coordinator says of itself to the others, each second. */
  coordinator: "ec.v1.coordinator",
  /** Commands forwarded to the leader by other coordinators. */
  command: "ec.v1.command",
} as const;

/** True for what a leader says on its subject: HOST:PORT as text. */
export function isAddressText(data: Uint8Array): boolean {
  if (data.length > 300) return false;
  const [, port] = /^[\w.:[\]-]+:(\d{1,5})$/.exec(Buffer.from(data).toString("latin1")) ?? [];
  return port !== undefined && Number(port) <= 65_535;
}

export const streamOfSegment = (segment: SegmentId): string => `EC_LOG_${segment}`;

export const buckets = {
  jobs: "EC_JOBS",
  nodes: "EC_NODES",
  meta: "EC_META",
  leader: "EC_LEADER",
  blobs: "EC_BLOBS",
} as const;

/** Name of the header that carries all a fold needs of a record: base64url msgpack. */
export const recordHeader = "Ec-C";

export interface LogSubject {
  readonly plane: "log" | "in";
  readonly segment: SegmentId;
  /** Node or coordinator that wrote it; empty for input. */
  readonly writer: string;
  readonly job: JobId;
}

/** Parts of a log or input subject, or undefined when it is none of ours. */
export function parseLogSubject(subject: string): LogSubject | undefined {
  const [ec, version, plane, segment, ...rest] = subject.split(".");
  if (ec !== "ec" || version !== "v1" || !isSegmentId(segment)) return undefined;
  const job = rest.at(-1);
  if (!isJobId(job)) return undefined;
  if (plane === "log" && rest.length === 2) return { plane, segment, writer: rest[0]!, job };
  if (plane === "in" && rest.length === 1) return { plane, segment, writer: "", job };
  return undefined;
}
