/**
 * Reductions in real hosts: the fixed tree of spans gives the same bytes for any slicing (P6), retries happen in
 * place, items without a value are counted, and a combine that throws is a death, not an outcome.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { codecs, decode, isSpan, packEntries, recordStatus } from "@everycore/protocol";
import type { SlotRecord } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { errorOf, startHost } from "./host.ts";
import type { Host } from "./host.ts";

// Strings show the tree itself; floats would differ in their last bits when it changes.
const js = `
let tries = 0;
export const text = (n) => String(n);
export const float = (n) => 1 / (n + 1) ** 3;
export const gaps = (n) => { if (n % 3 === 1) throw new Error("gap"); return String(n); };
export const none = () => { throw new Error("none"); };
export const third = (n) => { tries += 1; if (n === 1 && tries < 4) throw new Error("try " + tries); return String(n); };
export const join = async (a, b) => "(" + a + " " + b + ")";
export const add = (a, b) => a + b;
export const broken = () => { throw new Error("no sum"); };
`;
const python = `
tries = 0
def text(n): return str(n)
def float(n): return 1 / (n + 1) ** 3
def gaps(n):
    if n % 3 == 1: raise ValueError("gap")
    return str(n)
def none(n): raise ValueError("none")
def third(n):
    global tries
    tries += 1
    if n == 1 and tries < 4: raise ValueError("try")
    return str(n)
def join(a, b): return f"({a} {b})"
def add(a, b): return a + b
def broken(a, b): raise ValueError("no sum")
`;
const cases = [
  { runtime: "js", files: { "task.mjs": js }, entry: "task.mjs" },
  { runtime: "python", files: { "task_of_test.py": python }, entry: "task_of_test" },
] as const;

const slicings = [
  [0, 13],
  [0, 5, 13],
  [0, 1, 2, 3, 7, 8, 12, 13],
  [0, 4, 8, 13],
  [0, 6, 7, 13],
];

/** Partials as a coordinator packs them for the last item of a reduction. */
function packed(partials: readonly SlotRecord[]): Buffer {
  return packEntries(
    partials.map(({ index, codec, payload }) => {
      const head = Buffer.alloc(14);
      head.writeBigUInt64LE(BigInt(index), 0);
      payload.copy(head, 8, 0, 5); // u8 level | u32 missing
      head[13] = codec;
      return Buffer.concat([head, payload.subarray(5)]);
    }),
  );
}

/** Runs [0, 13) in the given slices, then the combination of all partials. */
async function reduced(host: Host, cuts: readonly number[], slice: { number: number }): Promise<SlotRecord> {
  const partials: SlotRecord[] = [];
  for (const [at, start] of cuts.slice(0, -1).entries()) {
    const records = await host.run((slice.number += 1), start, cuts[at + 1]!, { reduced: true });
    partials.push(...records.filter(({ status }) => status === recordStatus.partial));
  }
  const path = join(host.dir, `partials-${slice.number}`);
  writeFileSync(path, packed(partials));
  const number = (slice.number += 1);
  const [record] = await host.run(number, 13, 14, { partials: path, reduced: true });
  expect(record).toMatchObject({ index: 13, status: 0 });
  return record!;
}

describe.each(cases)("$runtime", ({ runtime, files, entry }) => {
  const loaded = async (name: string, reduce: string, retries = 0) => {
    const host = await startHost(runtime, { files });
    expect(await host.load({ entry, export: name, reduce, retries })).toEqual({ t: "loaded" });
    return host;
  };

  test("a slice appends one record an item, then the maximal spans that it ran", async () => {
    const host = await loaded("gaps", "join");
    const records = await host.run(1, 2, 12, { reduced: true, limit: 7 });
    expect(records.slice(0, 5).map(({ index, status }) => [index, status])).toEqual(
      [2, 3, 4, 5, 6].map((index) => [index, index === 4 ? 1 : recordStatus.counted]),
    );
    const spans = records.slice(5).map(({ index, payload, codec }) => {
      expect(isSpan(index, index + 2 ** payload[0]!)).toBe(true);
      const bytes = payload.subarray(5);
      const value = codec === codecs.msgpack ? decode(bytes) : bytes.length;
      return [index, payload[0], payload.readUInt32LE(1), value];
    });
    expect(spans).toEqual([
      [2, 1, 0, "(2 3)"],
      [4, 1, 1, "5"],
      [6, 0, 0, "6"],
    ]);
  });

  test.each(["text", "float", "gaps", "none"])("%s: the same bytes for any slicing (P6)", async (name) => {
    const host = await loaded(name, name === "float" ? "add" : "join");
    const number = { number: 0 };
    const results: SlotRecord[] = [];
    for (const cuts of slicings) results.push(await reduced(host, cuts, number));
    for (const { payload, codec } of results) {
      expect([codec, payload.toString("hex")]).toEqual([codecs.msgpack, results[0]!.payload.toString("hex")]);
    }
    const value = decode(results[0]!.payload);
    if (name === "text") expect(value).toBe("((((0 1) (2 3)) ((4 5) (6 7))) (((8 9) (10 11)) 12))");
    if (name === "gaps") expect(value).toBe("(((0 (2 3)) (5 6)) (((8 9) 11) 12))");
    if (name === "none") expect(value).toBeNull();
  });

  test("retries happen in place, and the last try decides", async () => {
    const enough = await loaded("third", "join", 2);
    const good = await enough.run(1, 0, 2, { reduced: true });
    expect(good.map(({ status }) => status)).toEqual([16, 16, 17]);
    const short = await loaded("third", "join", 1);
    const [, bad, partial] = await short.run(1, 0, 2, { reduced: true });
    expect(bad!.status).toBe(1);
    expect(errorOf(bad!).kind).toBe("error");
    expect(partial!.payload.readUInt32LE(1)).toBe(1);
  });

  test("a combine that throws ends the worker with its reason, and leaves no partial", async () => {
    const host = await loaded("text", "broken");
    host.slice(1, 0, 4, { reduced: true });
    const [code] = await host.exited;
    expect(code).toBe(1);
    expect(await host.stderr).toContain("no sum");
    expect(host.items().filter(({ status }) => status === recordStatus.partial)).toEqual([]);
  });

  test("a combine that throws at the end of the tree is the error of the reduction's item", async () => {
    const host = await loaded("text", "broken");
    const path = join(host.dir, "partials");
    const one = async (slice: number, at: number) =>
      (await host.run(slice, at, at + 1, { reduced: true }))[1]!;
    writeFileSync(path, packed([await one(1, 0), await one(2, 1)]));
    const [record] = await host.run(3, 2, 3, { partials: path, reduced: true });
    expect(errorOf(record!).message).toContain("no sum");
  });
});
