/**
 * Reading a job's outcomes: in item order or as completed, from any index, following a running job. When the
 * coordinator goes away in the middle, the reader attaches again where it stopped and nobody notices (P3).
 *
 *  R1  an index is handed out once: ordered by the next index, unordered by the set of those handed out;
 *  R2  pieces of a large outcome are kept until whole; a break in the middle drops them and asks again.
 */
import { EverycoreError, IntervalSet, PackedEntries, limits, unpackOutcome } from "@everycore/protocol";
import type { Channel } from "./channel.ts";
import { Outcome } from "./outcomes.ts";
import type { JobInfo, ResultsResponse } from "./wire-types.ts";

export interface ResultsOptions {
  /** First index wanted. Default 0. */
  readonly from?: number;
  /** Wait for outcomes of a running job until it has ended. Default true. */
  readonly follow?: boolean;
  /** As completed instead of item order. Default false. */
  readonly unordered?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Outcomes that arrived together. */
export type OutcomeList = readonly Outcome[];

export class Results implements AsyncIterable<Outcome> {
  readonly #channel: Channel;
  readonly #job: string;
  readonly #options: ResultsOptions;
  readonly #handedOut = new IntervalSet();
  #next: number;
  #end: JobInfo | undefined;
  #piece: { index: number; bytes: Buffer; filled: number } | undefined;

  constructor(channel: Channel, job: string, options: ResultsOptions) {
    this.#channel = channel;
    this.#job = job;
    this.#options = options;
    this.#next = options.from ?? 0;
  }

  /** The job as it was when the last outcome had been read. */
  get end(): JobInfo {
    if (this.#end === undefined)
      throw new EverycoreError("internal", `results of job ${this.#job} are not read to their end`);
    return this.#end;
  }

  /** One outcome after the other. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Outcome> {
    for await (const list of this.lists()) yield* list;
  }

  /** Outcomes as they travel, many at once: for whoever only passes them on. */
  async *lists(): AsyncGenerator<OutcomeList> {
    const { signal } = this.#options;
    const patience = this.#channel.patience({ signal });
    while (this.#end === undefined) {
      this.#piece = undefined;
      try {
        for await (const message of this.#attach()) {
          patience.reset();
          if (message.end) {
            this.#end = message.end;
            break;
          }
          const list = this.#read(message);
          if (list.length > 0) yield list;
        }
        if (this.#end === undefined) {
          throw new EverycoreError(
            "unreachable",
            `the coordinator at ${this.#channel.address} ended the results of job ${this.#job} early`,
          );
        }
      } catch (error) {
        await patience.after(error);
      }
    }
  }

  #attach(): AsyncGenerator<ResultsResponse> {
    const { follow = true, unordered = false, signal } = this.#options;
    const from = unordered ? (this.#options.from ?? 0) : this.#next;
    return this.#channel.stream<ResultsResponse>(
      "JobService",
      "Results",
      { job: this.#job, from, follow, unordered },
      { signal },
    );
  }

  #read(message: ResultsResponse): Outcome[] {
    if (message.batch) return this.#readBatch(message.batch);
    if (message.piece) return this.#readPiece(message.piece);
    return [];
  }

  #readBatch(batch: NonNullable<ResultsResponse["batch"]>): Outcome[] {
    const entries = new PackedEntries(batch.data);
    const list: Outcome[] = [];
    let at = 0;
    for (const run of batch.runs) {
      for (let index = run.start; index < run.start + run.count; index += 1, at += 1) {
        if (!this.#take(index)) continue;
        list.push(new Outcome({ index, node: batch.node, ...unpackOutcome(entries.entry(at)) }));
      }
    }
    return list;
  }

  /** R1. True if nobody has seen this index yet. */
  #take(index: number): boolean {
    if (this.#options.unordered === true) {
      return index >= (this.#options.from ?? 0) && this.#handedOut.add(index, index + 1) === 1;
    }
    if (index < this.#next) return false;
    this.#next = index + 1;
    return true;
  }

  /** R2. */
  #readPiece(piece: NonNullable<ResultsResponse["piece"]>): Outcome[] {
    if (piece.total > limits.outcomeBytesMax) {
      throw new EverycoreError(
        "over-limit",
        `the outcome of item ${piece.index} has ${piece.total} bytes, more than ${limits.outcomeBytesMax}`,
      );
    }
    if (piece.offset === 0)
      this.#piece = { index: piece.index, bytes: Buffer.allocUnsafe(piece.total), filled: 0 };
    const open = this.#piece;
    const fits =
      open?.index === piece.index &&
      open.filled === piece.offset &&
      piece.offset + piece.data.length <= piece.total;
    if (open === undefined || !fits) {
      throw new EverycoreError(
        "internal",
        `a piece of item ${piece.index} of job ${this.#job} is out of order`,
      );
    }
    piece.data.copy(open.bytes, open.filled);
    open.filled += piece.data.length;
    if (open.filled < open.bytes.length) return [];
    this.#piece = undefined;
    if (!this.#take(piece.index)) return [];
    const { index, status, codec } = piece;
    return [new Outcome({ index, status, codec, micros: 0, payload: open.bytes, node: "" })];
  }
}
