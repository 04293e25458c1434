/**
 * One term as leader: takes over from records (DESIGN 9), follows the logs of active jobs, ticks, and hands all back
 * when it ends. Between terms this coordinator decides nothing.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { JobCheckpoint, JobId, JobRecord, LogRecord, SegmentId } from "@everycore/protocol";
import { isEnded, limits } from "@everycore/protocol";
import type { Logger } from "pino";
import type { Checkpoints } from "./data/checkpoints.ts";
import type { Data } from "./data/connection.ts";
import type { JobRecords, Listing } from "./data/job-records.ts";
import type { KnownNodes } from "./data/known-nodes.ts";
import { LogPositions } from "./data/log-positions.ts";
import { LogTails } from "./data/log-tails.ts";
import type { Segments } from "./data/segments.ts";
import type { Loop } from "./loop.ts";
import type { Metrics } from "./metrics.ts";

/** Requests for last sequences under way at once. */
const recoverAtOnce = 50;
/** Events that wait while logs are being read: beyond it the tails wait (P7). */
const backlogMax = 5_000;
const readAgainMs = 200;

export interface TermOptions {
  readonly data: Data;
  readonly loop: Loop;
  readonly jobRecords: JobRecords;
  readonly knownNodes: KnownNodes;
  readonly segments: Segments;
  readonly checkpoints: Checkpoints;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Gets each record of a log, before the core does. */
  readonly onRecord: (job: JobId, segment: SegmentId, seq: number, record: LogRecord) => void;
  readonly stepDown: (reason: string) => void;
}

interface FoundJob {
  readonly record: JobRecord;
  readonly lastSeq: number;
  readonly checkpoint: JobCheckpoint | undefined;
  /** Its log is read behind it. */
  readonly after: number;
}

export class Term {
  readonly epoch: number;
  readonly signal: AbortSignal;
  readonly #options: TermOptions;
  readonly #tails: LogTails;
  readonly #positions: LogPositions;
  /** All jobs are known to the core: commands may be taken. */
  isOpen = false;

  constructor(options: TermOptions, epoch: number, signal: AbortSignal) {
    this.#options = options;
    this.epoch = epoch;
    this.signal = signal;
    this.#positions = new LogPositions(options.data);
    this.#tails = this.#newTails();
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
      await this.#tails.close();
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
    this.#tails.restart();
  }

  /** Jobs that had ended before this term and were read for somebody. */
  get readLogs(): number {
    return this.#tails.ownCount;
  }

  /** A segment that a job is about to use: whatever matters in it is still to come. */
  openSegment(id: SegmentId): void {
    if (this.signal.aborted) return;
    this.#tails.openSegment(id, this.#options.segments.foundSeq(id));
  }

  /** Reads the log of a job that ended before this term. */
  readLog(job: JobId, segment: SegmentId): void {
    if (!this.signal.aborted && this.#tails.claimJob(job)) void this.#readLog(job, segment);
  }

  async #readLog(job: JobId, segment: SegmentId): Promise<void> {
    const { loop, log } = this.#options;
    while (!this.signal.aborted) {
      try {
        const lastSeq = await this.#lastSeq(job, segment);
        if (this.signal.aborted) return;
        // First the event: it stands before all that the tail reads, and behind what the segment's has read.
        loop.enqueue({ kind: "logOpened", job, lastSeq });
        if (lastSeq > 0) this.#tails.openJob(job, segment);
        return;
      } catch (error) {
        log.debug({ err: error, job }, "last sequence unknown");
        await delay(readAgainMs, undefined, { signal: this.signal }).catch(() => {}); // the condition ends it
      }
    }
  }

  async jobDeleted(job: JobId, segment: SegmentId): Promise<void> {
    await this.#tails.closeJob(job);
    if (!this.#options.segments.has(segment)) await this.#tails.closeSegment(segment);
  }

  #newTails(): LogTails {
    const { data, loop, segments, metrics, log, onRecord } = this.#options;
    return new LogTails({
      data,
      onRecord: ({ job, segment, seq, storedAt, record }) => {
        metrics.count("records");
        if (record.kind === "commit") metrics.count("commits");
        if (record.kind === "commit" || record.kind === "input") segments.wrote(segment, record.bytes);
        if (!this.signal.aborted) {
          onRecord(job, segment, seq, record);
          loop.enqueue({ kind: "logRecord", job, segment, seq, storedAt, record });
        }
        return loop.backlog > backlogMax ? loop.drained : undefined;
      },
      onMalformed: (segment, subject, seq) => {
        metrics.malformed("log");
        log.warn({ subject, seq, segment }, "a message in a log is no record of ours and is ignored");
      },
    });
  }

  async #takeOver(records: readonly JobRecord[]): Promise<void> {
    const { loop, knownNodes, segments, log } = this.#options;
    await segments.load();
    const nodes = await knownNodes.all(this.epoch);
    loop.enqueue({ kind: "elected", epoch: this.epoch, knownNodes: nodes });
    // The logs of the others are not read: nothing is asked of them, and nothing waits for them.
    for (const record of records) {
      if (!isEnded(record.state)) continue;
      await segments.adopt(record.id, record.segment, { isNeeded: false });
      loop.enqueue({ kind: "jobRecovered", record, lastSeq: 0 });
    }
    const active = records.filter(({ state }) => !isEnded(state));
    await this.#options.checkpoints.find(active, this.signal);
    let used = 0;
    const neededAfter = new Map<SegmentId, number>();
    for (let at = 0; at < active.length; at += recoverAtOnce) {
      const some = active.slice(at, at + recoverAtOnce);
      const found = await Promise.all(some.map((record) => this.#find(record)));
      for (const { record, lastSeq, after, checkpoint } of found) {
        await segments.adopt(record.id, record.segment, { isNeeded: true });
        neededAfter.set(record.segment, Math.min(after, neededAfter.get(record.segment) ?? after));
        loop.enqueue({ kind: "jobRecovered", record, lastSeq, checkpoint });
        if (checkpoint !== undefined) used += 1;
      }
    }
    for (const [segment, after] of neededAfter) this.#tails.openSegment(segment, after);
    loop.enqueue({ kind: "recovered" });
    await loop.drained;
    log.info(
      {
        epoch: this.epoch,
        jobs: records.length,
        nodes: nodes.length,
        segments: segments.ids.length,
        checkpoints: used,
      },
      "took over",
    );
  }

  /** An active job, and behind which sequence its segment must be read for it. */
  async #find(record: JobRecord): Promise<FoundJob> {
    const { id, segment } = record;
    const { segments, checkpoints } = this.#options;
    const [lastSeq, checkpoint] = await Promise.all([this.#lastSeq(id, segment), checkpoints.get(record)]);
    if (checkpoint !== undefined) return { record, lastSeq, checkpoint, after: checkpoint.fold.sums.seq };
    const firstSeq = await this.#firstSeq(id, segment);
    return { record, lastSeq, checkpoint, after: firstSeq > 0 ? firstSeq - 1 : segments.foundSeq(segment) };
  }

  async #lastSeq(job: JobId, segment: SegmentId): Promise<number> {
    return this.#options.segments.has(segment) ? this.#positions.last(segment, job) : 0;
  }

  async #firstSeq(job: JobId, segment: SegmentId): Promise<number> {
    return this.#options.segments.has(segment) ? this.#positions.first(segment, job) : 0;
  }
}
