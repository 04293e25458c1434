/** The gRPC messages of proto/everycore/v1 as the client reads them (proto-loader, camel case, defaults filled in). */
import type { CoordinatorInfo, JobState, Replication } from "@everycore/protocol";

export type { CoordinatorInfo, Replication };

/** How many items of a job ended in each way. */
export interface Counts {
  readonly value: number;
  readonly error: number;
  readonly timeout: number;
  readonly crash: number;
  readonly lost: number;
  readonly cancelled: number;
  readonly expired: number;
}

/** What one slot did for a job. */
export interface SlotUsageInfo {
  /** From 0. */
  readonly slot: number;
  /** Items that it ran. */
  readonly items: number;
  /** Slices: runs of items that it was given at once. */
  readonly slices: number;
  /** Slices that were shortened while they ran, for an idle slot. */
  readonly splits: number;
  /** Time in items, ms. */
  readonly busyMs: number;
  /** CPU time of its workers, ms. */
  readonly cpuMs: number;
}

/** What one node did for a job. */
export interface NodeUsageInfo {
  /** Id of the node. */
  readonly node: string;
  readonly host: string;
  /** Leases that it was sent. */
  readonly leases: number;
  readonly slots: readonly SlotUsageInfo[];
}

/** A job as a coordinator describes it; times are ms since epoch, 0 when not yet. */
export interface JobInfo {
  /** 20 hex digits. */
  readonly id: string;
  /** For people; need not be unique. */
  readonly name: string;
  readonly user: string;
  /** `accepting` while its input is open, unless it is `paused`; ended are `done` (items may have failed), `cancelled` and `failed`. */
  readonly state: JobState;
  /** Why it waits or ended so, for people; empty when there is nothing to say. */
  readonly reason: string;
  /** `js`, `python` or `exec`. */
  readonly runtime: string;
  /** File and function, or the program with its arguments. */
  readonly task: string;
  /** 0 while the input is open. */
  readonly total: number;
  /** Items that are durable so far. */
  readonly appended: number;
  /** Items that have ended, by how; null while none is known. */
  readonly counts: Counts | null;
  /** Items that nodes have at this moment. */
  readonly leased: number;
  /** Items without a value, of a reduction. */
  readonly missing: number;
  readonly createdAt: number;
  readonly startedAt: number;
  readonly endedAt: number;
  /** How often failed items were run again by `retry`. */
  readonly round: number;
  /** Tries after the first, of all items. */
  readonly retries: number;
  /** Deaths of workers and nodes while items ran. */
  readonly strikes: number;
  /** Outcomes that were dropped because the item had one already. */
  readonly duplicates: number;
  /** What an item takes, as learned, ms; 0 while unknown. */
  readonly itemMs: number;
  /** What each node did for it. */
  readonly usage: readonly NodeUsageInfo[];
  /** Leases that were sent to nodes. */
  readonly leasesSent: number;
  /** How its items travel: `range`, `utf8`, `json`, `msgpack` or `py`. */
  readonly codec: string;
  /** Its values are combined into one, the outcome of index `total`. */
  readonly reduced: boolean;
  /** 16 hex digits. */
  readonly seed: string;
  /** SHA-256 of its code; empty for programs. */
  readonly bundle: string;
  /** Bytes that its tasks printed, as far as they are kept. */
  readonly outputBytes: number;
  /** Code of retries (`bundle` is that of round 0): items of its round, and of later ones, ran it. */
  readonly repairs: readonly {
    readonly round: number;
    readonly bundle: string;
    readonly entry: string;
    readonly export: string;
  }[];
  /** It expires once it has run for so long in its round, ms; 0: no limit. */
  readonly jobTimeoutMs: number;
  /** Of a job with a time limit: how long it has run in this round, without its pauses, ms. */
  readonly ranMs: number;
  /** Items that may fail, such as `3` or `10%`; empty: no limit. */
  readonly maxFailures: string;
  /** Of a job with `audit`: what two nodes made of the same items. */
  readonly audit?: SpotCheckInfo;
}

/** Items whose value was computed again on another node. */
export interface SpotCheckInfo {
  /** Of the items, as it was asked for; at most 10,000 of them. */
  readonly share: number;
  /** Compared, those that differ among them. */
  readonly checked: number;
  readonly differing: number;
  /** No other node has brought them to an end. */
  readonly unchecked: number;
  /** Still to be compared, as far as is known. */
  readonly open: number;
  /** The first few that differ. */
  readonly items: readonly DifferingItemInfo[];
}

/** An item of which two nodes do not make the same. */
export interface DifferingItemInfo {
  readonly index: number;
  /** The node whose value counts. */
  readonly first: string;
  readonly second: string;
  /** How its try differs: `value`, or twice an `error`, `timeout` or `crash`. */
  readonly how: string;
}

/** A sentence on why a job is where it is. */
export interface ExplainLine {
  readonly about: string;
  readonly text: string;
}

/** With the leader's account of why it is where it is; absent from coordinators that do not know it. */
export interface ExplainedJob extends JobInfo {
  readonly explanation?: { readonly lines: readonly ExplainLine[] };
}

/** A program that runs tasks on a node. */
export interface RuntimeInfo {
  /** `js`, `python` or `exec`. */
  readonly name: string;
  readonly version: string;
  /** Where it is on the node; empty where it is our own. */
  readonly path: string;
}

/** A node: one agent. Sizes are bytes, times ms since epoch. */
export interface NodeInfo {
  readonly id: string;
  readonly host: string;
  /** `connected`, `suspected`, `lost`, `draining`, `drained` or `quarantined`. */
  readonly state: string;
  /** Why it is in this state, for people. */
  readonly reason: string;
  /** Workers at once. */
  readonly slots: number;
  /** Where that number comes from. */
  readonly slotsReason: string;
  /** Slots that run items now. */
  readonly busy: number;
  readonly version: string;
  readonly runtimes: readonly RuntimeInfo[];
  /** Memory of its machine. */
  readonly memoryBytes: number;
  /** What keeps tasks from the agent: `none`, `uid` or `pod`. */
  readonly isolation: string;
  /** Items that it has at this moment. */
  readonly leased: number;
  readonly lastSeenAt: number;
  readonly os: string;
  readonly pid: number;
  /** Outcomes that wait for their acknowledgement. */
  readonly spoolBytes: number;
  readonly stateBytes: number;
  readonly stateBytesMax: number;
  /** `key=value`, as its agent was started with. */
  readonly labels: readonly string[];
}

/** A cluster at this moment. Sizes are bytes, times ms since epoch. */
export interface ClusterStatus {
  readonly cluster: string;
  readonly version: string;
  /** HOST:PORT of the coordinator that decides; empty while there is none. */
  readonly leader: string;
  /** Number of its reign; 0 when the coordinator that answers could not reach it, and knows little. */
  readonly epoch: number;
  /** The coordinator that answers is the leader; another one gives the leader's answer. */
  readonly leading: boolean;
  readonly startedAt: number;
  readonly natsUrl: string;
  readonly natsVersion: string;
  readonly nodes: readonly NodeInfo[];
  readonly jobsByState: Readonly<Record<string, number>>;
  readonly storageBytes: number;
  /** Reserved by logs and tables, of `storageLimit`. */
  readonly storageReserved: number;
  readonly storageLimit: number;
  /** Streams that hold logs of jobs. */
  readonly segments: number;
  /** Work that waits, ms of one core, as far as costs are known. */
  readonly queuedCoreMs: number;
  /** What it waits for, one sentence each. */
  readonly waiting: readonly string[];
  /** The leader first. */
  readonly coordinators: readonly CoordinatorInfo[];
  readonly replication: Replication;
}

/** What the log of a job proves: every item has one outcome, and what was dropped for that. */
export interface AuditInfo {
  readonly job: string;
  readonly total: number;
  /** Items with an outcome. */
  readonly covered: number;
  readonly counts: Counts | null;
  /** Outcomes that were dropped: the item had one. */
  readonly duplicate: number;
  /** Outcomes that were dropped: they belonged to an earlier round. */
  readonly stale: number;
  /** Records that were dropped: malformed, or of a lease that nobody gave. */
  readonly invalid: number;
  readonly retries: number;
  readonly strikes: number;
  /** Records in the log. */
  readonly records: number;
  /** Records of outcomes among them. */
  readonly commits: number;
  readonly round: number;
  /** Every item has exactly one outcome, had one in each of its rounds, and no more items can come. */
  readonly closed: boolean;
  readonly missing: number;
  /** The same for each round, in their order. */
  readonly rounds: readonly RoundAuditInfo[];
  /** Of a job with `audit`: what two nodes made of the same items. */
  readonly checks?: SpotCheckInfo;
}

/** One round of a job: what its log proves of it. */
export interface RoundAuditInfo {
  readonly round: number;
  /** Items that had no outcome when it began: all of them in round 0, those that failed in the later ones. */
  readonly opened: number;
  /** How they ended; a later round may have opened some of them again. */
  readonly outcomes: Counts | null;
  readonly duplicate: number;
  readonly stale: number;
  readonly invalid: number;
  /** Errors and timeouts that were tried again. */
  readonly retries: number;
  readonly strikes: number;
  readonly commits: number;
  /** SHA-256 of the code that its items ran; empty for programs. */
  readonly bundle: string;
  /** As many outcomes were accepted as items were opened. */
  readonly closed: boolean;
}

/** What tasks printed in one slot. */
export interface OutputChunk {
  readonly node: string;
  readonly slot: number;
  /** `stdout` or `stderr`. */
  readonly stream: string;
  readonly data: Buffer;
  /** Bytes that were over the limit and are gone. */
  readonly dropped: number;
}

export interface SubmitResponse {
  readonly part?: "accepted" | "appended" | "closed";
  readonly accepted?: { readonly job: string; readonly appended: number };
  readonly appended?: number;
  readonly closed?: JobInfo;
}

export interface ItemResponse {
  readonly part?: "head" | "data";
  readonly head?: { readonly job: string; readonly spec: Buffer; readonly bytes: number };
  readonly data?: Buffer;
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
