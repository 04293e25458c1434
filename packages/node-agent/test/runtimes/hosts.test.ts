/** What the host of every language keeps: limits, one record an item, errors, bad exports, blocks, large values. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { codecs, decode, packEntries, page, phases, readU64 } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { errorOf, startHost } from "./host.ts";

interface Case {
  readonly runtime: "js" | "python";
  readonly files: Readonly<Record<string, string>>;
  readonly entry: string;
}

const js = `
export const twice = (n) => { if (n === 3) throw new TypeError("three"); return n * 2; };
export const same = (item) => item;
export const many = (n) => "x".repeat(n);
export const slow = () => new Promise((resolve) => setTimeout(resolve, 5));
export const notOne = 7;
`;
const python = `
import time
def twice(n):
    if n == 3: raise TypeError("three")
    return n * 2
def same(item): return item
def many(n): return "x" * n
def slow(n): time.sleep(0.005)
notOne = 7
`;
const cases: Case[] = [
  { runtime: "js", files: { "task.mjs": js }, entry: "task.mjs" },
  { runtime: "python", files: { "task_of_test.py": python }, entry: "task_of_test" },
];

describe.each(cases)("$runtime host", ({ runtime, files, entry }) => {
  const loaded = async (name: string) => {
    const host = await startHost(runtime, { files });
    expect(await host.load({ entry, export: name })).toEqual({ t: "loaded" });
    return host;
  };

  test("runs up to the limit, one record an item, errors included", async () => {
    const host = await loaded("twice");
    host.slice(1, 0, 10, { limit: 5 });
    expect(await host.next()).toMatchObject({ t: "sliceEnded", slice: 1, at: 5 });
    const items = host.items();
    expect(items.map((item) => item.index)).toEqual([0, 1, 2, 3, 4]);
    expect(items.map((item) => item.status)).toEqual([0, 0, 0, 1, 0]);
    expect(decode(items[4]!.payload)).toBe(8);
    expect(errorOf(items[3]!)).toMatchObject({ kind: "error", name: "TypeError", message: "three" });
    expect(host.phase()).toBe(phases.idle);
    expect((await host.stop())[0]).toBe(0);
  });

  test("a limit at the start of a slice runs nothing", async () => {
    const host = await loaded("twice");
    host.slice(1, 4, 10, { limit: 4 });
    expect(await host.next()).toMatchObject({ t: "sliceEnded", at: 4 });
    expect(host.items()).toEqual([]);
  });

  test.each([
    ["thrice", "twice"],
    ["notOne", "not a function"],
  ])("the export %s is refused once", async (name, said) => {
    const host = await startHost(runtime, { files });
    const answer = await host.load({ entry, export: name });
    expect(answer["t"]).toBe("initFailed");
    expect(errorOf(answer).message).toContain(said);
    expect(host.phase()).toBe(phases.idle);
    expect((await host.stop())[0]).toBe(0);
  });

  test("items come from two block files, the tail of one and the head of the next", async () => {
    const host = await loaded("same");
    const blocks = [
      ["a", "b", "c"],
      ["d", "e", "f"],
    ].map((texts, at) => {
      const path = join(host.dir, `block-${at}`);
      writeFileSync(path, packEntries(texts.map((text) => Buffer.from(text))));
      return { path, first: 100 + 3 * at, count: 3 };
    });
    const records = await host.run(1, 101, 105, { codec: codecs.utf8, files: blocks });
    expect(records.map((record) => record.index)).toEqual([101, 102, 103, 104]);
    expect(records.map((record) => decode(record.payload))).toEqual(["b", "c", "d", "e"]);
  });

  test("an index beyond 2^32 is an index like any other", async () => {
    const host = await loaded("same");
    const start = 2 ** 33 + 1;
    const path = join(host.dir, "block");
    writeFileSync(path, packEntries([Buffer.from("a"), Buffer.from("b")]));
    const files = [{ path, first: start, count: 2 }];
    const records = await host.run(1, start, start + 2, { codec: codecs.utf8, files });
    expect(records.map((record) => record.index)).toEqual([start, start + 1]);
    expect(decode((await host.run(2, start, start + 1))[0]!.payload)).toBe(start);
  });

  test("an item that cannot be decoded is its error, and costs its neighbours nothing", async () => {
    const host = await loaded("same");
    const block = packEntries(["[1]", "[1", "[2]"].map((text) => Buffer.from(text)));
    const records = await host.run(1, 0, 3, { codec: codecs.json, block });
    expect(records.map((record) => record.status)).toEqual([0, 1, 0]);
  });

  test.each([65_536, 65_537, 20_000_000])("a value of %d characters is whole", async (size) => {
    const host = await loaded("many");
    const block = packEntries([Buffer.from(String(size)), Buffer.from("1")]);
    const records = await host.run(1, 0, 2, { codec: codecs.json, block });
    expect(records.map((record) => (decode(record.payload) as string).length)).toEqual([size, 1]);
  });

  test("says how long an item took, and leaves the slice that runs in its page", async () => {
    const host = await loaded("slow");
    host.slice(7, 0, 2);
    expect(await host.next()).toMatchObject({ t: "sliceEnded", slice: 7, busyMs: expect.any(Number) });
    for (const { micros } of host.items()) expect(micros).toBeGreaterThan(4_000);
    expect(readU64(host.page(), page.sliceAt)).toBe(7);
  });

  test("it ends when its agent is gone", async () => {
    const host = await loaded("twice");
    host.leave();
    expect((await host.exited)[0]).toBe(0);
  });
});
