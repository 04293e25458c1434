// Blocks of items and outcomes: what is packed comes out again, and hostile bytes are refused with a sentence.
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decode,
  encode,
  EverycoreError,
  packEntries,
  PackedEntries,
  packOutcome,
  parseChunked,
  unpackOutcome,
} from "../src/index.ts";

const entries = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 });

test("entries come out as they went in, one by one and as slices", () => {
  fc.assert(
    fc.property(entries, fc.nat(20), fc.nat(20), (given, a, b) => {
      const packed = new PackedEntries(packEntries(given));
      expect(packed.count).toBe(given.length);
      for (const [at, entry] of given.entries()) expect(new Uint8Array(packed.entry(at))).toEqual(entry);
      const from = Math.min(a, b, given.length);
      const to = Math.min(Math.max(a, b), given.length);
      const part = new PackedEntries(packed.slice(from, to));
      expect(part.count).toBe(to - from);
      for (let at = from; at < to; at += 1) expect(new Uint8Array(part.entry(at - from))).toEqual(given[at]!);
    }),
  );
});

test("an entry that is not there is refused", () => {
  const packed = new PackedEntries(packEntries([new Uint8Array([1])]));
  for (const at of [-1, 1, 2 ** 31, Number.NaN]) expect(() => packed.entry(at)).toThrow(EverycoreError);
});

/** Runs `act`; whatever it throws must be ours. */
function onlyOurErrors(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof EverycoreError)) throw error;
    expect(error.code).toBe("bad-input");
  }
}

test("hostile bytes are refused or read within their bounds, never worse", () => {
  const readAll = (bytes: Uint8Array): void => {
    const packed = new PackedEntries(bytes);
    for (let at = 0; at < packed.count; at += 1) packed.entry(at);
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => onlyOurErrors(() => readAll(bytes))),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(entries, fc.nat(400), fc.nat(255), (given, at, byte) => {
      const bytes = packEntries(given);
      bytes[at % bytes.length] = byte;
      onlyOurErrors(() => readAll(bytes));
    }),
    { numRuns: 3_000 },
  );
  expect(() => new PackedEntries(new Uint8Array(0))).toThrow("malformed block");
  // A count that would ask for a table of 16 GB.
  expect(() => new PackedEntries(Buffer.from([255, 255, 255, 255, 0, 0, 0, 0]))).toThrow("malformed block");
});

test("an outcome keeps status, codec, time and payload; its time saturates", () => {
  fc.assert(
    fc.property(
      fc.nat(255),
      fc.nat(255),
      fc.integer({ min: 0, max: 2 ** 33 }),
      fc.uint8Array({ maxLength: 30 }),
      (status, codec, micros, payload) => {
        const entry = unpackOutcome(packOutcome(status, codec, micros, payload));
        expect([entry.status, entry.codec]).toEqual([status, codec]);
        expect(entry.micros).toBe(Math.min(micros, 0xffff_ffff));
        expect(new Uint8Array(entry.payload)).toEqual(payload);
      },
    ),
  );
  expect(() => unpackOutcome(Buffer.from([0, 1, 2]))).toThrow("shorter than its head");
});

test("the reference to chunks is read, and refused when it is anything else", () => {
  const chunked = { codec: 3, bytes: 12, seqs: [4, 5] };
  expect(parseChunked(encode(chunked))).toEqual(chunked);
  fc.assert(
    fc.property(fc.anything(), (value) => {
      let bytes: Buffer;
      try {
        bytes = encode(value);
      } catch {
        return; // what cannot be packed cannot arrive
      }
      onlyOurErrors(() => void parseChunked(bytes));
    }),
  );
});

test("msgpack gives back plain data, integers beyond 32 bits and bytes", () => {
  for (const value of [0, -1, 2 ** 32, 2 ** 53 - 1, "é🦊", true, null, [1, [2]], { a: { b: 1 } }]) {
    expect(decode(encode(value))).toEqual(value);
  }
  expect(decode(encode({ a: undefined }))).toEqual({ a: null });
  expect(Buffer.from(decode(encode(Buffer.from([1, 2]))) as Uint8Array)).toEqual(Buffer.from([1, 2]));
  expect(() => decode(Buffer.from([0x93, 1]))).toThrow(EverycoreError);
  expect(() => decode(Buffer.concat([encode(1), encode(2)]))).toThrow(EverycoreError);
});
