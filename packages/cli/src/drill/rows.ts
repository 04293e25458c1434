/** What a drill can do to a cluster, as data: what is promised, within what time, and what is too late. Pure. */

/** A time that DESIGN 11 promises, and the one beyond which it is not a busy machine any more. */
export interface Limit {
  readonly ms: number;
  readonly mostMs: number;
}

/** Times that a row measures, each from the disturbance on. */
export const moments = ["noticed", "resumed", "ended"] as const;
export type Moment = (typeof moments)[number];

export const rowIds = [
  "worker",
  "crash",
  "agent",
  "stop",
  "leader",
  "nats",
  "cut",
  "cancel",
  "quota",
  "disk",
] as const;
export type RowId = (typeof rowIds)[number];

export interface Row {
  readonly id: RowId;
  /** What is done, in few words. */
  readonly what: string;
  /** Number of the promise that it tries. */
  readonly promise: string;
  /** What is promised, as the operations guide has it. */
  readonly promised: string;
  readonly limits: Readonly<Partial<Record<Moment, Limit>>>;
}

/** How long an agent is stopped, and NATS cut: longer than what makes a node suspected, shorter than what loses it. */
export const stopMs = 10_000;
export const cutMs = 5_000;

/** A job of a few seconds of work that has not ended by then hangs. */
const hangs: Limit = { ms: 20_000, mostMs: 60_000 };

const table: Readonly<Record<RowId, Omit<Row, "id">>> = {
  worker: {
    what: "a worker is killed in the middle of an item",
    promise: "P4",
    promised: "its item is tried again; the slot has a new worker in 0.2 s",
    limits: { noticed: { ms: 1_000, mostMs: 10_000 }, resumed: { ms: 500, mostMs: 10_000 }, ended: hangs },
  },
  crash: {
    what: "an item whose worker dies of SIGSEGV, twice",
    promise: "P4",
    promised: "the item is named with its signal, 2 s after the second crash",
    limits: { noticed: { ms: 2_000, mostMs: 10_000 }, ended: hangs },
  },
  agent: {
    what: "an agent is killed (kill -9) and started again",
    promise: "P1",
    promised: "suspected at once; what it ran is tried again, what it had ended is kept",
    limits: { noticed: { ms: 5_000, mostMs: 15_000 }, resumed: { ms: 10_000, mostMs: 40_000 }, ended: hangs },
  },
  stop: {
    what: `an agent is stopped for ${stopMs / 1_000} s (SIGSTOP)`,
    promise: "P5",
    promised: "suspected after 5 s; nothing is run again for it within 20 s",
    limits: { noticed: { ms: 7_000, mostMs: stopMs }, resumed: { ms: 3_000, mostMs: 20_000 }, ended: hangs },
  },
  leader: {
    what: "the leader is killed (kill -9) and started again",
    promise: "P3",
    promised: "led again in about 3 s; nothing that runs is run again",
    limits: { resumed: { ms: 6_000, mostMs: 30_000 }, ended: hangs },
  },
  nats: {
    what: "nats-server is killed (kill -9) and started again",
    promise: "P3",
    promised: "agents compute on; nothing is lost, nothing run again",
    limits: { resumed: { ms: 10_000, mostMs: 40_000 }, ended: hangs },
  },
  cut: {
    what: `NATS answers nobody for ${cutMs / 1_000} s (SIGSTOP)`,
    promise: "P3",
    promised: "agents compute on; nothing is lost, nothing run again",
    limits: { resumed: { ms: 10_000, mostMs: 40_000 }, ended: hangs },
  },
  cancel: {
    what: "a job with a million queued items is cancelled",
    promise: "P5",
    promised: "the cores are free within 1 s",
    limits: { resumed: { ms: 1_000, mostMs: 10_000 }, ended: { ms: 2_000, mostMs: 20_000 } },
  },
  quota: {
    what: "tasks print more than a node keeps for a job",
    promise: "P7",
    promised: "what is beyond the limit is dropped and counted, never kept",
    limits: { ended: hangs },
  },
  disk: {
    what: "a task fills the disk as far as its agent may use it",
    promise: "P7",
    promised: "the node takes no work until there is room; nothing is lost",
    limits: { noticed: { ms: 5_000, mostMs: 20_000 }, resumed: { ms: 10_000, mostMs: 40_000 }, ended: hangs },
  },
};

export const rows: readonly Row[] = rowIds.map((id) => ({ id, ...table[id] }));
