/**
 * What the leader knows, as plain data. `step` (step.ts) is the only writer. Memory is O(leases + gaps), never
 * O(items): a range of ten million items that nobody has touched is one interval.
 *
 * Invariants, checked by invariants.ts after every step in tests and simulator:
 *  C1  every item below the job's known end is in exactly one place: covered, in one queue, or open in a lease;
 *  C2  a lease holds items of one round;
 *  C3  nothing beyond `reserved` is leased;
 *  C4  a lease belongs to a known node, and the node lists it;
 *  C5  an ended job has no leases and an empty queue;
 *  C6  `held` of a job is the sum of its leases' open items;
 *  C7  no job waits for a quarantine alone: where only quarantined nodes can run it, one of them is let out;
 *  C8  a double is of one item, which is open in a lease of another node, or has its value from one.
 * Exception to C1 by design: doubles and late commits may cover items that are open in a lease; they leave the lease in
 * the same step.
 */
import type {
  Acknowledged,
  AuditResult,
  BlockRef,
  CountedCrash,
  DifferingItem,
  JobFold,
  JobId,
  JobIntent,
  JobSpec,
  JobState,
  LeaseGrant,
  LeaseId,
  LeaseMode,
  NodeId,
  OutcomeCounts,
  Repair,
  RepairCode,
  Quarantine,
  SegmentId,
} from "@everycore/protocol/pure";
import type { IntervalSet, Range } from "@everycore/protocol/pure";
import type { Sample, SampleSeed } from "./sample.ts";
import type { CheckpointPace } from "./checkpoint.ts";
import type { NodeState, LeaseState, JobPhase, StandingState } from "./transitions.ts";

/** A node's right to run a range, as the leader follows it. */
export interface Lease {
  readonly grant: LeaseGrant;
  readonly job: JobId;
  readonly mode: LeaseMode;
  state: LeaseState;
  /** Items of the grant that are still this lease's: not covered, given back, retried or struck. */
  readonly open: IntervalSet;
  /** Modes announced and alone: items whose slice was allowed to start. */
  readonly started: IntervalSet;
  /** Times the message was sent. */
  sends: number;
  /** The agent's counter when it accepted this lease. */
  accepted: number | undefined;
  readonly tag: number;
  /** When this leader made it, or took it over. */
  readonly since: number;
  /** When an item of it last left it; else `since`. */
  movedAt: number;
  /** When its last item was given a second lease; undefined: never. */
  doubledAt: number | undefined;
  /** A second lease of an item that has its place elsewhere (speculation.ts): it counts in no sum. */
  isDouble: boolean;
}

/** Items that wait for a lease, by how they must be run (DESIGN 5, "Strikes"). */
export interface Queues {
  /** Never in trouble, or tried again after an error. */
  readonly normal: IntervalSet;
  /** One `lost` strike, or the suspicion of one: slice starts are announced. */
  readonly announced: IntervalSet;
  /** Two `lost` strikes: single items, alone on a node. */
  readonly alone: IntervalSet;
  /** After a takeover, below `reserved`: until every known node has reported, somebody may be running it. */
  readonly awaiting: IntervalSet;
  /** One `crash` strike: alone in its slice, on another node; index -> when it was struck. */
  readonly crashed: Map<number, number>;
  /** An error with tries left: not before its time (backoff.ts). All of them, and by when they are due. */
  readonly delayed: IntervalSet;
  readonly due: Map<number, IntervalSet>;
}

/** A crash of an item that has no outcome yet: what it says of the node is not known before it has. */
export interface Suspicion {
  readonly node: NodeId;
  readonly at: number;
}

/** How a node stands, whether it is here or not. */
export interface Standing {
  state: StandingState;
  /** While `quarantined`. */
  quarantine: Quarantine | undefined;
  /** The newest crashes that count, oldest first (P7: of each job, and of jobs, only so many). */
  readonly crashes: CountedCrash[];
  countsFrom: number;
  times: number;
  /** EC_NODES has something to say of it. */
  isStored: boolean;
  savedAt: number;
}

/** A death, for people who ask why items run again; decisions read the fold. */
export interface StrikeNote extends Range {
  readonly cause: "crash" | "lost";
  readonly node: NodeId;
}

/** Open items of a job's leases, summed: placement asks for every node and job, and must not walk leases for it. */
export interface HeldItems {
  total: number;
  readonly byNode: Map<NodeId, number>;
}

/** Where an outcome stands in the log, and whose it is. */
export interface OutcomePlace {
  readonly node: NodeId;
  readonly seq: number;
  /** In the body of that commit. */
  readonly entry: number;
}

/** An item of the sample, whose value is computed again on another node (spot-checks.ts). */
export interface SpotCheck {
  readonly index: number;
  /** The value that counts. */
  readonly first: OutcomePlace;
  /** The second try's, from when it is there. */
  second: OutcomePlace | undefined;
  state: "waiting" | "leased" | "comparing" | "over";
  /** While `leased`. */
  lease: Pick<LeaseGrant, "id" | "node"> | undefined;
  /** Leases that came to no end. */
  tries: number;
  /** Leases under which it ended without a value. */
  readonly failedUnder: LeaseId[];
  /** Who tried last, and when it may again. */
  triedBy: NodeId | undefined;
  againAt: number;
  /** Once it is over. */
  result: "equal" | "unchecked" | Omit<DifferingItem, "index" | "first"> | undefined;
}

/** Of a job with `audit`. */
export interface SpotChecks {
  sample: Sample;
  /** The sample was thinned so often when `items` was last compared with it. */
  thinnings: number;
  /** What former rounds have found, and once the job has ended all of it. */
  found: AuditResult;
  /** Of this round, by index: the sample's items with a value. */
  readonly items: Map<number, SpotCheck>;
  /** Those without a result. */
  open: number;
  /** Those that wait for a lease, by the node that gave the value. */
  readonly waiting: Map<NodeId, SpotCheck[]>;
  readonly leased: Set<SpotCheck>;
  /** How many of them each node has. */
  readonly leasedOn: Map<NodeId, number>;
  /** Those that wait for their comparison, and how many are under way. */
  readonly toCompare: SpotCheck[];
  comparing: number;
  /** Since when no node could take one of them. */
  strandedSince: number | undefined;
  /** Something changed that may allow a lease or a comparison. */
  isDirty: boolean;
}

/** `code`: to be run instead of what failed. */
export interface RetryAsk {
  readonly ask: number;
  readonly code: RepairCode | undefined;
}

export interface Job {
  readonly id: JobId;
  readonly user: string;
  readonly spec: JobSpec;
  readonly segment: SegmentId;
  state: JobState;
  phase: JobPhase;
  /** Nothing at or beyond it was ever leased; what the record in EC_JOBS says. */
  reserved: number;
  /** Value of `reserved` in a putJob that was not answered yet. */
  reserving: number | undefined;
  round: number;
  /** Code of retries, by round; the specification keeps what was submitted. */
  repairs: readonly Repair[];
  intent: JobIntent | undefined;
  readonly createdAt: number;
  startedAt: number | undefined;
  endedAt: number | undefined;
  reason: string;
  /** Of a job with a time limit: how long it has run in this round, when that was last looked at, what is stored. */
  readonly clock: { ranMs: number; at: number | undefined; storedMs: number };
  /** At the end, from the record: the log may be gone. */
  finalCounts: OutcomeCounts | undefined;
  finalMissing: number;
  finalTotal: number | undefined;
  readonly fold: JobFold;
  readonly queues: Queues;
  /** Items that were put in a queue or leased at least once: [0, known). */
  known: number;
  readonly leases: Map<LeaseId, Lease>;
  /** Second leases, of one item each: mostly none. */
  readonly doubles: Map<LeaseId, Lease>;
  /** Of them, so far: given, and those whose outcome was the first. */
  readonly doubled: { given: number; won: number };
  readonly held: HeldItems;
  /** Input blocks in item order; empty for ranges. */
  readonly blocks: BlockRef[];
  /** Pieces of a block whose last piece has not come yet. */
  pieces: number[];
  /** Learned cost, ms of one slot per item; undefined while unknown. */
  itemMs: number | undefined;
  /** Items and ms that the cost was learned from. */
  learned: { items: number; ms: number };
  /** Fair-share virtual time: core-ms leased / weight. */
  tag: number;
  leasesSent: number;
  readonly leasesByNode: Map<NodeId, number>;
  /** Nodes that could not load the task, with their words. */
  readonly failedOn: Map<NodeId, string>;
  /** The last few deaths of this round, the newest last. */
  readonly strikes: StrikeNote[];
  /** Items without an outcome whose worker died: whom that is to be blamed on. */
  readonly suspicions: Map<number, Suspicion[]>;
  /** Of a job with `audit`. */
  readonly checks: SpotChecks | undefined;
  /** Seal records on their way for these items. */
  readonly sealing: IntervalSet;
  /** The reduction item (index = total) was queued in this round. */
  reducing: boolean;
  /** When the submitting stream broke while accepting, and whether its client had detached. */
  orphan: { at: number; detached: boolean } | undefined;
  /** Sequence that the log had when it was opened: `phase` folding ends there. */
  foldTo: number;
  /** Highest round that a reopen record in the log has opened. */
  openedRound: number;
  /** The last checkpoint of its fold: records folded since, when, and whether there is one that its end must remove. */
  readonly last: { records: number; at: number; isTaken: boolean };
  /** Reopen records on their way for these items: until they are read, the job's end is not known. */
  readonly reopening: IntervalSet;
  /** A put of the record is under way; the next waits, so that compare-and-set never races itself. */
  putting: boolean;
  putAgain: boolean;
  /** `reserved` as the put under way carries it: it holds once that is stored, and no other value does. */
  puttingReserved: number;
  /** The intent that the put under way carries: acted upon once it is stored. */
  puttingIntent: JobIntent | undefined;
  /** The put under way says that the job is paused. */
  puttingPaused: boolean;
  /** When its nodes were last asked for all they hold of it, while it is paused. */
  askedBackAt: number;
  /** Bytes of input that came while it was paused; to a new leader, all of its input did. */
  pausedInputBytes: number;
  intentActed: boolean;
  /** The record was stored at least once by this leader. */
  stored: boolean;
  /** Found in EC_JOBS at takeover: needs a fence before this leader's records count. */
  fenceDue: boolean;
  /** Commands to answer once the record with their intent is stored. */
  asks: number[];
  /** Retries asked before the log was read: what has failed is not known yet. */
  retryAsks: RetryAsk[];
}

/** What an agent asks before it starts a slice in trouble. */
export interface StartAsk {
  readonly node: NodeId;
  readonly job: JobId;
  readonly lease: LeaseId;
  readonly range: Range;
  readonly ask: number;
  /** It has waited since then; undefined: it was just asked. */
  readonly since?: number;
}

export interface Node {
  readonly id: NodeId;
  host: string;
  machine: string;
  slots: number;
  state: NodeState;
  reason: string;
  incarnation: string;
  lastSeenAt: number;
  /** When it was suspected; lost `lostMs` later. */
  suspectedAt: number;
  /** Learned speed: cost on this node / mean cost; 1 while unknown. */
  speed: number;
  readonly leases: Map<LeaseId, JobId>;
  /** What it can run: `js`, `exec`, `python`, and each interpreter as `python3.11`. */
  runtimes: readonly string[];
  /** `key=value`. */
  labels: readonly string[];
  busy: number;
  /** Slots without work and with an empty queue, as last told; reset when a lease is sent. */
  starving: number;
  draining: boolean;
  /** When its drain was taken back: a refusal may still speak of it. */
  undrainedAt: number;
  diskFull: boolean;
  /** It refused a lease: nothing is sent before this time. */
  refusedUntil: number;
  /** Give-backs asked: job -> not again before this time. */
  readonly asked: Map<JobId, number>;
  /** A slice that may not start yet: something else there is under suspicion. */
  startWaits: StartAsk | undefined;
  /** A report that must wait until the logs are folded as far as its agent saw. */
  deferred: NodeReport | undefined;
  /** It has ended in order, and what it committed is not all folded: by job, how far it is. */
  leaving: Acknowledged | undefined;
  /** Has reported to this leader. */
  reported: boolean;
  /** The entry in `standings`. */
  readonly standing: Standing;
}

/** What a hello says of one lease. */
export interface LeaseReport {
  readonly job: JobId;
  readonly grant: LeaseGrant;
  readonly unfinished: readonly Range[];
  readonly unacknowledged: readonly Range[];
  readonly gaveBack: readonly Range[];
  readonly acknowledgedSeq: number;
}

export interface NodeReport {
  readonly node: NodeId;
  readonly host: string;
  readonly machine: string;
  readonly slots: number;
  readonly runtimes: readonly string[];
  readonly labels: readonly string[];
  readonly incarnation: string;
  readonly epochSeen: number;
  readonly leases: readonly LeaseReport[];
  readonly accepted: number;
  readonly filesRecovered: boolean;
  /** Highest acknowledged sequence by job. */
  readonly acknowledged: ReadonlyMap<JobId, number>;
}

export type StorageLevel = "ok" | "pause" | "refuse";

/** Items since this leader leads; see totals.ts. */
export interface Totals {
  readonly outcomes: OutcomeCounts;
  readonly dropped: { stale: number; duplicate: number; invalid: number };
  readonly strikes: { crash: number; lost: number };
  retries: number;
  quarantines: number;
  readonly checks: { equal: number; differing: number; unchecked: number };
}

export interface ClusterState {
  epoch: number;
  leading: boolean;
  /** Time of the last event, ms since epoch. */
  now: number;
  /** Last lease counter of this epoch. */
  counter: number;
  readonly jobs: Map<JobId, Job>;
  /** Those of `jobs` that have not ended: what every step may walk. */
  readonly active: Set<Job>;
  readonly nodes: Map<NodeId, Node>;
  /** Of all nodes, and of those that are gone and not yet forgiven. */
  readonly standings: Map<NodeId, Standing>;
  /** Those of `standings` that are quarantined: mostly none. */
  readonly quarantined: Set<NodeId>;
  storage: StorageLevel;
  /** Jobs whose spot checks are not over. */
  readonly checking: Set<Job>;
  /** How often a checkpoint of a job is taken. */
  readonly checkpoints: CheckpointPace;
  /** Jobs whose log is being read: active ones of a takeover, and ended ones that somebody asked for. */
  readonly folding: Set<Job>;
  /** From the election until the logs of active jobs are read and every report is taken: progress() has work to do. */
  takingOver: boolean;
  /** All records of EC_JOBS are known; before that a report of an unknown job means nothing. */
  recovered: boolean;
  /** Known nodes of a former leader that have not reported yet, and until when they are waited for. */
  readonly awaited: Set<NodeId>;
  /** A known node did not report in time, or came back without its files: what nobody holds was lost. */
  someLost: boolean;
  awaitUntil: number;
  /** Something changed that may allow a lease anywhere: all nodes are looked at. */
  dirty: boolean;
  /** Nodes of which something has changed: looked at alone, for all jobs. */
  readonly touched: Set<NodeId>;
  /** Nodes that have less of these jobs than before: looked at for them alone (`touchFor`). */
  readonly committed: Map<NodeId, Set<JobId>>;
  /** As of the last look at all nodes: slots of those that may get work, whether one of them lacks it, and when. */
  readonly placed: { slots: number; isHungry: boolean; at: number };
  /** Tag of a job that has always had its share (shares.ts). */
  servedTag: number;
  /** Leases without an answer by NATS, whose nodes were asked over their links, and when. */
  readonly askedLeases: Map<LeaseId, { readonly job: JobId; readonly at: number }>;
  readonly totals: Totals;
}

/** Pure functions that need a key: given by the shell, the same for all leaders of a cluster. */
export interface Keys {
  /** Id of a lease (lease-id.ts). */
  leaseId(job: JobId, grant: Omit<LeaseGrant, "id">): LeaseId;
  verify(job: JobId, grant: LeaseGrant): boolean;
  /** What draws the items that are checked; no agent knows it. */
  sampleSeed(job: JobId): SampleSeed;
}
