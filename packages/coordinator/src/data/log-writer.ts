/**
 * What coordinators append to a job's log: the leader's own records, and input blocks with their close.
 *
 *  W1  a record is tried until it is stored or the term ends; stored twice is harmless, the fold counts it once;
 *  W2  records of one job keep their order;
 *  W3  input is appended with the expected last subject sequence, so that two streams of one job, or an old and
 *      a new coordinator, cannot mix their blocks.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Codec, JobId, LogRecord, SegmentId } from "@everycore/protocol";
import {
  decodeRecord,
  encodeRecord,
  EverycoreError,
  limits,
  recordHeader,
  streamOfSegment,
  subjects,
} from "@everycore/protocol";
import type { MsgHdrs } from "@nats-io/nats-core";
import { headers } from "@nats-io/nats-core";
import { isFull, isMissing, isWrongSequence } from "./buckets.ts";
import type { Data } from "./connection.ts";
import { requestMs } from "./connection.ts";
import { leaderWriter } from "./records.ts";

const retryMs = 200;

export interface LogWriterOptions {
  readonly data: Data;
  /** An append was refused for lack of room. */
  readonly onFull: () => void;
  /** The leader's own record was: cancel and delete must work at the limit, so room is made for it. */
  readonly makeRoom: (segment: SegmentId) => Promise<void>;
}

function headerOf(record: LogRecord): MsgHdrs {
  const made = headers();
  made.set(recordHeader, encodeRecord(record));
  return made;
}

export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #chains = new Map<JobId, Promise<void>>();

  constructor(options: LogWriterOptions) {
    this.#options = options;
  }

  /** Appends one of the leader's records (W1, W2). */
  append(segment: SegmentId, record: LogRecord, signal: AbortSignal): void {
    const { job } = record;
    const subject =
      record.kind === "close" ? subjects.input(segment, job) : subjects.log(segment, leaderWriter, job);
    const before = this.#chains.get(job) ?? Promise.resolve();
    const after = before.then(() => this.#store({ segment, subject, record }, signal));
    this.#chains.set(job, after);
    void after.finally(() => {
      if (this.#chains.get(job) === after) this.#chains.delete(job);
    });
  }

  async #store(
    what: { segment: SegmentId; subject: string; record: LogRecord },
    signal: AbortSignal,
  ): Promise<void> {
    const { segment, subject, record } = what;
    const made = headerOf(record);
    while (!signal.aborted) {
      try {
        await this.#options.data.js.publish(subject, new Uint8Array(0), {
          headers: made,
          timeout: requestMs,
        });
        return;
      } catch (error) {
        // A failure to make room shows in the next try.
        if (isFull(error)) await this.#options.makeRoom(segment).catch(() => {});
        await delay(retryMs, undefined, { signal }).catch(() => {}); // aborted: the loop's condition ends it
      }
    }
  }

  /** The input of a job that has none yet. */
  newInput(job: JobId, segment: SegmentId, codec: Codec): InputWriter {
    return new InputWriter(this.#options, { job, segment, codec });
  }

  /** The input of a job, as far as it is durable. */
  async openInput(job: JobId, segment: SegmentId, codec: Codec): Promise<InputWriter> {
    const input = this.newInput(job, segment, codec);
    await input.load();
    return input;
  }
}

interface InputOf {
  readonly job: JobId;
  readonly segment: SegmentId;
  readonly codec: Codec;
}

export class InputWriter {
  readonly #options: LogWriterOptions;
  readonly #of: InputOf;
  #lastSeq = 0;
  /** Items of whole blocks in the log. */
  appended = 0;
  /** Set once the input is closed. */
  total: number | undefined;

  constructor(options: LogWriterOptions, of: InputOf) {
    this.#options = options;
    this.#of = of;
  }

  /** Reads where the input stands from its last record; from the stream's leader (replicas.ts, Q2). */
  async load(): Promise<void> {
    const { job, segment } = this.#of;
    let message;
    try {
      message = await this.#options.data.jsm.streams.getMessage(streamOfSegment(segment), {
        last_by_subj: subjects.input(segment, job),
      });
    } catch (error) {
      if (isMissing(error)) throw new EverycoreError("not-found", `the log of job ${job} is gone`);
      throw error;
    }
    if (message === null) return;
    this.#lastSeq = message.seq;
    const record = decodeRecord(message.header.get(recordHeader));
    if (record.kind === "close") this.appended = this.total = record.total;
    else if (record.kind === "input") {
      const isWhole = record.piece === record.pieces - 1;
      this.appended = isWhole ? record.first + record.count : record.first;
    }
  }

  /** Stores a packed block; gives the sequences of its pieces. Tried until stored, or the signal. */
  async block(block: { first: number; count: number; data: Buffer }, signal: AbortSignal): Promise<number[]> {
    const { job, codec } = this.#of;
    const { first, count, data } = block;
    const pieces = Math.max(1, Math.ceil(data.length / limits.messageBytesMax));
    const seqs: number[] = [];
    for (let piece = 0; piece < pieces; piece += 1) {
      const from = piece * limits.messageBytesMax;
      const bytes = data.subarray(from, from + limits.messageBytesMax);
      const record = { kind: "input", job, first, count, codec, piece, pieces, bytes: data.length } as const;
      seqs.push(await this.#store(record, bytes, signal));
    }
    this.appended = first + count;
    return seqs;
  }

  async close(total: number, signal: AbortSignal): Promise<number> {
    const seq = await this.#store({ kind: "close", job: this.#of.job, total }, new Uint8Array(0), signal);
    this.total = total;
    return seq;
  }

  /** W3 */
  async #store(record: LogRecord, bytes: Uint8Array, signal: AbortSignal): Promise<number> {
    const { job, segment } = this.#of;
    const made = headerOf(record);
    for (;;) {
      signal.throwIfAborted();
      try {
        const ack = await this.#options.data.js.publish(subjects.input(segment, job), bytes, {
          headers: made,
          timeout: requestMs,
          expect: { lastSubjectSequence: this.#lastSeq },
        });
        this.#lastSeq = ack.seq;
        return ack.seq;
      } catch (error) {
        if (isFull(error)) this.#options.onFull();
        if (isWrongSequence(error)) {
          const stored = await this.#wasStored(made.get(recordHeader));
          if (stored !== undefined) return stored;
        }
      }
      await delay(retryMs, undefined, { signal });
    }
  }

  /** Sequence, if the last record is this very one: its answer was lost. Else another stream writes this job. */
  async #wasStored(header: string): Promise<number | undefined> {
    const { job, segment } = this.#of;
    const message = await this.#options.data.jsm.streams.getMessage(streamOfSegment(segment), {
      last_by_subj: subjects.input(segment, job),
    });
    if (message === null) return undefined;
    if (message.header.get(recordHeader) !== header || message.seq <= this.#lastSeq) {
      throw new EverycoreError("conflict", `another stream appends to job ${job}, or its input was closed`, {
        hint: "submit again with the same request id to go on behind what is stored",
      });
    }
    this.#lastSeq = message.seq;
    return message.seq;
  }
}
