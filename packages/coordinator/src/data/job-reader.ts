/**
 * A job's outcomes as messages of ResultsResponse: in item order or as completed, from any index, following a
 * running job or up to what there is.
 *
 *  R1  in item order nothing is sent beyond a gap: the log is the buffer;
 *  R2  outcomes that the leader sealed have no bytes: their error is made from the seal's record;
 *  R3  of a reduced job the reduction item (index = total) is sent, and failed items before it as errors;
 *  R4  of a job that was retried nothing is sent before the whole log is folded: a later reopen takes outcomes back;
 *  R5  whoever takes the messages sets the pace: nothing is read ahead but a few bodies.
 */
import type { ErrorInfo, SealRecord } from "@everycore/protocol";
import {
  codecs,
  encodeErrorInfo,
  EverycoreError,
  limits,
  outcomeStatus,
  packEntries,
  packOutcome,
  parseChunked,
  parseLogSubject,
  unpackOutcome,
} from "@everycore/protocol";
import type { Bodies } from "./bodies.ts";
import { BodyEntries } from "./entry-slice.ts";
import type { JobIndex } from "./job-index.ts";
import type { Run } from "./run-index.ts";

/** Commit bodies asked for before they are needed. */
const prefetchBodies = 6;
/** Items of one message of sealed outcomes. */
const sealedItemsMax = 5_000;

export interface OutcomeBatch {
  readonly runs: readonly { readonly start: number; readonly count: number }[];
  readonly data: Buffer;
  readonly node: string;
}
export interface OutcomePiece {
  readonly index: number;
  readonly status: number;
  readonly codec: number;
  readonly total: number;
  readonly offset: number;
  readonly data: Buffer;
}
export type OutcomeMessage = { readonly batch: OutcomeBatch } | { readonly piece: OutcomePiece };

/** What the leader says of the job at the moment. */
export interface Standing {
  readonly isEnded: boolean;
  /** Sequence of the log up to which this standing is right. */
  readonly seq: number;
  readonly total: number | undefined;
  /** 0 until the job is retried. */
  readonly round: number;
}

export interface ReadOptions {
  readonly index: JobIndex;
  readonly bodies: Pick<Bodies, "get">;
  readonly from: number;
  readonly isUnordered: boolean;
  readonly isFollowing: boolean;
  readonly isReduced: boolean;
  /** Throws when the job is gone. */
  readonly standing: () => Standing;
  /** Counts changes of index and standing. */
  readonly version: () => number;
  /** Resolves when `version` is no longer the given one. */
  readonly changed: (version: number) => Promise<void>;
}

export async function* readOutcomes(options: ReadOptions): AsyncGenerator<OutcomeMessage> {
  const { index, isFollowing, standing, version, changed } = options;
  const cursor: Cursor = options.isUnordered ? new LogOrder(options) : new ItemOrder(options);
  const first = standing();
  let isSettled = first.round === 0;
  for (;;) {
    const seen = version();
    const now = standing();
    const isComplete = index.seq >= now.seq && now.isEnded;
    const isEnough = isComplete || (!isFollowing && index.seq >= first.seq);
    isSettled ||= index.seq >= first.seq; // R4
    for (let run = isSettled ? cursor.next() : undefined; run !== undefined; run = cursor.next()) {
      for (const ahead of cursor.ahead(prefetchBodies)) {
        // Read ahead; a failure is met again by whoever needs the body.
        if (!ahead.isSealed) options.bodies.get(index.segment, ahead.seq).catch(() => {});
      }
      yield* outcomesOf(run, options);
    }
    if (isEnough) return;
    await changed(seen);
  }
}

interface Cursor {
  /** The next run to send, or undefined: not there yet. */
  next(): Run | undefined;
  /** Runs that come after it. */
  ahead(count: number): Run[];
}

class ItemOrder implements Cursor {
  readonly #options: ReadOptions;
  #at: number;

  constructor(options: ReadOptions) {
    this.#options = options;
    this.#at = options.from;
  }

  next(): Run | undefined {
    const { index, isReduced } = this.#options;
    const first = index.runs.at(this.#at);
    if (first === undefined) return undefined;
    this.#at = first.end;
    if (isReduced || first.isSealed) return first;
    // Neighbours of one commit that differ in status only travel together.
    let end = first.end;
    for (;;) {
      const more = index.runs.at(end);
      const fits = more !== undefined && !more.isSealed && more.seq === first.seq;
      if (!fits || more.entry !== first.entry + end - first.start) break;
      end = more.end;
    }
    this.#at = end;
    return { ...first, end };
  }

  ahead(count: number): Run[] {
    const found: Run[] = [];
    for (let at = this.#at; found.length < count;) {
      const run = this.#options.index.runs.at(at);
      if (run === undefined) break;
      found.push(run);
      at = run.end;
    }
    return found;
  }
}

class LogOrder implements Cursor {
  readonly #options: ReadOptions;
  #position = 0;
  #waiting: Run[] = [];

  constructor(options: ReadOptions) {
    this.#options = options;
  }

  next(): Run | undefined {
    const { index, from } = this.#options;
    for (;;) {
      const run = this.#waiting.shift();
      if (run !== undefined) {
        if (run.end <= from) continue;
        if (run.start >= from) return run;
        return {
          ...run,
          start: from,
          entry: run.isSealed || run.isSpan ? run.entry : run.entry + from - run.start,
        };
      }
      if (this.#position >= index.runs.acceptedCount) return undefined;
      this.#waiting = index.runs.accepted(this.#position);
      this.#position += 1;
    }
  }

  ahead(count: number): Run[] {
    const { runs } = this.#options.index;
    const found: Run[] = [];
    for (let at = this.#position; found.length < count && at < runs.acceptedCount; at += 1) {
      found.push(...runs.accepted(at));
    }
    return found;
  }
}

async function* outcomesOf(run: Run, options: ReadOptions): AsyncGenerator<OutcomeMessage> {
  const { index, isReduced, standing } = options;
  if (run.isSealed) {
    yield* sealedOutcomes(run, index.seals.get(run.seq));
    return;
  }
  // R3
  if (isReduced && run.status === "value" && run.start !== standing().total) return;
  const body = await options.bodies.get(index.segment, run.seq);
  const entries = new BodyEntries(body.data);
  const count = run.isSpan ? 1 : run.end - run.start;
  const to = run.entry + count;
  if (to > entries.count) {
    throw new EverycoreError(
      "internal",
      `a commit of job ${index.job} has fewer outcomes than its header says`,
    );
  }
  for (let at = run.entry; at < to;) {
    const start = run.start + at - run.entry;
    const end = entries.plainEnd(at, to);
    if (end > at) {
      const runs = [{ start, count: end - at }];
      const data = end - at === entries.count ? body.data : entries.slice(at, end);
      yield { batch: { runs, data, node: run.node ?? "" } };
      at = end;
    } else {
      yield* chunkedOutcome({ at: start, entry: entries.entry(at) }, options);
      at += 1;
    }
  }
}

async function* chunkedOutcome(
  item: { at: number; entry: Buffer },
  options: ReadOptions,
): AsyncGenerator<OutcomeMessage> {
  const { status, payload } = unpackOutcome(item.entry);
  const { codec, bytes: total, seqs } = parseChunked(payload);
  let offset = 0;
  for (const seq of seqs) {
    const data = await chunkBody(options, seq);
    yield { piece: { index: item.at, status, codec, total, offset, data } };
    offset += data.length;
  }
  if (offset !== total) {
    throw new EverycoreError(
      "internal",
      `the chunks of item ${item.at} of job ${options.index.job} are incomplete`,
    );
  }
}

/** A chunk's sequence stands in an agent's bytes: it must be one of the same job's. */
export async function chunkBody(
  options: { index: Pick<JobIndex, "segment" | "job">; bodies: Pick<Bodies, "get"> },
  seq: number,
): Promise<Buffer> {
  const { index, bodies } = options;
  const body = await bodies.get(index.segment, seq);
  if (parseLogSubject(body.subject)?.job !== index.job) {
    throw new EverycoreError("internal", `a commit of job ${index.job} names a chunk of another job`);
  }
  return body.data;
}

/** R2 */
function* sealedOutcomes(run: Run, seal: SealRecord | undefined): Generator<OutcomeMessage> {
  const entry = packOutcome(
    outcomeStatus[run.status],
    codecs.error,
    0,
    encodeErrorInfo(sealError(run, seal)),
  );
  const itemsMax = Math.max(
    1,
    Math.min(sealedItemsMax, Math.floor(limits.messageBytesMax / (entry.length + 4))),
  );
  for (let start = run.start; start < run.end; start += itemsMax) {
    const count = Math.min(itemsMax, run.end - start);
    const data = packEntries(Array.from({ length: count }, () => entry));
    yield { batch: { runs: [{ start, count }], data, node: run.node ?? "" } };
  }
}

function sealError(run: Run, seal: SealRecord | undefined): ErrorInfo {
  const { signal, exitCode, peakBytes, stderrTail } = seal?.detail ?? {};
  return {
    kind: run.status,
    name: run.status,
    message: seal?.message ?? "",
    ...(signal === undefined ? {} : { signal }),
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(peakBytes === undefined ? {} : { peakBytes }),
    ...(stderrTail === undefined ? {} : { stderrTail }),
  };
}
