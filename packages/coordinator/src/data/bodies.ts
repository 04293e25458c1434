/**
 * Bodies of log messages by sequence: input blocks, outcomes, chunks. One cache for all who read, bounded in
 * bytes (P7); two readers who ask at once share one request; what it has of a job goes with the job. A body that is
 * asked for by a foreign hint (an agent's fetch, a chunk's sequence in an outcome) must stand on the subject that it
 * claims.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { JobId, SegmentId } from "@everycore/protocol";
import { EverycoreError, limits, parseLogSubject, streamOfSegment } from "@everycore/protocol";
import { isMissing } from "./buckets.ts";
import type { Data } from "./connection.ts";

const triesMax = 20;
const retryMs = 250;

export interface Body {
  readonly subject: string;
  readonly data: Buffer;
}

export class Bodies {
  readonly #data: Data;
  readonly #bytesMax: number;
  /** In order of use, oldest first. */
  readonly #kept = new Map<string, Body>();
  /** Which of them are of one job. */
  readonly #ofJob = new Map<JobId, Set<string>>();
  readonly #asked = new Map<string, Promise<Body>>();
  #bytes = 0;

  constructor(data: Data, bytesMax: number = limits.readerCacheBytes) {
    this.#data = data;
    this.#bytesMax = bytesMax;
  }

  /** Throws not-found when the log has no such message any more. */
  get(segment: SegmentId, seq: number): Promise<Body> {
    const key = `${segment}.${seq}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return Promise.resolve(kept);
    }
    const asked = this.#asked.get(key);
    if (asked !== undefined) return asked;
    const asking = this.#fetch(segment, seq).finally(() => this.#asked.delete(key));
    this.#asked.set(key, asking);
    return asking;
  }

  /** What is cached now, without asking. */
  peek(segment: SegmentId, seq: number): Body | undefined {
    return this.#kept.get(`${segment}.${seq}`);
  }

  keep(segment: SegmentId, seq: number, body: Body): void {
    const key = `${segment}.${seq}`;
    if (this.#kept.has(key) || body.data.length > this.#bytesMax) return;
    const own = { subject: body.subject, data: ownMemory(body.data) };
    this.#kept.set(key, own);
    this.#bytes += heldBy(own);
    const job = jobOf(own);
    if (job !== undefined) this.#ofJob.set(job, (this.#ofJob.get(job) ?? new Set()).add(key));
    for (const [oldest, old] of this.#kept) {
      if (this.#bytes <= this.#bytesMax) return;
      this.#drop(oldest, old);
    }
  }

  /** The job was deleted: nobody asks for its bodies again. */
  forget(job: JobId): void {
    for (const key of this.#ofJob.get(job) ?? []) this.#drop(key, this.#kept.get(key)!);
  }

  /** Bytes that are kept, with what it costs to keep them. */
  get bytes(): number {
    return this.#bytes;
  }

  #drop(key: string, body: Body): void {
    this.#kept.delete(key);
    this.#bytes -= heldBy(body);
    const job = jobOf(body);
    const keys = job === undefined ? undefined : this.#ofJob.get(job);
    keys?.delete(key);
    if (job !== undefined && keys?.size === 0) this.#ofJob.delete(job);
  }

  async #fetch(segment: SegmentId, seq: number): Promise<Body> {
    for (let tries = 1; ; tries += 1) {
      try {
        const stream = streamOfSegment(segment);
        // Q2: a server that lags says no; the stream's leader knows.
        const message =
          (await this.#data.jsm.direct.getMessage(stream, { seq })) ??
          (await this.#data.jsm.streams.getMessage(stream, { seq }));
        if (message === null)
          throw new EverycoreError("not-found", `message ${seq} of segment ${segment} is gone`);
        const body = { subject: message.subject, data: ownMemory(message.data) };
        this.keep(segment, seq, body);
        return body;
      } catch (error) {
        if (error instanceof EverycoreError) throw error;
        if (isMissing(error)) throw new EverycoreError("not-found", `the log segment ${segment} is gone`);
        if (tries >= triesMax) {
          throw new EverycoreError("unreachable", "NATS does not answer", { cause: error });
        }
        await delay(retryMs);
      }
    }
  }
}

const jobOf = ({ subject }: Body): JobId | undefined => parseLogSubject(subject)?.job;

/** Memory that a body keeps alive. */
const heldBy = ({ data }: Body): number => data.buffer.byteLength + limits.bodyOverheadBytes;

/**
 * What is kept must not keep much more alive: data lies in a buffer of a connection's, or in one of those of 64 KB
 * that Node cuts small buffers from, and one body of a hundred bytes would hold all of it.
 */
function ownMemory(data: Uint8Array): Buffer {
  const { buffer, byteOffset, length } = data;
  if (buffer.byteLength <= 2 * length) return Buffer.from(buffer, byteOffset, length);
  const own = Buffer.allocUnsafeSlow(length);
  own.set(data);
  return own;
}
