/**
 * The partials of a reduced job, in order, as one packed block: what the worker that combines them is given.
 * An entry is  u64 start | u8 level | u32 missing | u8 codec | bytes  (little-endian); level is log2 of the span.
 *
 *  D1  the block is never in memory: its layout is, 24 bytes a partial, and any frame of it is made when asked
 *      for, from bodies that the cache may drop (P7);
 *  D2  how many partials and bytes it may have is named in limits.ts; beyond that `over-limit` is thrown.
 */
import type { SegmentId } from "@everycore/protocol";
import {
  codecs,
  EverycoreError,
  limits,
  parseChunked,
  parseLogSubject,
  unpackOutcome,
} from "@everycore/protocol";
import type { Bodies } from "./bodies.ts";
import { BodyEntries } from "./entry-slice.ts";
import type { JobIndex } from "./job-index.ts";
import type { Run } from "./run-index.ts";

const headBytes = 14;

export interface PartialsSource {
  readonly index: Pick<JobIndex, "job" | "segment" | "spans">;
  readonly bodies: Pick<Bodies, "get">;
  /** Items of the job. */
  readonly total: number;
  /** Default: those of limits.ts. */
  readonly max?: { readonly partials: number; readonly bytes: number };
}

export class Partials {
  readonly #source: Pick<PartialsSource, "bodies"> & {
    readonly job: JobIndex["job"];
    readonly segment: SegmentId;
  };
  readonly #runs: readonly Run[];
  /** Where entry n begins behind the offset table; one more for the end. */
  readonly #offsets: readonly number[];
  readonly #table: number;

  private constructor(source: PartialsSource, runs: readonly Run[], offsets: readonly number[]) {
    const { index, bodies } = source;
    this.#source = { bodies, job: index.job, segment: index.segment };
    this.#runs = runs;
    this.#offsets = offsets;
    this.#table = 4 + 4 * offsets.length;
  }

  /** Reads each partial once, for its size. */
  static async of(source: PartialsSource): Promise<Partials> {
    const { index, bodies, total } = source;
    const max = source.max ?? { partials: limits.partialsMax, bytes: limits.partialsBytesMax };
    const runs: Run[] = [];
    const offsets = [0];
    let end = 0;
    for (const run of index.spans({ start: 0, end: total })) {
      const entry = new BodyEntries((await bodies.get(index.segment, run.seq)).data).entry(run.entry);
      const outcome = unpackOutcome(entry);
      const isChunked = outcome.codec === codecs.chunked;
      end += headBytes + (isChunked ? parseChunked(outcome.payload).bytes : outcome.payload.length);
      runs.push(run);
      offsets.push(end);
      if (runs.length > max.partials || end > max.bytes) {
        throw new EverycoreError(
          "over-limit",
          `the partials of job ${index.job} are more than ${max.partials}, or than ${max.bytes} bytes in all`,
          { hint: "let reduce give smaller values, or split the job" },
        );
      }
    }
    return new Partials(source, runs, offsets);
  }

  /** Bytes of the whole block. */
  get total(): number {
    return this.#table + this.#offsets.at(-1)!;
  }

  /** Bytes [offset, offset + messageBytesMax) of the block, as far as it goes. */
  async frame(offset: number): Promise<Buffer> {
    const end = Math.min(this.total, offset + limits.messageBytesMax);
    const frame = Buffer.alloc(Math.max(0, end - offset));
    this.#writeTable(frame, offset);
    for (let at = this.#entryAt(offset - this.#table); at < this.#runs.length; at += 1) {
      if (this.#table + this.#offsets[at]! >= end) break;
      await this.#write(frame, at, offset);
    }
    return frame;
  }

  /** What of the count and the offsets lies in the frame. A number may be cut by its edge. */
  #writeTable(frame: Buffer, offset: number): void {
    const word = Buffer.allocUnsafe(4);
    for (let at = Math.floor(offset / 4); 4 * at < Math.min(this.#table, offset + frame.length); at += 1) {
      word.writeUInt32LE(at === 0 ? this.#runs.length : this.#offsets[at - 1]!);
      copyAt(word, frame, 4 * at - offset);
    }
  }

  /** The entry that contains this byte of the entries. */
  #entryAt(byte: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#offsets[middle + 1]! > byte) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Copies what of entry `at` lies in the frame. */
  async #write(frame: Buffer, at: number, offset: number): Promise<void> {
    const { bodies, segment } = this.#source;
    const run = this.#runs[at]!;
    const from = this.#table + this.#offsets[at]! - offset;
    const body = new BodyEntries((await bodies.get(segment, run.seq)).data);
    const outcome = unpackOutcome(body.entry(run.entry));
    const chunked = outcome.codec === codecs.chunked ? parseChunked(outcome.payload) : undefined;
    copyAt(headOf(run, chunked?.codec ?? outcome.codec), frame, from);
    if (chunked === undefined) return copyAt(outcome.payload, frame, from + headBytes);
    for (const [piece, seq] of chunked.seqs.entries()) {
      const start = from + headBytes + piece * limits.messageBytesMax;
      const bytes = Math.min(limits.messageBytesMax, chunked.bytes - piece * limits.messageBytesMax);
      if (start + bytes > 0 && start < frame.length) copyAt(await this.#chunk(seq, bytes), frame, start);
    }
  }

  /** Its sequence stands in an agent's bytes: it must be one of the same job's, and as long as it says. */
  async #chunk(seq: number, bytes: number): Promise<Buffer> {
    const { bodies, job, segment } = this.#source;
    const { subject, data } = await bodies.get(segment, seq);
    if (parseLogSubject(subject)?.job !== job || data.length !== bytes) {
      throw new EverycoreError(
        "bad-input",
        `a partial of job ${job} names message ${seq}, which is no piece of it`,
      );
    }
    return data;
  }
}

function headOf(run: Run, codec: number): Buffer {
  const head = Buffer.allocUnsafe(headBytes);
  head.writeBigUInt64LE(BigInt(run.start), 0);
  head[8] = Math.log2(run.end - run.start);
  head.writeUInt32LE(run.missing, 9);
  head[13] = codec;
  return head;
}

/** Copies to `at`, which may lie before the frame or behind it; what does not fit is left out. */
function copyAt(bytes: Buffer, frame: Buffer, at: number): void {
  if (at < frame.length && at + bytes.length > 0) bytes.copy(frame, Math.max(0, at), Math.max(0, -at));
}
