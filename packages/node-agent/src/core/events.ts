/** Events that reach the agent's core and effects that leave it, as closed unions. */
import type {
  CommitRecord,
  JobId,
  LeaseGrant,
  LeaseId,
  LeaseMode,
  LeaseReply,
  LevelRun,
  Range,
  StrikeRecord,
  DeathDetail,
  Phase,
  SegmentId,
} from "@everycore/protocol/pure";
import type { DiskLevel, KillReason, OutcomeRun, TaskFacts, TaskFailure } from "./model.ts";

export interface LeaseFacts {
  readonly epoch: number;
  readonly job: JobId;
  readonly segment: SegmentId;
  readonly task: TaskFacts;
  readonly grant: LeaseGrant;
  readonly attempts: readonly LevelRun[];
  readonly mode: LeaseMode;
  readonly memoryBytes?: number;
  readonly itemMs: number;
  readonly priority: number;
  readonly tag: number;
  readonly partials: boolean;
}

/** Where the worker is in a slice, as its files say. `cursor` is undefined before the slice's head was written. */
export interface SliceSight {
  readonly slice: number;
  readonly cursor: number | undefined;
}

/** Outcomes newly found in a worker's files, by slice. */
export interface SeenRuns {
  readonly slice: number;
  readonly job: JobId;
  readonly lease: LeaseId;
  readonly runs: readonly OutcomeRun[];
}

export type AgentEvent = { readonly at: number } & (
  | {
      readonly kind: "leaseArrived";
      readonly lease: LeaseFacts;
      readonly ask: number;
      readonly ready: boolean;
    }
  | { readonly kind: "inputReady"; readonly job: JobId; readonly lease: LeaseId }
  | {
      readonly kind: "inputFailed";
      readonly job: JobId;
      readonly lease: LeaseId;
      readonly bundle: boolean;
      readonly message: string;
    }
  | { readonly kind: "workerReady"; readonly worker: number }
  | { readonly kind: "workerLoaded"; readonly worker: number }
  | { readonly kind: "initFailed"; readonly worker: number; readonly error: Uint8Array }
  | { readonly kind: "outcomesSeen"; readonly worker: number; readonly seen: readonly SeenRuns[] }
  | {
      readonly kind: "sliceEnded";
      readonly worker: number;
      readonly slice: number;
      readonly ended: number;
      readonly busyMs: number;
      readonly cpuMs: number;
    }
  | {
      readonly kind: "cursorRead";
      readonly worker: number;
      readonly phase: Phase;
      readonly sights: readonly SliceSight[];
      readonly cut: boolean;
    }
  | { readonly kind: "memoryOver"; readonly worker: number }
  /** It holds much more memory than when its task was loaded: a leak, or a cache that nobody bounds. */
  | { readonly kind: "workerGrew"; readonly worker: number }
  | {
      readonly kind: "workerDied";
      readonly worker: number;
      readonly phase: Phase;
      readonly sights: readonly SliceSight[];
      readonly detail: DeathDetail;
    }
  | { readonly kind: "commitAcked"; readonly commit: number; readonly seq: number }
  | { readonly kind: "strikeAcked"; readonly strike: number; readonly seq: number }
  | { readonly kind: "diskLevel"; readonly level: DiskLevel }
  | { readonly kind: "linkUp" }
  | { readonly kind: "linkDown" }
  | {
      readonly kind: "welcomed";
      readonly epoch: number;
      readonly nodes: number;
      readonly drop: readonly LeaseId[];
    }
  | {
      readonly kind: "giveBackAsked";
      readonly job: JobId;
      readonly wantMs: number;
      /** Whatever does not run yet: the job is paused. */
      readonly isAll: boolean;
    }
  | {
      readonly kind: "giveBackConfirmed";
      readonly job: JobId;
      readonly lease: LeaseId;
      readonly ranges: readonly Range[];
    }
  | { readonly kind: "leasesDropped"; readonly leases: readonly LeaseId[] }
  /** Has it arrived? */
  | { readonly kind: "leaseAsked"; readonly job: JobId; readonly lease: LeaseId }
  | { readonly kind: "mayStart"; readonly ask: number }
  /** `round`: the one that is over; undefined: the job is gone for good. */
  | { readonly kind: "cancelled"; readonly job: JobId; readonly round?: number | undefined }
  | { readonly kind: "jobEnded"; readonly job: JobId; readonly round?: number | undefined }
  | { readonly kind: "drainAsked"; readonly deadlineMs: number }
  | { readonly kind: "undrainAsked" }
  | { readonly kind: "tick" }
);

export interface LeaseReportFacts {
  readonly job: JobId;
  readonly grant: LeaseGrant;
  readonly unfinished: readonly Range[];
  readonly unacknowledged: readonly Range[];
  readonly gaveBack: readonly Range[];
  readonly acknowledgedSeq: number;
}

export type Effect =
  | { readonly kind: "answerLease"; readonly ask: number; readonly reply: LeaseReply }
  /** Fetches bundle and inputs, then says inputReady. */
  | { readonly kind: "fetchInput"; readonly job: JobId; readonly lease: LeaseId }
  | { readonly kind: "forgetLease"; readonly job: JobId; readonly lease: LeaseId }
  | {
      readonly kind: "startWorker";
      readonly worker: number;
      readonly slot: number;
      readonly runtime: string;
      readonly job: JobId | undefined;
    }
  | { readonly kind: "sendTask"; readonly worker: number; readonly job: JobId }
  | {
      readonly kind: "sendSlice";
      readonly worker: number;
      readonly slice: number;
      readonly job: JobId;
      readonly lease: LeaseId;
      readonly start: number;
      readonly end: number;
      readonly attempts: readonly LevelRun[];
      readonly partials: boolean;
    }
  | { readonly kind: "setLimit"; readonly worker: number; readonly slice: number; readonly limit: number }
  /** Looks at the page and the files of a worker: at once, or 2 ms after a limit was lowered. */
  | { readonly kind: "readCursor"; readonly worker: number; readonly cut: boolean }
  | { readonly kind: "killGroup"; readonly worker: number; readonly reason: KillReason }
  /** The worker is dead: its files get the outcome that it could not write. */
  | {
      readonly kind: "appendTimeout";
      readonly worker: number;
      readonly slice: number;
      readonly job: JobId;
      readonly lease: LeaseId;
      readonly item: number;
      readonly timeoutMs: number;
    }
  | {
      readonly kind: "publishCommit";
      readonly commit: number;
      readonly segment: SegmentId;
      readonly record: CommitRecord;
      readonly runs: readonly OutcomeRun[];
    }
  | {
      readonly kind: "publishStrike";
      readonly strike: number;
      readonly segment: SegmentId;
      readonly record: StrikeRecord;
    }
  | { readonly kind: "freeOutcomes"; readonly runs: readonly OutcomeRun[] }
  | {
      readonly kind: "hello";
      readonly leases: readonly LeaseReportFacts[];
      readonly accepted: number;
      readonly epoch: number;
      readonly acknowledged: ReadonlyMap<JobId, number>;
    }
  | {
      readonly kind: "gaveBack";
      readonly job: JobId;
      readonly grant: LeaseGrant | undefined;
      readonly ranges: readonly Range[];
    }
  | {
      readonly kind: "taskFailed";
      readonly job: JobId;
      readonly round: number;
      readonly failure: TaskFailure;
    }
  | { readonly kind: "starving"; readonly slots: number }
  | {
      readonly kind: "sliceStarting";
      readonly job: JobId;
      readonly grant: LeaseGrant;
      readonly range: Range;
      readonly ask: number;
    }
  /** `accepted`: the counter at that lease; undefined: it has not arrived, and is refused from now on. */
  | {
      readonly kind: "leaseFound";
      readonly job: JobId;
      readonly lease: LeaseId;
      readonly accepted: number | undefined;
    }
  | { readonly kind: "closeLink"; readonly reason: string }
  | { readonly kind: "dropJob"; readonly job: JobId }
  | { readonly kind: "drained"; readonly acknowledged: ReadonlyMap<JobId, number> };
