/**
 * The tails of one leader: one for each segment in which something may happen, from where its jobs need it; and one of
 * its own for each job that had ended before, once its log is asked for. A job's records come from one of the two, in
 * order: those of a job with a tail of its own are left out of its segment's.
 */
import type { JobId, LogRecord, SegmentId } from "@everycore/protocol";
import { streamOfSegment, subjects } from "@everycore/protocol";
import type { Data } from "./connection.ts";
import { Tail } from "./tail.ts";

export interface TailedRecord {
  readonly job: JobId;
  readonly segment: SegmentId;
  readonly seq: number;
  /** When NATS stored it. */
  readonly storedAt: number;
  readonly record: LogRecord;
}

export interface LogTailsOptions {
  readonly data: Data;
  /** Awaited when it gives a promise, which holds the tail back. */
  readonly onRecord: (read: TailedRecord) => Promise<void> | undefined;
  readonly onMalformed: (segment: SegmentId, subject: string, seq: number) => void;
}

export class LogTails {
  readonly #options: LogTailsOptions;
  readonly #segments = new Map<SegmentId, Tail>();
  readonly #jobs = new Map<JobId, Tail>();
  /** Jobs that are left out of their segment's tail. */
  readonly #ownJobs = new Set<JobId>();
  #isClosed = false;

  constructor(options: LogTailsOptions) {
    this.#options = options;
  }

  /** Jobs with a tail of their own. */
  get ownCount(): number {
    return this.#ownJobs.size;
  }

  openSegment(segment: SegmentId, after: number): void {
    if (this.#isClosed || this.#segments.has(segment)) return;
    const all = [subjects.segmentLog(segment), subjects.segmentInput(segment)];
    const isOther = (job: JobId): boolean => !this.#ownJobs.has(job);
    this.#segments.set(segment, this.#tail(segment, { subjects: all, after, isWanted: isOther }));
  }

  /** From now on the job's records come from `openJob`; false: they do already. */
  claimJob(job: JobId): boolean {
    if (this.#isClosed || this.#ownJobs.has(job)) return false;
    this.#ownJobs.add(job);
    return true;
  }

  /** Reads the log of a claimed job from its first record on. */
  openJob(job: JobId, segment: SegmentId): void {
    if (this.#isClosed || !this.#ownJobs.has(job) || this.#jobs.has(job)) return;
    const own = [subjects.logOfJob(segment, job), subjects.input(segment, job)];
    this.#jobs.set(job, this.#tail(segment, { subjects: own, after: 0, isWanted: () => true }));
  }

  #tail(
    segment: SegmentId,
    wanted: {
      readonly subjects: readonly string[];
      readonly after: number;
      readonly isWanted: (job: JobId) => boolean;
    },
  ): Tail {
    const { data, onRecord, onMalformed } = this.#options;
    return new Tail({
      data,
      stream: streamOfSegment(segment),
      subjects: wanted.subjects,
      after: wanted.after,
      onRecord: (seq, { job, record }, storedAt) =>
        wanted.isWanted(job) ? onRecord({ job, segment, seq, storedAt, record }) : undefined,
      onMalformed: (subject, seq) => onMalformed(segment, subject, seq),
    });
  }

  /** The connection is back. */
  restart(): void {
    for (const tail of this.#all()) tail.restart();
  }

  async closeSegment(segment: SegmentId): Promise<void> {
    const tail = this.#segments.get(segment);
    this.#segments.delete(segment);
    await tail?.close();
  }

  /** The job is deleted. */
  async closeJob(job: JobId): Promise<void> {
    const tail = this.#jobs.get(job);
    this.#jobs.delete(job);
    this.#ownJobs.delete(job);
    await tail?.close();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#all().map((tail) => tail.close()));
  }

  #all(): Tail[] {
    return [...this.#segments.values(), ...this.#jobs.values()];
  }
}
