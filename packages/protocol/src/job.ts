/**
 * What a job is, as types only (pure): the specification a user submits, the record that the leader keeps in
 * EC_JOBS, and the states of a job. Parsed in messages.ts, moved on by the coordinator's core alone.
 */
import type { BundleDigest, JobId, NodeId, SegmentId } from "./ids.ts";
import type { Codec, OutcomeCounts } from "./outcomes.ts";
import type { Range } from "./ranges.ts";

export const runtimes = ["js", "python", "exec"] as const;
/** What runs an item: an exported function of an ES module, a Python module's function, any program. */
export type Runtime = (typeof runtimes)[number];

/** All that an agent needs to run items of a job. */
export interface TaskSpec {
  readonly runtime: Runtime;
  /** js, python: the code. exec: files that stand in each item's folder. */
  readonly bundle?: BundleDigest;
  /** js: file inside the bundle; python: module name. */
  readonly entry?: string;
  /** js, python: name of the function. */
  readonly export?: string;
  /** exec: argv with {} {/} {.} {#} to be replaced per item. */
  readonly argv?: readonly string[];
  /** exec: where the program runs and with which environment; absent: scratch folder, agent's bare environment. */
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** exec, without `env`: variables beside those of the bare environment (`--env`). */
  readonly addEnv?: Readonly<Record<string, string>>;
  /** exec: patterns of the files that an item gives back from its folder (file-patterns.ts). */
  readonly returns?: readonly string[];
  /** python: the interpreter the client asks for, "3.11", or absent for any. */
  readonly python?: string;
  /** What a node must have to run items of the job (labels.ts). */
  readonly require?: readonly string[];
  /** Name of the reducer's export: `combine(a, b)`. */
  readonly reduce?: string;
  /** Hex of 8 bytes; streams of random numbers derive from (seed, item index). */
  readonly seed: string;
  /** First integer of a `range` job: item = rangeStart + index. */
  readonly rangeStart: number;
  readonly itemTimeoutMs?: number;
  /** Tries after the first for error and timeout. */
  readonly retries: number;
  /** Where the job stands in a trace (trace-context.ts); in a lease: the lease. */
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** So many items of a job may fail; one more ends it. */
export interface FailureLimit {
  /** Items, or percent of the job's items. */
  readonly most: number;
  readonly isShare: boolean;
}

/** As people write it: 3 or 10%. */
export const failureLimitText = ({ most, isShare }: FailureLimit): string => `${most}${isShare ? "%" : ""}`;

export interface JobSpec {
  readonly name: string;
  readonly task: TaskSpec;
  readonly codec: Codec;
  /** Items of a `range` job; input of other jobs arrives in blocks. */
  readonly rangeItems?: number;
  readonly priority: number;
  /** Fails the whole job at the first missing item of a reduction. */
  readonly strict: boolean;
  /** Deleted so long after its end; 0: never (`--keep`). */
  readonly ttlMs: number;
  /** Ends the job, failed, when more of its items fail. */
  readonly maxFailures?: FailureLimit;
  /** Wait before an item that failed is tried again, doubled with each try; 0: none. Absent: the cluster's own. */
  readonly retryDelayMs?: number;
  /** Ends the job, expired, when it has run for so long in its round; the time of pauses is not counted. */
  readonly jobTimeoutMs?: number;
  /** Late in the job, a single item that takes much longer than others is tried on a second node; the first end counts. */
  readonly speculate?: boolean;
  /** Share of its values, above 0 and at most 1, whose items run again on another node to be compared. */
  readonly audit?: number;
}

export const jobStates = [
  "accepting",
  "running",
  "paused",
  "cancelling",
  "done",
  "cancelled",
  "failed",
] as const;
export type JobState = (typeof jobStates)[number];
export const isEnded = (state: JobState): boolean =>
  state === "done" || state === "cancelled" || state === "failed";

/** An act that spans several records; whoever leads completes what the log lacks. */
export type JobIntent =
  | { readonly kind: "cancel"; readonly status: "cancelled" | "expired"; readonly message: string }
  | { readonly kind: "fail"; readonly message: string }
  | { readonly kind: "reopen"; readonly ranges: readonly Range[]; readonly round: number };

/** Code that a retry brought along (`--code`): items of its round, and of later ones, run it instead. */
export interface Repair {
  readonly round: number;
  readonly bundle: BundleDigest;
  readonly entry: string;
  readonly export: string;
}
export type RepairCode = Omit<Repair, "round">;

/** What runs items of a round: the newest code that is not of a later one. */
export function taskOfRound(
  job: { readonly spec: JobSpec; readonly repairs: readonly Repair[] },
  round: number,
): TaskSpec {
  const { task } = job.spec;
  const repair = job.repairs.findLast((known) => known.round <= round);
  if (repair === undefined) return task;
  const { bundle, entry, export: name } = repair;
  return { ...task, bundle, entry, export: name };
}

/** How a second try differs from the first value: by its value, or because twice there was none. */
export const differences = ["value", "error", "timeout", "crash"] as const;
export type Difference = (typeof differences)[number];

export interface DifferingItem {
  readonly index: number;
  /** Whose value counts, and whose try differs. */
  readonly first: NodeId;
  readonly second: NodeId;
  readonly how: Difference;
}

/** What `--audit` has found. */
export interface AuditResult {
  /** Items that came to an end on two nodes. */
  readonly checked: number;
  readonly differing: number;
  /** Items of the sample that no other node has brought to an end. */
  readonly unchecked: number;
  /** The first few that differ. */
  readonly items: readonly DifferingItem[];
}

export const emptyAuditResult: AuditResult = { checked: 0, differing: 0, unchecked: 0, items: [] };

/** The record in EC_JOBS, written by compare-and-set before any act. */
export interface JobRecord {
  readonly id: JobId;
  readonly user: string;
  readonly spec: JobSpec;
  readonly segment: SegmentId;
  readonly state: JobState;
  /** First item that was never leased: ranges beyond it are placed at once after a takeover. */
  readonly reserved: number;
  readonly round: number;
  /** Epoch of the writer; a lower one may not write after a higher one. */
  readonly epoch: number;
  readonly foldVersion: number;
  readonly intent?: JobIntent;
  /** In the order of their rounds. */
  readonly repairs?: readonly Repair[];
  /** ms since epoch. */
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly endedAt?: number;
  /** How long it has run in this round, ms, of a job with a time limit: a duration, so that clocks need not agree. */
  readonly ranMs?: number;
  /** Total once the input is closed. */
  readonly total?: number;
  /** Why it failed or was cancelled, for people. */
  readonly reason?: string;
  /** At the end. */
  readonly counts?: OutcomeCounts;
  readonly missing?: number;
  /** Of a job with `audit`: at the end, and what former rounds have found. */
  readonly audit?: AuditResult;
}
