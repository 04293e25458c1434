/**
 * EC_META, `checkpoint.<job>`: checkpoints of active jobs (decision 0110). A cache: what cannot be written, read or
 * understood is left alone, and the log is read instead.
 *
 *  Z1  together they leave most of EC_META free: a full bucket takes no epoch either;
 *  Z2  one is used only if the record that it ends with stands in the log as it was: NATS may have lost its last
 *      records in a power cut, and given their sequences to others since.
 */
import type { JobCheckpoint, JobId, JobRecord } from "@everycore/protocol";
import {
  buckets,
  decodeCheckpoint,
  encodeCheckpoint,
  isCheckpointOf,
  isJobId,
  limits,
} from "@everycore/protocol";
import type { JetStreamManager } from "@nats-io/jetstream";
import type { KV } from "@nats-io/kv";
import type { Logger } from "pino";
import { isNoMessage } from "./buckets.ts";
import type { Data } from "./connection.ts";
import { LogPositions } from "./log-positions.ts";

const prefix = "checkpoint.";
const metaStream = `KV_${buckets.meta}`;
/** NATS tells times in ns, we keep ms. */
const sameMs = 1;

interface Kept {
  readonly revision: number;
  readonly bytes: number;
}

interface Wanted {
  /** undefined: deleted. */
  readonly data: Uint8Array | undefined;
  readonly term: AbortSignal;
}

export class Checkpoints {
  readonly #meta: KV;
  readonly #jsm: JetStreamManager;
  readonly #positions: LogPositions;
  readonly #log: Logger;
  /** As they stand there. */
  readonly #kept = new Map<JobId, Kept>();
  /** What is to be written, the latest of each job. */
  readonly #wanted = new Map<JobId, Wanted>();
  #isWriting = false;

  constructor(meta: KV, data: Data, log: Logger) {
    this.#meta = meta;
    this.#jsm = data.jsm;
    this.#positions = new LogPositions(data);
    this.#log = log;
  }

  /** Finds what former leaders left. Those of jobs that are not active go. */
  async find(active: readonly JobRecord[], term: AbortSignal): Promise<void> {
    this.#kept.clear();
    const wanted = new Set(active.map(({ id }) => id));
    try {
      for await (const key of await this.#meta.keys(`${prefix}*`)) {
        const job = key.slice(prefix.length);
        const entry = isJobId(job) ? await this.#meta.get(key) : null;
        if (!isJobId(job) || entry === null) continue;
        this.#kept.set(job, { revision: entry.revision, bytes: entry.value.length });
        if (!wanted.has(job)) this.drop(job, term);
      }
    } catch (error) {
      this.#log.debug({ err: error }, "checkpoints could not be listed: logs are read from their start");
    }
  }

  /** The job's checkpoint, if one was found that fits record and log. */
  async get(record: JobRecord): Promise<JobCheckpoint | undefined> {
    if (!this.#kept.has(record.id)) return undefined;
    try {
      const entry = await this.#meta.get(`${prefix}${record.id}`);
      if (entry === null) return undefined;
      const checkpoint = decodeCheckpoint(entry.value);
      if (isCheckpointOf(checkpoint, record) && (await this.#isOfThisLog(checkpoint))) return checkpoint;
      this.#log.debug({ job: record.id }, "a checkpoint does not fit its log, which is read from its start");
    } catch (error) {
      this.#log.debug({ err: error, job: record.id }, "a checkpoint cannot be used");
    }
    return undefined;
  }

  /** Z2. */
  async #isOfThisLog({ job, segment, storedAt, fold }: JobCheckpoint): Promise<boolean> {
    const last = await this.#positions.at(segment, fold.sums.seq);
    return last !== undefined && last.job === job && Math.abs(last.storedAt - storedAt) < sameMs;
  }

  save(checkpoint: JobCheckpoint, term: AbortSignal): void {
    const { job } = checkpoint;
    const data = encodeCheckpoint(checkpoint);
    const others = [...this.#kept].reduce((sum, [of, { bytes }]) => sum + (of === job ? 0 : bytes), 0);
    if (data.length > limits.checkpointBytesMax || others + data.length > limits.checkpointsBytesMax) {
      this.#log.debug({ job, bytes: data.length }, "a checkpoint is too large and is not written");
      return;
    }
    this.#write(job, { data, term });
  }

  drop(job: JobId, term: AbortSignal): void {
    this.#write(job, { data: undefined, term });
  }

  #write(job: JobId, wanted: Wanted): void {
    this.#wanted.set(job, wanted);
    if (!this.#isWriting) void this.#writeAll();
  }

  /** One after the other, each tried once: the next one comes soon, and the next leader removes what is left. */
  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    for (let next = first(this.#wanted); next !== undefined; next = first(this.#wanted)) {
      const [job, { data, term }] = next;
      this.#wanted.delete(job);
      try {
        if (term.aborted) continue;
        if (data === undefined) await this.#delete(job);
        else
          this.#kept.set(job, {
            revision: await this.#meta.put(`${prefix}${job}`, data),
            bytes: data.length,
          });
      } catch (error) {
        this.#log.debug({ err: error, job }, "a checkpoint was not written");
      }
    }
    this.#isWriting = false;
  }

  /** The message itself: marks of deletions would stay for ever (decision 0098). */
  async #delete(job: JobId): Promise<void> {
    const kept = this.#kept.get(job);
    this.#kept.delete(job);
    if (kept === undefined) return;
    try {
      await this.#jsm.streams.deleteMessage(metaStream, kept.revision, false);
    } catch (error) {
      if (!isNoMessage(error)) throw error;
    }
  }
}

const first = ([entry]: Iterable<[JobId, Wanted]>): [JobId, Wanted] | undefined => entry;
