/**
 * Every bound of the system, with its unit and its reason (P7: bounded). A limit that is not named here
 * does not exist; both sides of a wire assert the same constant.
 */

const KB = 1024;
const MB = 1024 * KB;

export const limits = {
  /** Bytes of one NATS message body. max_payload is 1 MB including headers; half leaves room for both. */
  messageBytesMax: 512 * KB,
  /** Bytes of the `Ec-C` header, before base64url: all that a fold needs of one record. */
  recordHeaderBytesMax: 16 * KB,
  /** Bytes of the items packed into one input block; a single larger item has a block of its own. */
  blockBytesMax: 256 * KB,
  /** Items in one input block: keeps offset tables and cut work small for tiny items. */
  blockItemsMax: 50_000,
  /** Bytes of one item: it travels in one gRPC message. Larger inputs belong in a file whose name is the item. */
  itemBytesMax: 3.5 * MB,
  /** Bytes of one outcome. Beyond it the item ends in error `output-too-large`. */
  outcomeBytesMax: 256 * MB,
  /** Bytes of stdout that an `exec` item may give back as its value. */
  execOutputBytesMax: 16 * MB,
  /** Labels of one node, and requirements of one job: each pair is compared at each placement. */
  labelsMax: 32,
  /** Bytes of input that travel inside a lease message; beyond it the agent fetches blocks. */
  leaseInlineBytesMax: 128 * KB,
  /** Bytes of input one lease may refer to, so that an agent's disk and memory stay bounded. */
  leaseInputBytesMax: 64 * MB,
  /** Items of one lease. */
  leaseItemsMax: 2_000_000,
  /** Work leased ahead to each slot, ms: a takeover or a NATS outage must not idle the cores. */
  leaseAheadMs: 10_000,
  /** Work of one slice, ms: [min, max]. Short enough to move, long enough to cost nothing. */
  sliceTargetMs: 30,
  /** A slice running longer than this many times its estimate is truncated unasked. */
  sliceOverrunFactor: 3,
  /** Bytes of waiting outcomes of one job at which an agent commits at once. */
  commitBytesMax: 256 * KB,
  /** Longest wait of an outcome on the agent before its commit, ms. */
  commitMs: 100,
  /** Parts (runs) in one commit record, so that its header keeps its bound. */
  commitPartsMax: 400,
  /** Leases one commit may draw on. */
  commitLeasesMax: 60,
  /** Bytes of a slot's outcome file at which it is rotated, at a slice end. */
  outcomeFileBytes: 1 * MB,
  /** Bytes of outcomes an agent keeps while NATS is away; beyond it no slice starts. */
  spoolBytesMax: 1024 * MB,
  /** Bytes of an agent's state directory in all: this, or this share of its disk if that is less; at least the floor. */
  stateBytesMax: 10 * 1024 * MB,
  stateDiskShare: 0.1,
  stateBytesFloor: 1024 * MB,
  /** Bytes of bundles that an agent keeps for jobs to come. */
  bundleCacheBytes: 2 * 1024 * MB,
  /** Bytes of the compiled code that workers of one user share, outside of the state directory. */
  compileCacheBytes: 64 * MB,
  /** Bytes of one frame between agent and worker. */
  workerFrameBytesMax: 1 * MB,
  /** Bytes of a task's prints kept on each node for one job; the rest is counted as dropped. */
  outputBytesPerJob: 16 * MB,
  /** Prints of ended jobs that a node keeps, bytes and jobs; beyond them the oldest are dropped. */
  outputBytesEnded: 256 * MB,
  outputJobsEnded: 1_000,
  /** Error fields, bytes. */
  errorMessageBytesMax: 8 * KB,
  errorTraceBytesMax: 32 * KB,
  stderrTailBytesMax: 4 * KB,
  nativeErrorBytesMax: 64 * KB,
  /** Partials of one reduction, and their bytes: they pass through one worker. Beyond them the job fails, and says so. */
  partialsMax: 1_000_000,
  partialsBytesMax: 1000 * MB,
  /** Strikes of any kind that end an item. */
  strikesMax: 4,
  /** `lost` strikes that end an item. */
  lostStrikesMax: 3,
  /** Verdicts, all of them crashes with no accepted value, after which a job stops as failed. */
  crashVerdictsToFailJob: 20,
  /** Items that crashed on a node and ended well on another, and their jobs, that quarantine the node. */
  quarantineItems: 3,
  quarantineJobs: 2,
  /** Such items that are remembered against one node: the newest of each job, of so many jobs. */
  standingCrashesPerJob: 3,
  standingCrashesMax: 24,
  /** Items of one job. */
  jobItemsMax: 2 ** 40,
  /** A job over these has a log segment of its own, where its client knows them beforehand: a range, a file. */
  ownSegmentItems: 10_000,
  ownSegmentBytes: 8 * MB,
  /** First size of a log segment, bytes; it grows while the sum allows. */
  segmentBytesInitial: 64 * MB,
  /** Log segments in all. */
  segmentsMax: 1_000,
  /** A shared segment is rotated at this age and size. */
  segmentAgeMs: 3_600_000,
  segmentBytesRotate: 1024 * MB,
  /** A segment without a job is deleted at this age. Too short, and a submit that is under way could lose it. */
  segmentUnusedMs: 60_000,
  /** The mark of a deleted job is kept so long, and while a shared segment is older than the mark and this (0098). */
  markKeptMs: 600_000,
  marksSweptMs: 60_000,
  /** Share of the server's storage that all streams may reserve. */
  storageReserveShare: 0.9,
  /** Share of reserved storage in use: at the first, submits and new leases pause; at the second appends are refused. */
  storagePauseShare: 0.8,
  storageRefuseShare: 0.95,
  /** Bytes of input that a paused job takes before its submit waits: it may stay paused for days. */
  pausedInputBytesMax: 64 * MB,
  /** Bytes that one pull from JetStream may carry. Never bounded by message count (slow-consumer loop). */
  pullBytes: 8 * MB,
  /** Bytes of bodies of the log that a coordinator keeps: for readers that wait for item order, and for leases. */
  readerCacheBytes: 32 * MB,
  /** What one such body costs beside its data: its place in the cache, its subject, memory of its own. */
  bodyOverheadBytes: 512,
  /** Files that a job may ship: each has to be copied for each item. Their bytes are those of a bundle. */
  shippedFilesMax: 10_000,
  /** Files, and their bytes, that one item may give back: they travel in its outcome. Patterns that name them. */
  returnedFilesMax: 1_000,
  returnedFilesBytesMax: 64 * MB,
  returnPatternsMax: 100,
  /** Bytes of one bundle. */
  bundleBytesMax: 256 * MB,
  /** Bytes of one gRPC message, received. */
  grpcMessageBytesMax: 4 * MB,
  /** Coordinators of one cluster that the others know; beyond it further ones are not named. */
  coordinatorsMax: 32,
  /** Addresses of coordinators that are not named any more, and are tried when nobody else can be reached. */
  formerCoordinatorsMax: 8,
  /** Items that a client's map takes from an input before their results were consumed, unless told otherwise. */
  mapAheadItems: 10_000,
  /** Jobs kept in memory by a leader, ended ones included. */
  jobsMax: 100_000,
  /** Keys of jobs that a coordinator keeps; more active jobs than that cost a hash with each lease and commit. */
  jobKeysMax: 1_000,
  /** Logs of ended jobs that a new leader reads because somebody looks at the job: each costs a consumer and a fold. */
  endedLogsShownMax: 256,
  /** Records of a job's log between two checkpoints of its fold: what a new leader reads of it, and a little more. */
  checkpointRecords: 20_000,
  /** Intervals that a fold may have to be worth one, bytes of one, and of all together: EC_META has 8 MB, and keeps more. */
  checkpointRunsMax: 100_000,
  checkpointBytesMax: 512 * KB,
  checkpointsBytesMax: 3 * MB,
  /** Active jobs at once. */
  activeJobsMax: 10_000,
  /** Retries of one job that bring code of their own: its record keeps them all. */
  repairsMax: 100,
  /** Retries a user may ask for. */
  retriesMax: 1_000,
  /** Ended spans that wait for their collector; beyond it they are dropped and counted. */
  traceQueueSpans: 2_048,
  /** Items of one job whose value is computed again (`--audit`): beyond it the share falls. */
  spotChecksMax: 10_000,
  /** Leases of a spot check that came to no end, after which its item stays unchecked. */
  spotCheckTriesMax: 3,
  /** Such leases that one node has of one job, for each of its slots: at least, and at most of items that take no time. */
  spotChecksPerSlot: 2,
  spotChecksPerSlotMax: 32,
  /** Pairs of values that are compared at once, of one job: each is two messages of its log. */
  comparisonsMax: 8,
  /** Items that an audit names, of those that differ. */
  differingNamedMax: 10,
  /** Spans of one agent, each second, and at once after a quiet time: kept apart for what failed and for the rest. */
  traceSpansPerSecond: 200,
  traceSpansBurst: 2_000,
  /** Spans of items in one slice, and how long an item must take to have one, ms; failed items have one anyway. */
  traceItemsPerSlice: 32,
  traceItemMs: 10,
  /** Bytes of argv, env and names in a job's specification. */
  specBytesMax: 256 * KB,
} as const;

/** Times that the design promises (DESIGN 11), ms. */
export const times = {
  /** Agent to leader. */
  heartbeatMs: 1_000,
  /** No sign of life for so long: suspected, gets nothing new. */
  suspectMs: 5_000,
  /** After suspicion for so long: lost, its leases are placed elsewhere. */
  lostMs: 15_000,
  /** A lost node is forgotten after this: a new leader does not wait for it. */
  forgetNodeMs: 600_000,
  /** EC_LEADER's ttl, and the renewal. A leader stops when its last renewal is older than ttl minus one second. */
  leaderTtlMs: 3_000,
  leaderRenewMs: 1_000,
  /** A coordinator tells the others of itself so often, and is forgotten after so long a silence. */
  coordinatorSaysMs: 1_000,
  coordinatorGoneMs: 3_500,
  /** A call that no coordinator can answer waits so long for a leader, or to the end of its own time. */
  leaderWaitMs: 10_000,
  /** A lease message is answered within this time, else sent again, three times in all. */
  leaseAckMs: 1_000,
  leaseSendsMax: 3,
  /** Without an answer to all of them the agent is asked over its link, and has so long to answer that. */
  leaseAskMs: 2_000,
  /** A crashed item waits this long for another machine before any node may try it. */
  crashElsewhereMs: 30_000,
  /** Crashes that were followed by a good end on another node count against theirs for so long. */
  crashCountsMs: 600_000,
  /** Of a job whose items crash all the time, the newest ones are written into EC_NODES no more often than that. */
  crashesSavedMs: 60_000,
  /** An item that is to be checked waits this long for another node; nothing else of its job is left then. */
  spotCheckElsewhereMs: 30_000,
  /** A node that came to no end with a spot check gets it again only after this: others may have it at once. */
  spotCheckAgainMs: 1_000,
  /** A spot check may run so long, or so many times what an item of its job takes; then its item stays unchecked. */
  spotCheckMs: 600_000,
  spotCheckFactor: 20,
  /** A job has at most one checkpoint in so long. */
  checkpointMs: 2_000,
  /** A node's first quarantine; each further one is twice as long, up to the most, until it was well for a day. */
  quarantineMs: 30 * 60_000,
  quarantineMsMax: 8 * 3_600_000,
  quarantineForgottenMs: 24 * 3_600_000,
  /** A new leader waits so long for the reports of known nodes. */
  takeoverReportMs: 15_000,
  /** Ended jobs are deleted after this. */
  jobTtlMs: 24 * 3_600_000,
  /** An item that fails is tried again at once, then after this, doubled with each try up to the most. */
  retryDelayMs: 250,
  retryDelayMsMax: 60_000,
  /** The time that a job with a time limit has run is stored at most this often. */
  ranStoredMs: 5_000,
  /** A stored job whose submitting stream is gone for so long is closed or cancelled. */
  acceptingOrphanMs: 30_000,
  /** A killed worker's group gets SIGKILL this long after SIGTERM. Cancel promises 1 s. */
  killGraceMs: 200,
} as const;
