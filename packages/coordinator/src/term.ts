/**
 * One term as leader: takes over from records (DESIGN 9), follows every segment's log, ticks, and hands all back
 * when it ends. Between terms this coordinator decides nothing.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { JobId, JobRecord, LogRecord, SegmentId } from "@everycore/protocol";
import { isEnded, limits, streamOfSegment, subjects } from "@everycore/protocol";
import type { Logger } from "pino";
import { isMissing } from "./data/buckets.ts";
import type { Data } from "./data/connection.ts";
import type { JobRecords, Listing } from "./data/job-records.ts";
import type { KnownNodes } from "./data/known-nodes.ts";
import type { Segments } from "./data/segments.ts";
import { Tail } from "./data/tail.ts";
import type { Loop } from "./loop.ts";
import type { Metrics } from "./metrics.ts";

/** Requests for last sequences under way at once. */
const recoverAtOnce = 50;
/** Events that wait while logs are being read: beyond it the tails wait (P7). */
const backlogMax = 5_000;

export interface TermOptions {
  readonly data: Data;
  readonly loop: Loop;
  readonly jobRecords: JobRecords;
  readonly knownNodes: KnownNodes;
  readonly segments: Segments;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Gets each record of a log, before the core does. */
  readonly onRecord: (job: JobId, segment: SegmentId, seq: number, record: LogRecord) => void;
  readonly stepDown: (reason: string) => void;
}

export class Term {
  readonly epoch: number;
  readonly signal: AbortSignal;
  readonly #options: TermOptions;
  readonly #tails = new Map<SegmentId, Tail>();
  /** All jobs are known to the core: commands may be taken. */
  isOpen = false;

  constructor(options: TermOptions, epoch: number, signal: AbortSignal) {
    this.#options = options;
    this.epoch = epoch;
    this.signal = signal;
  }

  /** Serves until the signal; calls `opened` once all jobs are known. */
  async run(opened: () => void): Promise<void> {
    const { loop, segments, jobRecords } = this.#options;
    try {
      // Before the segments: a record that is found has its segment among those that are found.
      using listing = await jobRecords.list();
      const over = (): void => listing[Symbol.dispose]();
      this.signal.addEventListener("abort", over, { once: true });
      if (this.signal.aborted) over();
      await this.#takeOver(listing.records);
      this.isOpen = true;
      opened();
      await Promise.all([
        segments.run(this.signal),
        loop.tick(this.signal),
        this.#watchRecords(listing),
        this.#sweepMarks(),
      ]);
    } finally {
      this.isOpen = false;
      await Promise.all([...this.#tails.values()].map((tail) => tail.close()));
      loop.enqueue({ kind: "leadershipLost" });
    }
  }

  /** Marks of deleted jobs go once they are needed no more: else they would grow with the jobs that ever were (P7). */
  async #sweepMarks(): Promise<void> {
    const { jobRecords, segments, log } = this.#options;
    while (!this.signal.aborted) {
      await delay(limits.marksSweptMs, undefined, { signal: this.signal }).catch(() => {}); // the condition ends it
      try {
        const forgotten = await jobRecords.forgetMarks(segments.marksNeededSince(Date.now()), this.signal);
        if (forgotten > 0) log.debug({ items: forgotten }, "marks of deleted jobs removed");
      } catch (error) {
        log.debug({ err: error }, "marks of deleted jobs could not be removed yet");
      }
    }
  }

  /** J3: what a former leader wrote late is taken up by taking over anew. */
  async #watchRecords(listing: Listing): Promise<void> {
    const reason = await listing.outdated(this.epoch);
    if (!this.signal.aborted) this.#options.stepDown(reason || "the watch of job records ended");
  }

  /** The connection is back. */
  restartTails(): void {
    for (const tail of this.#tails.values()) tail.restart();
  }

  openSegment(id: SegmentId): void {
    if (this.#tails.has(id) || this.signal.aborted) return;
    const { data, loop, segments, metrics, log, onRecord } = this.#options;
    const tail = new Tail({
      data,
      stream: streamOfSegment(id),
      subjects: [subjects.segmentLog(id), subjects.segmentInput(id)],
      onRecord: (seq, { job, record }, storedAt) => {
        metrics.count("records");
        if (record.kind === "commit") metrics.count("commits");
        if (record.kind === "commit" || record.kind === "input") segments.wrote(id, record.bytes);
        if (!this.signal.aborted) {
          onRecord(job, id, seq, record);
          loop.enqueue({ kind: "logRecord", job, segment: id, seq, storedAt, record });
        }
        return loop.backlog > backlogMax ? loop.drained : undefined;
      },
      onMalformed: (subject, seq) => {
        metrics.malformed("log");
        log.warn({ subject, seq, segment: id }, "a message in a log is no record of ours and is ignored");
      },
    });
    this.#tails.set(id, tail);
  }

  async closeSegment(id: SegmentId): Promise<void> {
    const tail = this.#tails.get(id);
    this.#tails.delete(id);
    await tail?.close();
  }

  async #takeOver(records: readonly JobRecord[]): Promise<void> {
    const { loop, knownNodes, segments, log } = this.#options;
    await segments.load();
    const nodes = await knownNodes.all(this.epoch);
    loop.enqueue({ kind: "elected", epoch: this.epoch, knownNodes: nodes });
    for (let at = 0; at < records.length; at += recoverAtOnce) {
      const some = records.slice(at, at + recoverAtOnce);
      const seqs = await Promise.all(some.map((record) => this.#lastSeq(record)));
      for (const [position, record] of some.entries()) {
        await segments.adopt(record.id, record.segment, { isNeeded: !isEnded(record.state) });
        loop.enqueue({ kind: "jobRecovered", record, lastSeq: seqs[position]! });
      }
    }
    for (const id of segments.ids) this.openSegment(id);
    loop.enqueue({ kind: "recovered" });
    await loop.drained;
    log.info(
      { epoch: this.epoch, jobs: records.length, nodes: nodes.length, segments: segments.ids.length },
      "took over",
    );
  }

  /** Last sequence of the job's own records. */
  async #lastSeq(record: JobRecord): Promise<number> {
    const { id, segment } = record;
    if (!this.#options.segments.has(segment)) return 0;
    const [log, input] = await Promise.all([
      this.#lastOn(segment, subjects.logOfJob(segment, id), id),
      this.#lastOn(segment, subjects.input(segment, id), id),
    ]);
    return Math.max(log, input);
  }

  async #lastOn(segment: SegmentId, subject: string, job: JobId): Promise<number> {
    try {
      const message = await this.#options.data.jsm.streams.getMessage(streamOfSegment(segment), {
        last_by_subj: subject,
      });
      return message?.seq ?? 0;
    } catch (error) {
      // No message on the subject is an error of this API, as is a stream that was deleted meanwhile.
      if (isMissing(error) || (error instanceof Error && "code" in error && error.code === 10_037)) return 0;
      this.#options.log.debug({ err: error, job }, "last sequence unknown");
      throw error;
    }
  }
}
