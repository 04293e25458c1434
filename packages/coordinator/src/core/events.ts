/**
 * What happens to the leader, and what it wants done: two unions. Time arrives in `at` (ms since epoch);
 * nothing here reads a clock. Every event may come twice, late or never; each handler says how it stays right.
 */
import type {
  BlockRef,
  CloseRecord,
  DifferingItem,
  FenceRecord,
  JobCheckpoint,
  JobId,
  JobRecord,
  JobSpec,
  LeaseGrant,
  LeaseId,
  LeaseMode,
  LeaseReply,
  LevelRun,
  LogRecord,
  NodeId,
  NodeRecord,
  Range,
  RepairCode,
  ReopenRecord,
  SealRecord,
  SegmentId,
  StrikeRecord,
} from "@everycore/protocol/pure";
import type { NodeReport, OutcomePlace, StorageLevel } from "./model.ts";

export type Event = { readonly at: number } & (
  | { readonly kind: "elected"; readonly epoch: number; readonly knownNodes: readonly NodeRecord[] }
  | { readonly kind: "leadershipLost" }
  /** A record found at takeover; `lastSeq` is the last sequence of the job's log at that moment (0: none). */
  | {
      readonly kind: "jobRecovered";
      readonly record: JobRecord;
      readonly lastSeq: number;
      /** Of this very log; only what is behind it is read. */
      readonly checkpoint?: JobCheckpoint | undefined;
    }
  /** All jobs were recovered. */
  | { readonly kind: "recovered" }
  /** Somebody asks for what only the log of an ended job says. */
  | { readonly kind: "logWanted"; readonly job: JobId }
  /** Its log is read from its first record on, by a tail of its own; all of it comes behind this event. */
  | { readonly kind: "logOpened"; readonly job: JobId; readonly lastSeq: number }
  | {
      readonly kind: "jobSubmitted";
      readonly id: JobId;
      readonly user: string;
      readonly spec: JobSpec;
      readonly segment: SegmentId;
      readonly ask: number;
    }
  /** The client's submit stream broke before its close. */
  | { readonly kind: "submitBroke"; readonly job: JobId; readonly detached: boolean }
  /** It is back. */
  | { readonly kind: "submitResumed"; readonly job: JobId }
  | { readonly kind: "jobStored"; readonly job: JobId }
  | { readonly kind: "jobStoreFailed"; readonly job: JobId; readonly message: string }
  /** The next record of a job's log, in order. */
  | {
      readonly kind: "logRecord";
      readonly job: JobId;
      readonly segment: SegmentId;
      readonly seq: number;
      /** When NATS stored it. */
      readonly storedAt: number;
      readonly record: LogRecord;
    }
  | { readonly kind: "cancelAsked"; readonly job: JobId; readonly message: string; readonly ask: number }
  | { readonly kind: "pauseAsked"; readonly job: JobId; readonly ask: number }
  | { readonly kind: "resumeAsked"; readonly job: JobId; readonly ask: number }
  | {
      readonly kind: "retryAsked";
      readonly job: JobId;
      readonly ask: number;
      readonly code?: RepairCode | undefined;
    }
  | { readonly kind: "deleteAsked"; readonly job: JobId; readonly ask: number }
  | { readonly kind: "nodeReported"; readonly report: NodeReport }
  | {
      readonly kind: "nodeHeartbeat";
      readonly node: NodeId;
      readonly busy: number;
      readonly diskFull: boolean;
      /** With `diskFull`, for people. */
      readonly diskReason?: string;
    }
  | { readonly kind: "linkBroke"; readonly node: NodeId; readonly incarnation: string }
  | {
      readonly kind: "gaveBack";
      readonly node: NodeId;
      readonly job: JobId;
      readonly grant: LeaseGrant | undefined;
      readonly ranges: readonly Range[];
    }
  | {
      readonly kind: "taskFailed";
      readonly node: NodeId;
      readonly job: JobId;
      readonly round: number;
      readonly message: string;
      readonly died: boolean;
    }
  /** Its partials cannot be combined: they are too many. */
  | { readonly kind: "reductionRefused"; readonly job: JobId; readonly message: string }
  | { readonly kind: "starving"; readonly node: NodeId; readonly slots: number }
  | {
      readonly kind: "sliceStarting";
      readonly node: NodeId;
      readonly job: JobId;
      readonly lease: LeaseId;
      readonly range: Range;
      readonly ask: number;
    }
  | { readonly kind: "drainAsked"; readonly node: NodeId; readonly ask: number }
  | { readonly kind: "undrainAsked"; readonly node: NodeId; readonly ask: number }
  /** It has ended in order; `acknowledged` as in its report. */
  | { readonly kind: "drained"; readonly node: NodeId; readonly acknowledged: ReadonlyMap<JobId, number> }
  /** The answer to a sent lease; undefined when none came in time. */
  | {
      readonly kind: "leaseAnswered";
      readonly job: JobId;
      readonly lease: LeaseId;
      readonly reply: LeaseReply | undefined;
      /** The node that said so over its link. */
      readonly from?: NodeId;
    }
  /** Of a `compare`; undefined: one of them could not be read. */
  | {
      readonly kind: "compared";
      readonly job: JobId;
      readonly index: number;
      readonly isEqual: boolean | undefined;
    }
  | { readonly kind: "storageLevel"; readonly level: StorageLevel }
  | { readonly kind: "tick" }
);

export type EventKind = Event["kind"];

/** Refusals and answers to commands, by the number of the ask. */
export type Answer =
  | { readonly ok: true; readonly job?: JobId; readonly node?: NodeId }
  | {
      readonly ok: false;
      readonly code: "not-found" | "conflict" | "storage-full" | "no-leader" | "over-limit" | "bad-task";
      readonly message: string;
      readonly hint: string;
    };

export type LeaderRecord = StrikeRecord | SealRecord | ReopenRecord | FenceRecord | CloseRecord;

export type Effect =
  /** Compare-and-set the record; answer with jobStored or jobStoreFailed. One at a time per job. */
  | { readonly kind: "putJob"; readonly record: JobRecord }
  /** Delete record and, with its last job, the segment. */
  | { readonly kind: "deleteJob"; readonly job: JobId; readonly segment: SegmentId }
  /** Append to the job's log; it comes back as logRecord. Retried by the shell until it is there. */
  | {
      readonly kind: "appendRecord";
      readonly job: JobId;
      readonly segment: SegmentId;
      readonly record: LeaderRecord;
    }
  /** Read the log of a job that ended under a former leader; answer with logOpened. Asked again, it changes nothing. */
  | { readonly kind: "readLog"; readonly job: JobId; readonly segment: SegmentId }
  /** For the next leader; one that is not written is no loss. */
  | { readonly kind: "saveCheckpoint"; readonly checkpoint: JobCheckpoint }
  /** The job's end is stored. */
  | { readonly kind: "dropCheckpoint"; readonly job: JobId }
  /** Answer with leaseAnswered. */
  | {
      readonly kind: "sendLease";
      readonly node: NodeId;
      readonly job: JobId;
      readonly grant: LeaseGrant;
      readonly mode: LeaseMode;
      readonly attempts: readonly LevelRun[];
      /** For an item that died of its memory limit: what its worker may use now. */
      readonly memoryBytes: number | undefined;
      /** Blocks that contain the range; undefined for ranges. */
      readonly blocks: readonly BlockRef[] | undefined;
      readonly partials: boolean;
      readonly itemMs: number;
      readonly tag: number;
    }
  | {
      readonly kind: "sendGiveBack";
      readonly node: NodeId;
      readonly job: JobId;
      readonly wantMs: number;
      /** All that does not run yet, however much that is. */
      readonly isAll: boolean;
    }
  | {
      readonly kind: "confirmGaveBack";
      readonly node: NodeId;
      readonly job: JobId;
      readonly lease: LeaseId;
      readonly ranges: readonly Range[];
    }
  /** `round`: the one that is over; a lease of a later one may overtake the message. Absent: the job is gone for good. */
  | { readonly kind: "sendCancel"; readonly node: NodeId; readonly job: JobId; readonly round?: number }
  | { readonly kind: "sendJobEnded"; readonly node: NodeId; readonly job: JobId; readonly round?: number }
  | { readonly kind: "dropLeases"; readonly node: NodeId; readonly leases: readonly LeaseId[] }
  /** Over the link: has it arrived? Answered with leaseAnswered. */
  | { readonly kind: "askLease"; readonly node: NodeId; readonly job: JobId; readonly lease: LeaseId }
  | { readonly kind: "mayStart"; readonly node: NodeId; readonly ask: number }
  | { readonly kind: "sendDrain"; readonly node: NodeId; readonly reason: string }
  | { readonly kind: "sendUndrain"; readonly node: NodeId }
  /** Its agent connects again and reports. */
  | { readonly kind: "closeLink"; readonly node: NodeId; readonly reason: string }
  /** Remember or forget a node in EC_NODES: whom the next leader waits for, and how it stands. */
  | { readonly kind: "putNode"; readonly record: NodeRecord }
  | { readonly kind: "deleteNode"; readonly node: NodeId }
  /** Read both outcomes and answer with compared: equal are status, codec and bytes. */
  | {
      readonly kind: "compare";
      readonly job: JobId;
      readonly segment: SegmentId;
      readonly index: number;
      readonly first: OutcomePlace;
      readonly second: OutcomePlace;
    }
  /** An item differs between two nodes. */
  | { readonly kind: "itemDiffers"; readonly job: JobId; readonly item: DifferingItem }
  | { readonly kind: "answer"; readonly ask: number; readonly answer: Answer }
  /** Something a watcher would like to see. */
  | { readonly kind: "jobChanged"; readonly job: JobId }
  | { readonly kind: "nodeChanged"; readonly node: NodeId }
  /** In quarantine, or out of it, and why. */
  | {
      readonly kind: "standingChanged";
      readonly node: NodeId;
      readonly isQuarantined: boolean;
      readonly reason: string;
    }
  | { readonly kind: "stepDown"; readonly reason: string; readonly job: JobId };

export type EffectKind = Effect["kind"];
