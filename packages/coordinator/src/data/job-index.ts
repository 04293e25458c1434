/**
 * One job's log, folded for readers: the leader's decisions are not needed for it, so any coordinator could do
 * this (DESIGN 3). Shared by all who read the job at the moment, dropped when the last one leaves.
 */
import type { JobId, LogRecord, Range, SealRecord, SegmentId, VerifyLease } from "@everycore/protocol";
import { JobFold, streamOfSegment, subjects } from "@everycore/protocol";
import type { Data } from "./connection.ts";
import { RunIndex } from "./run-index.ts";
import { Tail } from "./tail.ts";

export class JobIndex {
  readonly job: JobId;
  readonly segment: SegmentId;
  readonly fold: JobFold;
  readonly runs = new RunIndex();
  readonly seals = new Map<number, SealRecord>();
  /** Rises with each record: readers wait for it. */
  readonly #onChange: () => void;
  readonly #isReduced: boolean;

  constructor(options: {
    job: JobId;
    segment: SegmentId;
    isReduced: boolean;
    verify: VerifyLease;
    onChange: () => void;
  }) {
    this.job = options.job;
    this.segment = options.segment;
    this.#isReduced = options.isReduced;
    this.fold = new JobFold(options.job, options.verify);
    this.#onChange = options.onChange;
  }

  get seq(): number {
    return this.fold.seq;
  }

  apply(seq: number, record: LogRecord): void {
    if (seq <= this.fold.seq) return;
    const delta = this.fold.apply(seq, record);
    for (const range of delta.reopened) this.runs.remove(range);
    for (const part of delta.accepted) this.runs.add(part, this.#isReduced && part.lease !== undefined);
    if (record.kind === "seal" && delta.accepted.length > 0) this.seals.set(seq, record);
    this.#onChange();
  }

  /** Values of [0, end) in order: the spans of a reduction. */
  *spans(range: Range): Generator<ReturnType<RunIndex["at"]> & object> {
    for (let at = range.start; at < range.end;) {
      const run = this.runs.from(at);
      if (run === undefined || run.start >= range.end) return;
      if (run.status === "value") yield run;
      at = run.end;
    }
  }
}

interface Shared {
  readonly index: JobIndex;
  /** undefined: fed by the leader's own tail, which has seen the job's log from its first record. */
  tail: Tail | undefined;
  readers: number;
}

/** Indexes kept for jobs that nobody reads yet, and commits of one such job (P7). */
const fedUnreadMax = 64;
const fedUnreadCommitsMax = 1_000;

/** The indexes in use. */
export class JobIndexes {
  readonly #data: Data;
  readonly #verify: VerifyLease;
  readonly #onMalformed: (subject: string, seq: number) => void;
  readonly #onChange: (job: JobId) => void;
  readonly #shared = new Map<JobId, Shared>();

  constructor(options: {
    data: Data;
    verify: VerifyLease;
    onMalformed: (subject: string, seq: number) => void;
    onChange: (job: JobId) => void;
  }) {
    this.#data = options.data;
    this.#verify = options.verify;
    this.#onMalformed = options.onMalformed;
    this.#onChange = options.onChange;
  }

  get count(): number {
    return this.#shared.size;
  }

  restart(): void {
    for (const { tail } of this.#shared.values()) tail?.restart();
  }

  #newIndex(job: { id: JobId; segment: SegmentId; isReduced: boolean }): JobIndex {
    const onChange = (): void => this.#onChange(job.id);
    return new JobIndex({ ...job, job: job.id, verify: this.#verify, onChange });
  }

  /** Behind what the index knows already. */
  #tailOf(index: JobIndex): Tail {
    const { job, segment } = index;
    return new Tail({
      data: this.#data,
      stream: streamOfSegment(segment),
      subjects: [subjects.logOfJob(segment, job), subjects.input(segment, job)],
      onRecord: (seq, { record }) => index.apply(seq, record),
      onMalformed: this.#onMalformed,
      after: index.seq,
    });
  }

  /**
   * A job that this leader is about to accept: whoever submits a job mostly reads it at once, and the leader's tail
   * sees its whole log anyway, which saves a consumer and a second delivery of every record.
   */
  expect(job: { id: JobId; segment: SegmentId; isReduced: boolean }): void {
    if (this.#shared.get(job.id)?.index.segment === job.segment) return;
    this.#shared.set(job.id, { index: this.#newIndex(job), tail: undefined, readers: 0 });
    let unread = 0;
    for (const { readers } of this.#shared.values()) if (readers === 0) unread += 1;
    for (const [id, { readers }] of this.#shared) {
      if (unread <= fedUnreadMax) return;
      if (readers > 0) continue;
      this.#shared.delete(id);
      unread -= 1;
    }
  }

  /** A record that the leader's tail has read. */
  feed(job: JobId, segment: SegmentId, seq: number, record: LogRecord): void {
    const shared = this.#shared.get(job);
    if (shared === undefined || shared.tail !== undefined || shared.index.segment !== segment) return;
    shared.index.apply(seq, record);
    if (shared.readers === 0 && shared.index.runs.acceptedCount > fedUnreadCommitsMax)
      this.#shared.delete(job);
  }

  /** The leader's tails are closed: who still reads goes on with a tail of its own. */
  termOver(): void {
    for (const [job, shared] of this.#shared) {
      if (shared.tail !== undefined) continue;
      if (shared.readers === 0) this.#shared.delete(job);
      else shared.tail = this.#tailOf(shared.index);
    }
  }

  forget(job: JobId, segment: SegmentId): void {
    const shared = this.#shared.get(job);
    if (shared?.index.segment === segment && shared.readers === 0) this.#shared.delete(job);
  }

  /** An index of the job; to be given back by disposing. */
  open(job: { id: JobId; segment: SegmentId; isReduced: boolean }): { index: JobIndex } & AsyncDisposable {
    let shared = this.#shared.get(job.id);
    // Of another segment: of a former life of the job, which somebody still reads.
    if (shared?.index.segment !== job.segment) {
      const index = this.#newIndex(job);
      shared = { index, tail: this.#tailOf(index), readers: 0 };
      this.#shared.set(job.id, shared);
    }
    const held = shared;
    held.readers += 1;
    let isOpen = true;
    return {
      index: held.index,
      [Symbol.asyncDispose]: async () => {
        if (!isOpen) return;
        isOpen = false;
        held.readers -= 1;
        if (held.readers > 0) return;
        if (this.#shared.get(job.id) === held) this.#shared.delete(job.id);
        await held.tail?.close();
      },
    };
  }

  async close(): Promise<void> {
    const all = [...this.#shared.values()];
    this.#shared.clear();
    await Promise.all(all.flatMap(({ tail }) => (tail === undefined ? [] : [tail.close()])));
  }
}
