/**
 * EC_JOBS: compare-and-set of job records, one put at a time per job (the core sees to that).
 *
 *  J1  a record of a higher epoch is never overwritten;
 *  J2  a put whose answer was lost is recognised by its bytes, and counts as stored;
 *  J3  what a former leader wrote after this one had listed the records, such as a put that was on its way for
 *      longer than its epoch lasted, may have been answered to a client. It is neither overwritten nor left unknown:
 *      whoever leads is told, and takes over anew, with it (P1). No clock is needed for this to hold (decision
 *      0040);
 *  J4  a record is created on what this leader knows to stand there: nothing, or the mark of a deletion. A mark that
 *      it does not know is another leader's, which has known a former life of the job whose log this one has not
 *      seen (decision 0041).
 */
import { setTimeout as delay } from "node:timers/promises";
import type { JobId, JobRecord } from "@everycore/protocol";
import { buckets, decodeJobRecord, encodeJobRecord, isJobId } from "@everycore/protocol";
import type { JetStreamManager } from "@nats-io/jetstream";
import type { KV, KvEntry, KvWatchEntry } from "@nats-io/kv";
import { KvWatchInclude } from "@nats-io/kv";
import type { QueuedIterator } from "@nats-io/nats-core";
import type { Logger } from "pino";
import { isNoMessage } from "./buckets.ts";
import { requestMs } from "./connection.ts";
import { completeHistory } from "./replicas.ts";

const retryMs = 200;
const marksAtOnce = 1_000;
const jobsStream = `KV_${buckets.jobs}`;

/** Where the mark of a deletion stands, and since when by NATS's clock. */
interface Mark {
  readonly revision: number;
  readonly at: number;
}

const markOf = ({ revision, created }: KvEntry): Mark => ({ revision, at: created.getTime() });

/** All records as they stood, and what is written from then on. */
export interface Listing extends Disposable {
  readonly records: readonly JobRecord[];
  /** Resolves with a reason once another leader's write is seen (J3); with "" when it was disposed before. */
  readonly outdated: (epoch: number) => Promise<string>;
}

export class JobRecords {
  readonly #jobs: KV;
  readonly #jsm: JetStreamManager;
  readonly #log: Logger;
  readonly #revisions = new Map<JobId, number>();
  /** Marks of deleted jobs, until `forgetMarks`. */
  readonly #deleted = new Map<JobId, Mark>();
  /** Deletions of our own that are on their way. */
  readonly #deleting = new Set<JobId>();
  /** The last write of a job that is under way: a deletion may follow a put at once. */
  readonly #writing = new Map<JobId, Promise<unknown>>();

  constructor(jobs: KV, jsm: JetStreamManager, log: Logger) {
    this.#jobs = jobs;
    this.#jsm = jsm;
    this.#log = log;
  }

  /** Watches before it lists: whatever is not in the list is in the watch. */
  async list(): Promise<Listing> {
    const watch = await this.#jobs.watch({ key: ">", include: KvWatchInclude.UpdatesOnly });
    try {
      const { records, upTo } = await this.#all();
      return {
        records,
        outdated: (epoch) => this.#outdated(watch, epoch, upTo),
        [Symbol.dispose]: () => watch.stop(),
      };
    } catch (error) {
      watch.stop();
      throw error;
    }
  }

  async #outdated(watch: QueuedIterator<KvWatchEntry>, epoch: number, listedUpTo: number): Promise<string> {
    for await (const entry of watch) {
      const foreign = entry.revision > listedUpTo ? this.#foreign(entry, epoch) : "";
      if (foreign !== "") return foreign;
    }
    return "";
  }

  /** Why an entry is not ours, or "". */
  #foreign(entry: KvWatchEntry, epoch: number): string {
    const { key, revision } = entry;
    if (!isJobId(key)) return "";
    if (entry.operation !== "PUT") {
      const record = this.#revisions.get(key);
      // The record that stands above it was put on it: it comes late from the watch.
      const isOurs = this.#deleting.has(key) || record === undefined || revision < record;
      return isOurs ? "" : `another leader deleted job ${key}`;
    }
    try {
      const theirs = decodeJobRecord(entry.value);
      if (theirs.epoch !== epoch) return `a leader of epoch ${theirs.epoch} wrote job ${key}`;
    } catch (error) {
      this.#log.error({ err: error, job: key }, "a job's record is malformed");
    }
    return "";
  }

  /** All records; malformed ones are logged and left alone. Revisions are sequences of the bucket's stream. */
  async #all(): Promise<{ records: JobRecord[]; upTo: number }> {
    this.#revisions.clear();
    this.#deleted.clear();
    const records: JobRecord[] = [];
    let upTo = 0;
    for (const entry of await completeHistory(this.#jobs)) {
      upTo = Math.max(upTo, entry.revision);
      if (!isJobId(entry.key)) continue;
      if (entry.operation !== "PUT") {
        this.#deleted.set(entry.key, markOf(entry));
        continue;
      }
      try {
        records.push(decodeJobRecord(entry.value));
        this.#revisions.set(entry.key, entry.revision);
      } catch (error) {
        this.#log.error(
          { err: error, job: entry.key },
          "a job's record is malformed: the job is not taken up",
        );
      }
    }
    return { records, upTo };
  }

  /** undefined: stored. Else why it never will be. */
  put(record: JobRecord, signal: AbortSignal): Promise<string | undefined> {
    return this.#inOrder(record.id, () => this.#put(record, signal));
  }

  /** False: another leader has written it meanwhile, or the term is over; then the record and its log stay. */
  delete(job: JobId, signal: AbortSignal): Promise<boolean> {
    return this.#inOrder(job, () => this.#delete(job, signal));
  }

  /** Resolves when no write of the job is under way: a submit may follow a delete at once. */
  async settled(job: JobId): Promise<void> {
    await this.#writing.get(job)?.catch(() => {}); // whoever wrote hears of it
  }

  /** A former life of the job was stored: its records may still stand in a shared segment. */
  wasDeleted(job: JobId): boolean {
    return this.#deleted.has(job);
  }

  /**
   * Marks set before that time go: no segment is left in which the former lives could have records (decision 0098).
   * Some at a time: whoever submits must not wait for all of them. The newest message of the bucket stays, whatever it
   * is: by it a new leader knows that it has listed all (replicas.ts).
   */
  async forgetMarks(before: number, signal: AbortSignal): Promise<number> {
    let newest = 0;
    for (const revision of this.#revisions.values()) newest = Math.max(newest, revision);
    for (const { revision } of this.#deleted.values()) newest = Math.max(newest, revision);
    const isOld = ({ revision, at }: Mark): boolean => at < before && revision !== newest;
    const old = [...this.#deleted].filter(([, mark]) => isOld(mark)).slice(0, marksAtOnce);
    let forgotten = 0;
    for (const [job, mark] of old) {
      if (signal.aborted) break;
      forgotten += await this.#inOrder(job, () => this.#forget(job, mark));
    }
    return forgotten;
  }

  async #forget(job: JobId, mark: Mark): Promise<number> {
    if (this.#deleted.get(job) !== mark) return 0; // the id is in use again
    try {
      await this.#jsm.streams.deleteMessage(jobsStream, mark.revision, false);
    } catch (error) {
      // Gone already, by a former leader, or by an attempt whose answer was lost.
      if (!isNoMessage(error)) throw error;
    }
    this.#deleted.delete(job);
    return 1;
  }

  async #inOrder<T>(job: JobId, write: () => Promise<T>): Promise<T> {
    const before = this.#writing.get(job);
    const writing = before === undefined ? write() : before.then(write);
    this.#writing.set(job, writing);
    try {
      return await writing;
    } finally {
      if (this.#writing.get(job) === writing) this.#writing.delete(job);
    }
  }

  async #put(record: JobRecord, signal: AbortSignal): Promise<string | undefined> {
    const bytes = encodeJobRecord(record);
    const { id } = record;
    while (!signal.aborted) {
      const previousSeq = this.#revisions.get(id) ?? this.#deleted.get(id)?.revision ?? 0; // J4
      try {
        // `create` of the library would put it on any mark.
        const stored = await this.#jobs.put(id, bytes, { previousSeq, timeout: requestMs });
        this.#revisions.set(id, stored);
        this.#deleted.delete(id);
        return undefined;
      } catch {
        const refusal = await this.#reconcile(record, bytes);
        if (refusal !== undefined) return refusal === "stored" ? undefined : refusal;
        await delay(retryMs, undefined, { signal }).catch(() => {}); // aborted: the loop's condition ends it
      }
    }
    return "the term is over";
  }

  /** What stands there instead; undefined: try again. */
  async #reconcile(record: JobRecord, bytes: Uint8Array): Promise<string | undefined> {
    const entry = await this.#jobs.get(record.id).catch(() => undefined);
    if (entry === undefined) return undefined;
    if (entry === null) return undefined;
    if (entry.operation !== "PUT") {
      return entry.revision === this.#deleted.get(record.id)?.revision
        ? undefined
        : "another leader has deleted it"; // J4
    }
    if (Buffer.compare(entry.value, bytes) === 0) {
      this.#revisions.set(record.id, entry.revision);
      return "stored"; // J2
    }
    const theirs = decodeJobRecord(entry.value);
    if (theirs.epoch !== record.epoch) return `a leader of epoch ${theirs.epoch} has written it`; // J1, J3
    this.#revisions.set(record.id, entry.revision);
    return undefined;
  }

  async #delete(job: JobId, signal: AbortSignal): Promise<boolean> {
    this.#deleting.add(job);
    try {
      while (!signal.aborted) {
        const revision = this.#revisions.get(job);
        if (revision === undefined) return true; // never stored by us, or deleted already
        await this.#jobs.purge(job, { previousSeq: revision }).catch(() => {}); // what stands there tells
        const entry = await this.#jobs.get(job).catch(() => undefined);
        if (entry === null || (entry !== undefined && entry.operation !== "PUT")) {
          this.#revisions.delete(job);
          if (entry !== null) this.#deleted.set(job, markOf(entry));
          return true;
        }
        if (entry !== undefined && entry.revision !== revision) return false;
        await delay(retryMs, undefined, { signal }).catch(() => {}); // aborted: the loop's condition ends it
      }
      return false;
    } finally {
      this.#deleting.delete(job);
    }
  }
}
