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

/** Decodes; throws EverycoreError `bad-input` for whatever is not one whole msgpack value. */
export function decode(bytes: Uint8Array): unknown {
  try {
    return unpackr.unpack(bytes);
  } catch (error) {
    throw new EverycoreError("bad-input", `not msgpack (${bytes.length} bytes)`, { cause: error });
  }
}
