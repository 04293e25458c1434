// E1-E3: what arrives is what was sent, or it is refused by name; the input stays near its consumer and is ended.
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import vm from "node:vm";
import { decode } from "@everycore/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Input, Lead, encodeItem, encodedItems, range } from "../src/items.ts";

const sent = (item: unknown): unknown => decode(encodeItem(item, 0));

describe("items", () => {
  test.each([
    ["numbers", [0, 1, -1, 0.1, 2 ** 31, 2 ** 32, -(2 ** 40), 2 ** 53 - 1, 1e300, Infinity, -Infinity]],
    ["text", ["", "a", "ä€😀", "\u0000", "x".repeat(100_000)]],
    ["truth and nothing", [true, false, null]],
    ["large bigints", [2n ** 60n, -(2n ** 60n), 2n ** 63n - 1n, -(2n ** 63n)]],
    ["dates", [new Date(0), new Date(-1), new Date("2026-11-24T22:00:00.123Z"), new Date(8.64e15)]],
    ["objects of objects", [{ a: { b: [{ c: 1 }] }, "with space": 1 }, {}, [], [[]]]],
  ])("%s arrive as they were", (_what, items) => {
    for (const item of items) expect(sent(item)).toStrictEqual(item);
  });

  test("NaN arrives as NaN", () => expect(sent(Number.NaN)).toBeNaN());

  test("bytes arrive as bytes", () => {
    const bytes = sent({ deep: new Uint8Array([1, 2, 255]) }) as { deep: Uint8Array };
    expect(bytes.deep).toBeInstanceOf(Uint8Array);
    expect([...bytes.deep]).toEqual([1, 2, 255]);
  });

  test("an object of another realm or without a prototype is plain", () => {
    expect(sent(vm.runInNewContext("({ a: [1, { b: 2 }] })"))).toEqual({ a: [1, { b: 2 }] });
    expect(sent(Object.assign(Object.create(null), { a: 1 }))).toEqual({ a: 1 });
  });

  test("a property that is undefined is left out", () => {
    expect(sent({ a: undefined, b: 1 })).toStrictEqual({ b: 1 });
  });

  test("any JSON arrives as it was", () => {
    fc.assert(
      // -0 has no integer of its own in msgpack, and msgpackr makes an object's __proto__ a key of another name
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const json = JSON.stringify(value).replaceAll("-0", "0").replaceAll("__proto__", "proto");
        expect(sent(JSON.parse(json))).toStrictEqual(JSON.parse(json));
      }),
    );
  });

  class Point {
    x = 1;
  }
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  let deep: unknown = 1;
  for (let depth = 0; depth < 300; depth += 1) deep = [deep];
  test.each([
    [undefined, "item 7 is undefined"],
    [{ list: [1, undefined] }, "item 7: list[1] is undefined"],
    [{ a: { call: () => 1 } }, "item 7: a.call is a function"],
    [Symbol("mark"), "item 7 is a symbol"],
    [[new Map()], "item 7: [0] is a Map"],
    [new Set([1]), "item 7 is a Set"],
    [/x/, "item 7 is a RegExp"],
    [new Error("x"), "item 7 is a Error"],
    [Promise.resolve(1), "item 7 is a Promise"],
    [{ p: new Point() }, "item 7: p is a Point"],
    [new Float64Array(2), "item 7 is a Float64Array"],
    [new ArrayBuffer(2), "item 7 is a ArrayBuffer"],
    [new Date(Number.NaN), "item 7 is an invalid Date"],
    [5n, "item 7 is a bigint that would arrive as a number"],
    [2n ** 63n, "item 7 is a bigint beyond 64 bits"],
    ["\ud800", "item 7 is a string with half of a surrogate pair"],
    [circle, "item 7: self is circular"],
    [deep, "nested deeper than 200"],
  ])("%s is refused by name: %s", (item, words) => {
    expect(() => encodeItem(item, 7)).toThrow(expect.objectContaining({ code: "bad-input" }));
    expect(() => encodeItem(item, 7)).toThrow(words);
  });
});

test("a range counts from 0, or from its first to before its last, and is refused when it cannot be meant", () => {
  expect([...range(3)]).toEqual([0, 1, 2]);
  expect([...range(-2, 1)]).toEqual([-2, -1, 0]);
  expect([...range(0)]).toEqual([]);
  for (const [start, end] of [
    [2, 1],
    [0.5, 3],
    [0, Number.NaN],
    [0, 2 ** 60],
  ] as const)
    expect(() => range(start, end)).toThrow();
});

describe("an input", () => {
  const endless = (seen: { taken: number; isEnded: boolean }): AsyncGenerator<number> =>
    (async function* numbers() {
      try {
        for (;;) yield seen.taken++;
      } finally {
        seen.isEnded = true;
      }
    })();

  test("is never more than `ahead` items before its consumer (P7)", async () => {
    const seen = { taken: 0, isEnded: false };
    const lead = new Lead(5);
    const over = new AbortController();
    const source = encodedItems({ input: new Input(endless(seen)), lead, signal: over.signal })[
      Symbol.asyncIterator
    ]();
    let got = 0;
    const pump = (async () => {
      for (;;) {
        const next = await source.next();
        if (next.done === true) return;
        got += next.value.length;
      }
    })();
    pump.catch(() => {}); // it is awaited at the end
    for (const consumed of [0, 1, 2, 3]) {
      for (let turn = 0; turn < 20; turn += 1) await setImmediate();
      expect(seen.taken).toBe(5 + consumed);
      expect(got).toBe(5 + consumed);
      lead.consume();
    }
    over.abort(new Error("enough"));
    await expect(pump).rejects.toThrow("enough");
    expect(seen.isEnded).toBe(true);
  });

  test("that is an array is taken in lists, never more at once than there is room", async () => {
    const items = Array.from({ length: 3_000 }, (_, index) => index);
    const { signal } = new AbortController();
    const sizes: number[] = [];
    for await (const list of encodedItems({ input: new Input(items), lead: undefined, signal }))
      sizes.push(list.length);
    expect(sizes).toEqual([1_024, 1_024, 952]);
    const few = encodedItems({ input: new Input(items), lead: new Lead(10), signal })[Symbol.asyncIterator]();
    expect((await few.next()).value).toHaveLength(10);
    await few.return?.(undefined);
  });

  test("that waits is ended when the job is over, though nothing comes any more (E3)", async () => {
    const over = new AbortController();
    let isReturned = false;
    const items: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<IteratorResult<number>>(() => {}),
        return: () => {
          isReturned = true;
          return Promise.resolve({ done: true as const, value: undefined });
        },
      }),
    };
    const waiting = encodedItems({ input: new Input(items), lead: undefined, signal: over.signal })
      [Symbol.asyncIterator]()
      .next();
    waiting.catch(() => {}); // it is awaited below
    await setImmediate();
    over.abort(new Error("the job is over"));
    await expect(waiting).rejects.toThrow("the job is over");
    expect(isReturned).toBe(true);
  });

  test("that ends is not ended again, and what it throws comes through", async () => {
    let returns = 0;
    const counted = {
      [Symbol.iterator]: () => {
        let left = 2;
        return {
          next: () =>
            left-- > 0 ? { done: false as const, value: 1 } : { done: true as const, value: undefined },
          return: () => {
            returns += 1;
            return { done: true as const, value: undefined };
          },
        };
      },
    };
    const { signal } = new AbortController();
    for await (const list of encodedItems({ input: new Input(counted), lead: undefined, signal }))
      expect(list).toHaveLength(2);
    expect(returns).toBe(0);
    function* failing(): Generator<number> {
      yield 1;
      throw new RangeError("no more");
    }
    const reading = encodedItems({ input: new Input(failing()), lead: undefined, signal })
      [Symbol.asyncIterator]()
      .next();
    await expect(reading).rejects.toThrow(RangeError);
  });

  test("is begun at once, so that a stream that does not wait for its reader loses nothing", async () => {
    const lines = createInterface({ input: Readable.from(["one\ntwo\n", "three\n"]) });
    const input = new Input(lines);
    for (let turn = 0; turn < 20; turn += 1) await setImmediate();
    const { signal } = new AbortController();
    const seen: unknown[] = [];
    for await (const list of encodedItems({ input, lead: undefined, signal }))
      for (const bytes of list) seen.push(decode(bytes));
    expect(seen).toEqual(["one", "two", "three"]);
  });

  test("that cannot be iterated is refused", () => {
    for (const items of [5, null, undefined, {}])
      expect(() => new Input(items as never)).toThrow(expect.objectContaining({ code: "bad-input" }));
  });
});
