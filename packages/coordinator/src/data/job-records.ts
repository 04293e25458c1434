/**
 * EC_JOBS: compare-and-set of job records, one put at a time per job (the core sees to that).
 *
 *  J1  a record of a higher epoch is never overwritten;
 *  J2  a put whose answer was lost is recognised by its bytes, and counts as stored.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { JobId, JobRecord } from "@everycore/protocol";
import { decodeJobRecord, encodeJobRecord, isJobId } from "@everycore/protocol";
import type { KV } from "@nats-io/kv";
import type { Logger } from "pino";
import { requestMs } from "./connection.ts";

const retryMs = 200;

export class JobRecords {
  readonly #jobs: KV;
  readonly #log: Logger;
  readonly #revisions = new Map<JobId, number>();

  constructor(jobs: KV, log: Logger) {
    this.#jobs = jobs;
    this.#log = log;
  }

  /** All records; malformed ones are logged and left alone. */
  async all(): Promise<JobRecord[]> {
    this.#revisions.clear();
    const records: JobRecord[] = [];
    for await (const entry of await this.#jobs.history({ key: ">" })) {
      if (entry.operation !== "PUT" || !isJobId(entry.key)) continue;
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
    return records;
  }

  /** undefined: stored. Else why it never will be. */
  async put(record: JobRecord, signal: AbortSignal): Promise<string | undefined> {
    const bytes = encodeJobRecord(record);
    const { id } = record;
    while (!signal.aborted) {
      const revision = this.#revisions.get(id);
      try {
        const stored =
          revision === undefined
            ? await this.#jobs.create(id, bytes)
            : await this.#jobs.update(id, bytes, revision, requestMs);
        this.#revisions.set(id, stored);
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
    if (entry === null || entry.operation !== "PUT") {
      this.#revisions.delete(record.id);
      return undefined;
    }
    if (Buffer.compare(entry.value, bytes) === 0) {
      this.#revisions.set(record.id, entry.revision);
      return "stored"; // J2
    }
    const theirs = decodeJobRecord(entry.value);
    if (theirs.epoch > record.epoch) return `a leader of epoch ${theirs.epoch} has written it`; // J1
    this.#revisions.set(record.id, entry.revision);
    return undefined;
  }

  async delete(job: JobId, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#jobs.purge(job);
        this.#revisions.delete(job);
        return;
      } catch {
        await delay(retryMs, undefined, { signal }).catch(() => {}); // aborted: the loop's condition ends it
      }
    }
  }
}
