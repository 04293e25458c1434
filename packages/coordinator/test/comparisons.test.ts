// Two outcomes of a log are the same when status, codec and bytes are, however they are cut into messages.
import type { JobId, NodeId, SegmentId } from "@everycore/protocol";
import { codecs, encode, EverycoreError, packEntries, packOutcome, subjects } from "@everycore/protocol";
import { expect, test } from "vitest";
import type { Body } from "../src/data/bodies.ts";
import type { Compare } from "../src/data/comparisons.ts";
import { areEqual } from "../src/data/comparisons.ts";

const job = "0123456789abcdef0123" as JobId;
const segment = "s1" as SegmentId;
const [a, b] = ["a", "b"].map((name) => name.repeat(16) as NodeId) as [NodeId, NodeId];

class Log {
  readonly bodies = new Map<number, Body>();

  add(data: Buffer, of: JobId = job): number {
    this.bodies.set(this.bodies.size + 1, { subject: subjects.log(segment, a, of), data });
    return this.bodies.size;
  }

  get(_segment: SegmentId, seq: number): Promise<Body> {
    const body = this.bodies.get(seq);
    if (body === undefined) return Promise.reject(new EverycoreError("not-found", "gone"));
    return Promise.resolve(body);
  }

  chunked(pieces: readonly Buffer[], codec: number = codecs.raw, of: JobId = job): Buffer {
    const seqs = pieces.map((piece) => this.add(piece, of));
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    return packOutcome(0, codecs.chunked, 1, encode({ codec, bytes, seqs }));
  }

  async compare(first: Buffer, second: Buffer): Promise<boolean | undefined> {
    const other = packOutcome(0, codecs.json, 1, Buffer.from("0"));
    const one = { node: a, seq: this.add(packEntries([other, first])), entry: 1 };
    const two = { node: b, seq: this.add(packEntries([second, other])), entry: 0 };
    return this.ask({ first: one, second: two });
  }

  ask(places: Pick<Compare, "first" | "second">): Promise<boolean | undefined> {
    return areEqual(
      { kind: "compare", job, segment, index: 7, ...places },
      this,
      new AbortController().signal,
    );
  }
}

const json = (text: string, micros = 1): Buffer => packOutcome(0, codecs.json, micros, Buffer.from(text));

test("the same value is the same, whatever time it took", async () => {
  expect(await new Log().compare(json("[1,2]", 5), json("[1,2]", 90_000))).toBe(true);
});

test.each([
  ["value", json("[1,3]")],
  ["length", json("[1,2] ")],
  ["codec", packOutcome(0, codecs.utf8, 1, Buffer.from("[1,2]"))],
  ["status", packOutcome(1, codecs.json, 1, Buffer.from("[1,2]"))],
  ["cut head", Buffer.from([0])],
])("another %s differs", async (_, second) => {
  expect(await new Log().compare(json("[1,2]"), second)).toBe(false);
});

test("large values are compared piece by piece, wherever they were cut", async () => {
  const bytes = Buffer.from(Array.from({ length: 1_000 }, (_, at) => at % 251));
  const cut = (...at: number[]): Buffer[] =>
    [0, ...at].map((from, n) => bytes.subarray(from, at[n] ?? bytes.length));
  const log = new Log();
  expect(await log.compare(log.chunked(cut(300, 700)), log.chunked(cut(500)))).toBe(true);
  expect(await log.compare(log.chunked(cut(300)), packOutcome(0, codecs.raw, 1, bytes))).toBe(true);
  const other = Buffer.from(bytes);
  other[999]! ^= 1;
  expect(await log.compare(log.chunked(cut(300)), log.chunked([other]))).toBe(false);
  expect(await log.compare(log.chunked(cut(300)), log.chunked(cut(300), codecs.py))).toBe(false);
});

test("pieces of another job are none of the value's", async () => {
  const log = new Log();
  const foreign = log.chunked([Buffer.from("x")], codecs.raw, "f".repeat(20) as JobId);
  expect(await log.compare(foreign, foreign)).toBe(false);
});

test("what is gone from the log is neither the same nor another", async () => {
  const log = new Log();
  const here = { node: a, seq: log.add(packEntries([json("1")])), entry: 0 };
  expect(await log.ask({ first: here, second: { node: b, seq: 99, entry: 0 } })).toBeUndefined();
});
