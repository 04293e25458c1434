/**
 * Items packed together for travel: a count, an offset table, the bytes. Any item is cut out unparsed, and
 * nobody between client and worker decodes one. The same layout carries input blocks and commit bodies.
 *
 *   u32 count | u32 offset[count + 1] | bytes          little-endian; offset[0] = 0, relative to `bytes`
 *
 * An entry of a commit body is one outcome:  u8 status | u8 codec | u32 micros | payload
 *   status: outcomeStatus; micros: how long the item ran, microseconds, saturating.
 * An outcome over `messageBytesMax` has codec `chunked` and as payload msgpack
 *   {codec: number, bytes: total, seqs: [sequence of each chunk record, in order]}.
 */
import { EverycoreError } from "./errors.ts";
import { decode } from "./wire.ts";

export const outcomeHeadBytes = 6;

export function packEntries(entries: readonly Uint8Array[]): Buffer {
  let bytes = 0;
  for (const entry of entries) bytes += entry.length;
  const table = 4 + 4 * (entries.length + 1);
  const packed = Buffer.allocUnsafe(table + bytes);
  packed.writeUInt32LE(entries.length, 0);
  let offset = 0;
  packed.writeUInt32LE(0, 4);
  for (let at = 0; at < entries.length; at += 1) {
    const entry = entries[at]!;
    packed.set(entry, table + offset);
    offset += entry.length;
    packed.writeUInt32LE(offset, 8 + 4 * at);
  }
  return packed;
}

/** A packed block, checked once, cut any number of times. */
export class PackedEntries {
  readonly count: number;
  readonly #buffer: Buffer;
  readonly #table: number;

  constructor(bytes: Uint8Array) {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = buffer.length >= 8 ? buffer.readUInt32LE(0) : -1;
    const table = 4 + 4 * (count + 1);
    if (count < 0 || table > buffer.length) throw malformed("offset table is longer than the block");
    if (buffer.readUInt32LE(4) !== 0) throw malformed("first offset is not 0");
    let last = 0;
    for (let at = 1; at <= count; at += 1) {
      const offset = buffer.readUInt32LE(4 + 4 * at);
      if (offset < last) throw malformed("offsets go backwards");
      last = offset;
    }
    if (table + last !== buffer.length) throw malformed("last offset is not the end of the block");
    this.count = count;
    this.#buffer = buffer;
    this.#table = table;
  }

  /** A view of entry `at`; valid as long as the block's memory. */
  entry(at: number): Buffer {
    if (!(at >= 0 && at < this.count)) throw malformed(`no entry ${at} in a block of ${this.count}`);
    const from = this.#buffer.readUInt32LE(4 + 4 * at);
    const to = this.#buffer.readUInt32LE(8 + 4 * at);
    return this.#buffer.subarray(this.#table + from, this.#table + to);
  }

  /** Entries [from, to) as a block of their own. */
  slice(from: number, to: number): Buffer {
    const entries: Buffer[] = [];
    for (let at = from; at < to; at += 1) entries.push(this.entry(at));
    return packEntries(entries);
  }
}

export interface OutcomeEntry {
  readonly status: number;
  readonly codec: number;
  readonly micros: number;
  readonly payload: Buffer;
}

export function packOutcome(status: number, codec: number, micros: number, payload: Uint8Array): Buffer {
  const entry = Buffer.allocUnsafe(outcomeHeadBytes + payload.length);
  entry[0] = status;
  entry[1] = codec;
  entry.writeUInt32LE(Math.min(micros, 0xffff_ffff) >>> 0, 2);
  entry.set(payload, outcomeHeadBytes);
  return entry;
}

export function unpackOutcome(entry: Buffer): OutcomeEntry {
  if (entry.length < outcomeHeadBytes) throw malformed("outcome is shorter than its head");
  return {
    status: entry[0]!,
    codec: entry[1]!,
    micros: entry.readUInt32LE(2),
    payload: entry.subarray(outcomeHeadBytes),
  };
}

export interface ChunkedPayload {
  readonly codec: number;
  readonly bytes: number;
  readonly seqs: readonly number[];
}

export function parseChunked(payload: Uint8Array): ChunkedPayload {
  const value = decode(payload) as Partial<ChunkedPayload> | null;
  const { codec, bytes, seqs } = value ?? {};
  if (typeof codec !== "number" || typeof bytes !== "number" || !Array.isArray(seqs)) {
    throw malformed("chunked outcome without codec, bytes and seqs");
  }
  return { codec, bytes, seqs };
}

const malformed = (why: string): EverycoreError => new EverycoreError("bad-input", `malformed block: ${why}`);
