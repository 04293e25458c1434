/** The gRPC messages of proto/everycore/v1 as the client reads them (proto-loader, camel case, defaults filled in). */
import type { JobState } from "@everycore/protocol";

export interface Counts {
  readonly value: number;
  readonly error: number;
  readonly timeout: number;
  readonly crash: number;
  readonly lost: number;
  readonly cancelled: number;
  readonly expired: number;
}

export interface SlotUsageInfo {
  readonly slot: number;
  readonly items: number;
  readonly slices: number;
  readonly splits: number;
  readonly busyMs: number;
  readonly cpuMs: number;
}

export interface NodeUsageInfo {
  readonly node: string;
  readonly host: string;
  readonly leases: number;
  readonly slots: readonly SlotUsageInfo[];
}

/** A job as a coordinator describes it; times are ms since epoch, 0 when not yet. */
export interface JobInfo {
  readonly id: string;
  readonly name: string;
  readonly user: string;
  readonly state: JobState;
  readonly reason: string;
  readonly runtime: string;
  readonly task: string;
  /** 0 while the input is open. */
  readonly total: number;
  readonly appended: number;
  readonly counts: Counts | null;
  readonly leased: number;
  readonly missing: number;
  readonly createdAt: number;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly round: number;
  readonly retries: number;
  readonly strikes: number;
  readonly duplicates: number;
  readonly itemMs: number;
  readonly usage: readonly NodeUsageInfo[];
  readonly leasesSent: number;
  readonly codec: string;
  readonly reduced: boolean;
  readonly seed: string;
  readonly bundle: string;
  readonly outputBytes: number;
}

export interface RuntimeInfo {
  readonly name: string;
  readonly version: string;
  readonly path: string;
}

export interface NodeInfo {
  readonly id: string;
  readonly host: string;
  readonly state: string;
  readonly reason: string;
  readonly slots: number;
  readonly slotsReason: string;
  readonly busy: number;
  readonly version: string;
  readonly runtimes: readonly RuntimeInfo[];
  readonly memoryBytes: number;
  readonly isolation: string;
  readonly leased: number;
  readonly lastSeenAt: number;
  readonly os: string;
  readonly pid: number;
  readonly spoolBytes: number;
  readonly stateBytes: number;
  readonly stateBytesMax: number;
}

export interface ClusterStatus {
  readonly cluster: string;
  readonly version: string;
  readonly leader: string;
  readonly epoch: number;
  readonly leading: boolean;
  readonly startedAt: number;
  readonly natsUrl: string;
  readonly natsVersion: string;
  readonly nodes: readonly NodeInfo[];
  readonly jobsByState: Readonly<Record<string, number>>;
  readonly storageBytes: number;
  readonly storageReserved: number;
  readonly storageLimit: number;
  readonly segments: number;
  readonly queuedCoreMs: number;
  readonly waiting: readonly string[];
}

export interface AuditInfo {
  readonly job: string;
  readonly total: number;
  readonly covered: number;
  readonly counts: Counts | null;
  readonly duplicate: number;
  readonly stale: number;
  readonly invalid: number;
  readonly retries: number;
  readonly strikes: number;
  readonly records: number;
  readonly commits: number;
  readonly round: number;
  readonly closed: boolean;
  readonly missing: number;
}

export interface OutputChunk {
  readonly node: string;
  readonly slot: number;
  readonly stream: string;
  readonly data: Buffer;
  readonly dropped: number;
}

export interface SubmitResponse {
  readonly part?: "accepted" | "appended" | "closed";
  readonly accepted?: { readonly job: string; readonly appended: number };
  readonly appended?: number;
  readonly closed?: JobInfo;
}

export interface ResultsResponse {
  readonly part?: "batch" | "piece" | "end";
  readonly batch?: {
    readonly runs: readonly { readonly start: number; readonly count: number }[];
    readonly data: Buffer;
    readonly node: string;
  };
  readonly piece?: {
    readonly index: number;
    readonly status: number;
    readonly codec: number;
    readonly total: number;
    readonly offset: number;
    readonly data: Buffer;
  };
  readonly end?: JobInfo;
}

/** Items that ended without a value. */
export function failedItems(info: JobInfo): number {
  const { counts } = info;
  if (counts === null) return 0;
  return counts.error + counts.timeout + counts.crash + counts.lost + counts.cancelled + counts.expired;
}

/** Items with an outcome. */
export const endedItems = (info: JobInfo): number => failedItems(info) + (info.counts?.value ?? 0);
