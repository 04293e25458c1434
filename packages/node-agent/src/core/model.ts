/**
 * What the agent knows, as plain data; `step` (step.ts) is the only writer. It never holds bytes of items: inputs
 * and outcomes are named by where they lie.
 *
 * Invariants, checked by invariants.ts after every step in tests:
 *  A1  an item of a lease is in at most one place: queued, in a slice, done (unacknowledged), given back;
 *  A2  a slot runs slices of one worker at a time, at most two of them;
 *  A3  a slice belongs to a lease that is held, or its worker is dying; a dropped lease has nothing but slices;
 *  A4  a dying worker gets nothing new.
 */
import type {
  IntervalSet,
  JobId,
  LeaseGrant,
  LeaseId,
  LeaseMode,
  LevelRun,
  Range,
  SlotUsage,
  SegmentId,
} from "@everycore/protocol/pure";
import type { DrainLife, SliceLife, WorkerLife } from "./transitions.ts";

/** What the core must know of a task; the shell keeps the whole. */
export interface TaskFacts {
  /** Names the code: a retry may bring another. Absent: there is one. */
  readonly code?: string;
  readonly runtime: string;
  readonly reduced: boolean;
  readonly retries: number;
  readonly itemTimeoutMs: number | undefined;
}

export interface Lease {
  readonly grant: LeaseGrant;
  readonly job: JobId;
  readonly mode: LeaseMode;
  /** What its worker may use, other than this node's limit: it runs in a fresh one, which goes with it. */
  readonly memoryBytes: number | undefined;
  readonly priority: number;
  readonly tag: number;
  /** The one item combines the partials of the job. */
  readonly partials: boolean;
  /** Items tried before. */
  readonly attempts: readonly LevelRun[];
  /** Inputs and bundle are on this machine. */
  ready: boolean;
  readonly queue: IntervalSet;
  /** With an outcome, or struck, that the log has not acknowledged. */
  readonly done: IntervalSet;
  /** Given back, not yet confirmed by the leader. */
  readonly gaveBack: IntervalSet;
  /** The leader wants it no more: nothing of it starts or is told; it is here until its slices have ended. */
  dropped: boolean;
}

/** Where consecutive outcomes of equal status lie: whole records of a worker's outcome file. */
export interface OutcomeRun {
  readonly file: number;
  readonly from: number;
  readonly to: number;
  readonly start: number;
  readonly end: number;
  /** recordStatus or outcome status as in the file: 0 value, 1 error, 2 timeout, 17 partial. */
  readonly status: number;
  /** partial: items of the span without value. */
  readonly missing: number | undefined;
}

export interface WaitingRun extends OutcomeRun {
  readonly lease: LeaseGrant;
  /** As it is committed. */
  readonly verdict: "value" | "error" | "timeout" | "again";
}

export interface Job {
  readonly id: JobId;
  readonly segment: SegmentId;
  task: TaskFacts;
  /** Of the newest of its leases. */
  round: number;
  epoch: number;
  /** Learned here, else the leader's guess; undefined while unknown. */
  itemMs: number | undefined;
  learned: { items: number; ms: number };
  readonly leases: Map<LeaseId, Lease>;
  waiting: WaitingRun[];
  waitingBytes: number;
  /** When the first of `waiting` came. */
  waitingSince: number;
  readonly usage: Map<number, SlotUsage>;
  /** Highest sequence acknowledged to us. */
  ackedSeq: number;
  inFlight: number;
  /** The task does not load here: nothing more of it starts, and whoever leases it is told. */
  failure: TaskFailure | undefined;
}

export interface TaskFailure {
  /** msgpack ErrorInfo, or a sentence. */
  readonly error: Uint8Array | string;
  /** The worker died while loading, rather than raising. */
  readonly died: boolean;
}

export interface Slice {
  readonly id: number;
  readonly job: JobId;
  readonly lease: LeaseId;
  readonly start: number;
  readonly end: number;
  life: SliceLife;
  /** Items from here on are not this slice's any more. */
  limit: number;
  /** Asked of the leader under this number. */
  readonly ask: number;
  sentAt: number;
  /** Estimate, ms; undefined while the cost is unknown. */
  readonly estimateMs: number | undefined;
  /** Item last seen running, and when it was first seen; undefined before the slice began. */
  cursor: number | undefined;
  cursorAt: number;
  /** Where it ended before the cut that is under way. */
  cutEnd: number;
  /** Why it is being cut. */
  cutFor: "leader" | "self" | "drop" | undefined;
  splits: number;
}

export type KillReason =
  | { readonly kind: "timeout"; readonly item: number }
  | { readonly kind: "memory" }
  | { readonly kind: "cancel" }
  /** Replaced, drained or not needed any more. */
  | { readonly kind: "stop" };

export interface Worker {
  readonly id: number;
  readonly slot: number;
  readonly runtime: string;
  life: WorkerLife;
  job: JobId | undefined;
  /** At most two: one running, one behind it. */
  slices: Slice[];
  kill: KillReason | undefined;
  /** When it last ran something: the longest idle goes first. */
  usedAt: number;
  takenAt: number;
  /** It grew, or ran very many items: replaced as soon as it has no slice (DESIGN 10). */
  worn: boolean;
  /** Items that it has run. */
  items: number;
}

export interface Slot {
  readonly id: number;
  /** Next sequence of a slice on this slot. */
  nextSlice: number;
  /** Workers cannot be started before this time, after failures. */
  startAfter: number;
  startFailures: number;
  /** While it stands idle no spare is started before: the outcomes of its last slice are on their way. */
  quietUntil: number;
}

export interface Commit {
  readonly id: number;
  readonly job: JobId;
  readonly runs: readonly WaitingRun[];
  readonly bytes: number;
}

export interface Strike {
  readonly id: number;
  readonly job: JobId;
  readonly lease: LeaseId;
  readonly item: number;
}

/** Room for files: `full`: the disk has none; `limit`: the state directory has taken what it may. No slice starts. */
export type DiskLevel = "ok" | "full" | "limit";

export interface AgentState {
  /** Monotonic ms of the last event. */
  now: number;
  epoch: number;
  nodes: number;
  connected: boolean;
  drain: DrainLife;
  drainBy: number;
  /** While it drains: nothing is left to do since then. */
  idleSince: number | undefined;
  disk: DiskLevel;
  accepted: number;
  /** Ids of leases that were here, with the counter given to them: a resend is answered alike. */
  readonly seen: Map<LeaseId, number>;
  /** Leases that had not arrived when the leader asked for them: it gives their items to others. */
  readonly declined: Set<LeaseId>;
  readonly jobs: Map<JobId, Job>;
  readonly slots: Slot[];
  readonly workers: Map<number, Worker>;
  nextWorker: number;
  nextCommit: number;
  nextAsk: number;
  readonly commits: Map<number, Commit>;
  readonly strikes: Map<number, Strike>;
  /** Bytes of outcomes that are not acknowledged. */
  spoolBytes: number;
  /** Runtimes and when they were last used. */
  readonly runtimesUsed: Map<string, number>;
  readonly runtimes: ReadonlySet<string>;
  starvingTold: number;
  /** When the next spare is to be started; undefined: every slot has what it needs, or is busy. */
  spareAt: number | undefined;
  /** Acknowledged sequences of jobs that we hold nothing of any more. */
  readonly ackedSeqs: Map<JobId, number>;
}

export type { Range };
