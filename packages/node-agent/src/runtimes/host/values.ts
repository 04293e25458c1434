/**
 * Values of JavaScript tasks, to bytes. Never garbage: what msgpack or Python could not read back as it was is
 * refused with the path and the type, or converted explicitly (typed arrays become arrays of numbers).
 */
import { codecs, encode } from "@everycore/protocol/worker";

export class Unencodable extends Error {
  override readonly name = "Unencodable";
}

export interface Encoded {
  readonly codec: number;
  readonly bytes: Uint8Array;
}

const nil: Encoded = { codec: codecs.msgpack, bytes: Buffer.from([0xc0]) };
const yes: Encoded = { codec: codecs.msgpack, bytes: Buffer.from([0xc3]) };
const no: Encoded = { codec: codecs.msgpack, bytes: Buffer.from([0xc2]) };

export function encodeValue(value: unknown): Encoded {
  switch (typeof value) {
    case "undefined":
      return nil;
    case "boolean":
      return value ? yes : no;
    case "number":
    case "string":
      return { codec: codecs.msgpack, bytes: encode(value) };
    default:
      if (value === null) return nil;
      if (value instanceof Uint8Array) return { codec: codecs.raw, bytes: value };
      return { codec: codecs.msgpack, bytes: encode(plain(value, "value", [])) };
  }
}

const minInt64 = -(2n ** 63n);
const maxInt64 = 2n ** 63n - 1n;

/** The value as plain data; throws Unencodable for what has no bytes. `above` are the objects it lies in. */
function plain(value: unknown, path: string, above: readonly object[]): unknown {
  switch (typeof value) {
    case "function":
    case "symbol":
      throw new Unencodable(`${path} is a ${typeof value}, which cannot be sent`);
    case "bigint":
      if (value < minInt64 || value > maxInt64) throw new Unencodable(`${path} is a bigint beyond 64 bits`);
      return value;
    case "object":
      break;
    default:
      return value;
  }
  if (value === null || value instanceof Date) return value;
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) {
    if (value instanceof DataView) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return Array.from(value as unknown as ArrayLike<number>);
  }
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (above.includes(value)) throw new Unencodable(`${path} is circular`);
  const within = [...above, value];
  if (Array.isArray(value)) return value.map((entry, at) => plain(entry, `${path}[${at}]`, within));
  if (value instanceof Set) return [...value].map((entry, at) => plain(entry, `${path}[${at}]`, within));
  if (value instanceof Map) {
    return Object.fromEntries(
      [...value].map(([key, entry]) => [String(key), plain(entry, `${path}.${key}`, within)]),
    );
  }
  if (
    value instanceof Promise ||
    value instanceof WeakMap ||
    value instanceof WeakSet ||
    value instanceof RegExp
  ) {
    throw new Unencodable(`${path} is a ${value.constructor.name}, which cannot be sent`);
  }
  if (value instanceof Error) return { name: value.name, message: value.message, stack: value.stack };
  if ("toJSON" in value && typeof value.toJSON === "function") return plain(value.toJSON(), path, within);
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, plain(entry, `${path}.${key}`, within)]),
  );
}
