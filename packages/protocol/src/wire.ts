/**
 * msgpack as everycore speaks it. Settings follow measurements (reference: pitfalls of msgpackr): no records
 * (Python cannot read them), 64-bit integers as numbers where safe, undefined as nil. Bytes from outside are
 * `unknown` until a parser of messages.ts or record-codec.ts has checked them.
 */
import type { Options } from "msgpackr";
import { Packr, Unpackr } from "msgpackr";
import { EverycoreError } from "./errors.ts";

// "auto" (numbers where safe, BigInt beyond) is missing in msgpackr's types.
const settings = {
  useRecords: false,
  int64AsType: "auto" as "number",
  encodeUndefinedAsNil: true,
  mapsAsObjects: true,
} satisfies Options;

const packr = new Packr(settings);
const unpackr = new Unpackr(settings);

/** Encodes plain data. The result owns its memory. */
export function encode(value: unknown): Buffer {
  return Buffer.from(packr.pack(value));
}

/**
 * A map of plain fields and, behind them, one of bytes. Large bytes are copied once; the encoder itself would grow its
 * memory to their size and copy them twice.
 */
export function encodeWithBytes(fields: Record<string, unknown>, name: string, bytes: Uint8Array): Buffer {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  const head = Buffer.from([map16, 0, entries.length + 1]);
  return Buffer.concat([head, ...entries.flat().map(encode), encode(name), binaryHead(bytes.length), bytes]);
}

/** First byte of a map with 16 bits of length. */
const map16 = 0xde;

/** What msgpack writes before bytes: its formats with 8, 16 and 32 bits of length. */
function binaryHead(length: number): Buffer {
  const head = Buffer.alloc(5);
  if (length < 2 ** 8) return head.subarray(0, head.writeUInt8(length, head.writeUInt8(0xc4)));
  if (length < 2 ** 16) return head.subarray(0, head.writeUInt16BE(length, head.writeUInt8(0xc5)));
  return head.subarray(0, head.writeUInt32BE(length, head.writeUInt8(0xc6)));
}

/** Decodes; throws EverycoreError `bad-input` for whatever is not one whole msgpack value. */
export function decode(bytes: Uint8Array): unknown {
  try {
    return unpackr.unpack(bytes);
  } catch (error) {
    throw new EverycoreError("bad-input", `not msgpack (${bytes.length} bytes)`, { cause: error });
  }
}
