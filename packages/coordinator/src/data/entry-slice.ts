/**
 * Cuts runs of entries out of a packed body as one slice of bytes with a shifted offset table (packing.ts has
 * the layout): a million results a second leave no time for a buffer per item.
 */
import { codecs, EverycoreError, outcomeHeadBytes } from "@everycore/protocol";

const malformed = (why: string): EverycoreError => new EverycoreError("bad-input", `malformed body: ${why}`);

export class BodyEntries {
  readonly count: number;
  readonly #body: Buffer;
  readonly #table: number;

  constructor(body: Buffer) {
    const count = body.length >= 8 ? body.readUInt32LE(0) : -1;
    const table = 4 + 4 * (count + 1);
    if (count < 0 || table > body.length) throw malformed("its offset table is longer than itself");
    this.count = count;
    this.#body = body;
    this.#table = table;
    if (this.#offset(0) !== 0 || table + this.#offset(count) !== body.length)
      throw malformed("its offsets do not fit");
  }

  #offset(at: number): number {
    return this.#body.readUInt32LE(4 + 4 * at);
  }

  entry(at: number): Buffer {
    if (at < 0 || at >= this.count) throw malformed(`it has no entry ${at}`);
    const from = this.#offset(at);
    const to = this.#offset(at + 1);
    if (to < from || this.#table + to > this.#body.length) throw malformed("an offset goes backwards");
    return this.#body.subarray(this.#table + from, this.#table + to);
  }

  /** Entries from `from` on that are not chunked, `to` at most: [from, end). */
  plainEnd(from: number, to: number): number {
    const stop = Math.min(to, this.count);
    let offset = this.#offset(from);
    for (let at = from; at < stop; at += 1) {
      const next = this.#offset(at + 1);
      if (next < offset + outcomeHeadBytes || this.#table + next > this.#body.length) {
        throw malformed("an outcome is shorter than its head");
      }
      if (this.#body[this.#table + offset + 1] === codecs.chunked) return at;
      offset = next;
    }
    return stop;
  }

  /** Entries [from, to) as a packed block of their own. Callers have checked them by plainEnd. */
  slice(from: number, to: number): Buffer {
    const first = this.#offset(from);
    const bytes = this.#offset(to) - first;
    const count = to - from;
    const table = 4 + 4 * (count + 1);
    const packed = Buffer.allocUnsafe(table + bytes);
    packed.writeUInt32LE(count, 0);
    for (let at = 0; at <= count; at += 1) packed.writeUInt32LE(this.#offset(from + at) - first, 4 + 4 * at);
    this.#body.copy(packed, table, this.#table + first, this.#table + first + bytes);
    return packed;
  }
}
