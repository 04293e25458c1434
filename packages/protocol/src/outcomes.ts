/**
 * How an item ends, and how the kinds of values are named. Numbers are wire format: never renumber.
 * Pure: no I/O. Bytes are cut and packed in packing.ts, errors are described in errors.ts.
 */

/** Status of an outcome; 0-2 are committed by agents, 3-6 are sealed by the leader (P2: one per item). */
export const outcomeStatus = {
  /** The task returned a value. */
  value: 0,
  /** The task raised; no retry was left. */
  error: 1,
  /** The item ran longer than `--item-timeout` and its worker was killed. */
  timeout: 2,
  /** The worker died while the item ran, twice. */
  crash: 3,
  /** The item lost its agent or node three times. */
  lost: 4,
  /** The job was cancelled, or failed as a whole, before the item ended. */
  cancelled: 5,
  /** The job's time was over before the item ended. */
  expired: 6,
} as const;

export type OutcomeStatus = keyof typeof outcomeStatus;

const statusNames = Object.keys(outcomeStatus) as OutcomeStatus[];

export const statusName = (code: number): OutcomeStatus | undefined => statusNames[code];

/** Statuses that agents may commit. `again` is an error or timeout with retries left: it covers nothing. */
export const committedStatus = { value: 0, error: 1, timeout: 2, again: 9 } as const;
export type CommittedStatus = keyof typeof committedStatus;

export type SealedStatus = "crash" | "lost" | "cancelled" | "expired";

/** What the bytes of an item or of a value are. A reader that cannot decode hands out bytes and the name. */
export const codecs = {
  /** No bytes; the item is the integer `rangeStart + index`. */
  range: 0,
  /** UTF-8 text, one line. */
  utf8: 1,
  /** JSON text, parsed in the worker. */
  json: 2,
  msgpack: 3,
  /** Python pickle, protocol 5. Never unpickled outside a worker or a Python client. */
  py: 4,
  raw: 5,
  /** Bytes stand in `chunk` records: msgpack {codec, bytes, seqs} (see packing.ts). */
  chunked: 6,
  /** An error: msgpack ErrorInfo. */
  error: 7,
} as const;

export type Codec = keyof typeof codecs;

const codecNames = Object.keys(codecs) as Codec[];

export const codecName = (code: number): Codec | undefined => codecNames[code];

/** Counts of a job's items by how they ended. */
export interface OutcomeCounts {
  value: number;
  error: number;
  timeout: number;
  crash: number;
  lost: number;
  cancelled: number;
  expired: number;
}

export const emptyCounts = (): OutcomeCounts => ({
  value: 0,
  error: 0,
  timeout: 0,
  crash: 0,
  lost: 0,
  cancelled: 0,
  expired: 0,
});
