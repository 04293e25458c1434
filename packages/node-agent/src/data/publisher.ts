/**
 * Records to the log, at least once (P1): published as core requests to the log's subject and sent again until
 * JetStream has acknowledged them. Agents have no rights on its API. Nothing in here gives up; `close` ends it.
 */
import type { NatsConnection } from "@nats-io/nats-core";
import { headers } from "@nats-io/nats-core";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type {
  ChunkRecord,
  CommitRecord,
  JobId,
  LogRecord,
  SegmentId,
  StrikeRecord,
} from "@everycore/protocol";
import { encodeRecord, limits, outcomeHeadBytes, recordHeader, subjects } from "@everycore/protocol";
import type { OutcomeRun } from "../core/index.ts";
import { bodyOf, chunkedEntry, entriesOf, piecesOf } from "./commit-body.ts";

/** Bytes of publishes on their way at once. */
const inFlightMax = 16;
const answerWithinMs = 2_000;
const pauseMs = { first: 50, max: 2_000 };

export interface PublisherOptions {
  readonly node: string;
  readonly log: Logger;
  readonly connection: () => NatsConnection | undefined;
  readonly bytesOf: (run: OutcomeRun) => Buffer;
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #stop = new AbortController();
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  /** Records that were refused or unanswered and sent again. */
  resends = 0;
  published = 0;
  /** Gets how long the log took to acknowledge a record, its resends included. */
  onAcknowledged: (afterMs: number) => void = () => {};

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Sequence of the commit once the log has it; undefined when closed before, or when it cannot be built. */
  async commit(
    segment: SegmentId,
    record: CommitRecord,
    runs: readonly OutcomeRun[],
  ): Promise<number | undefined> {
    await this.#enter();
    try {
      const entries: Buffer[] = [];
      for (const run of runs) entries.push(...entriesOf(run, this.#options.bytesOf(run)));
      let index = record.parts[0]?.start ?? 0;
      for (let at = 0; at < entries.length; at += 1) {
        // An outcome beyond a message is alone in its commit (core/commits.ts) or between small ones.
        if (entries[at]!.length <= limits.messageBytesMax - 64 * 1024) continue;
        index = indexOfEntry(record, at);
        const chunked = await this.#chunks(segment, record, index, entries[at]!);
        if (chunked === undefined) return undefined;
        entries[at] = chunked;
      }
      return await this.#send(segment, record, bodyOf(entries));
    } catch (error) {
      return this.#notBuilt(record, error);
    } finally {
      this.#leave();
    }
  }

  /** Its outcomes stay in their files; the next agent on this directory publishes them. */
  #notBuilt({ job }: { readonly job: JobId }, error: unknown): undefined {
    this.#options.log.error({ job, reason: messageOf(error) }, "a record could not be built");
    return undefined;
  }

  async #chunks(
    segment: SegmentId,
    record: CommitRecord,
    index: number,
    entry: Buffer,
  ): Promise<Buffer | undefined> {
    const lease =
      record.leases.find((grant) => grant.start <= index && index < grant.end) ?? record.leases[0]!;
    const seqs: number[] = [];
    for (const piece of piecesOf(entry.subarray(outcomeHeadBytes))) {
      const chunk: ChunkRecord = {
        kind: "chunk",
        job: record.job,
        lease: lease.id,
        index,
        piece: seqs.length,
      };
      const seq = await this.#send(segment, chunk, piece);
      if (seq === undefined) return undefined;
      seqs.push(seq);
    }
    return chunkedEntry(entry, seqs);
  }

  async strike(segment: SegmentId, record: StrikeRecord): Promise<number | undefined> {
    await this.#enter();
    try {
      return await this.#send(segment, record, Buffer.alloc(0));
    } catch (error) {
      return this.#notBuilt(record, error);
    } finally {
      this.#leave();
    }
  }

  async #send(
    segment: SegmentId,
    record: LogRecord & { job: JobId },
    body: Buffer,
  ): Promise<number | undefined> {
    const { node, log } = this.#options;
    const subject = subjects.log(segment, node, record.job);
    const head = headers();
    head.set(recordHeader, encodeRecord(record));
    const startedAt = performance.now();
    for (let pause = pauseMs.first; !this.#stop.signal.aborted; pause = Math.min(pauseMs.max, pause * 2)) {
      try {
        const connection = this.#options.connection();
        if (connection === undefined) throw new Error("no connection to NATS");
        const answer = await connection.request(subject, body, { timeout: answerWithinMs, headers: head });
        const seq = sequenceOf(answer.data);
        this.published += 1;
        this.onAcknowledged(performance.now() - startedAt);
        return seq;
      } catch (error) {
        this.resends += 1;
        log.debug({ job: record.job, kind: record.kind, reason: messageOf(error) }, "publish again");
      }
      await delay(pause * (0.5 + Math.random()), undefined, { signal: this.#stop.signal }).catch(() => {});
    }
    return undefined;
  }

  async #enter(): Promise<void> {
    if (this.#running >= inFlightMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running += 1;
  }

  #leave(): void {
    this.#running -= 1;
    this.#waiting.shift()?.();
  }

  close(): void {
    this.#stop.abort();
    for (const waiting of this.#waiting.splice(0)) waiting();
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Item of the entry at position `at`: a span has one entry, a plain run one per item. */
function indexOfEntry(record: CommitRecord, at: number): number {
  let entry = 0;
  for (const part of record.parts) {
    const count = part.missing === undefined ? part.end - part.start : 1;
    if (at < entry + count) return part.start + (part.missing === undefined ? at - entry : 0);
    entry += count;
  }
  return record.parts[0]?.start ?? 0;
}

/** JetStream answers a publish with JSON: {stream, seq} or {error}. Anything else is not from it. */
function sequenceOf(data: Uint8Array): number {
  const answer = JSON.parse(Buffer.from(data).toString("utf8")) as {
    seq?: unknown;
    error?: { description?: string };
  };
  if (answer.error !== undefined) throw new Error(`log refused: ${answer.error.description ?? "no reason"}`);
  if (typeof answer.seq !== "number") throw new Error("not an acknowledgement");
  return answer.seq;
}
