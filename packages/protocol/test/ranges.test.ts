// IntervalSet and LevelSet against the naive thing they stand for: a Set of indices, a Map of counters.
import fc from "fast-check";
import { expect, test } from "vitest";
import { IntervalSet, LevelSet, sizeOf } from "../src/index.ts";
import type { Range } from "../src/index.ts";

const indicesMax = 60;

const range = fc
  .tuple(fc.integer({ min: 0, max: indicesMax }), fc.integer({ min: 0, max: indicesMax }))
  .map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }));

const all = Array.from({ length: indicesMax + 1 }, (_, index) => index);
const within = ({ start, end }: Range): number[] => all.filter((index) => index >= start && index < end);
const indicesOf = (ranges: Iterable<Range>): number[] => [...ranges].flatMap(within);

const setActions = fc.array(fc.record({ act: fc.constantFrom("add", "add", "remove"), range }), {
  maxLength: 30,
});

/** Disjoint, sorted, none empty, none adjacent: adjacent intervals would cost memory for nothing. */
function expectNormal(ranges: readonly Range[]): void {
  for (const [at, { start, end }] of ranges.entries()) {
    expect(start).toBeLessThan(end);
    if (at > 0) expect(start).toBeGreaterThan(ranges[at - 1]!.end);
  }
}

test("an interval set holds what a set of indices holds, whatever is added and removed", () => {
  fc.assert(
    fc.property(setActions, (actions) => {
      const set = new IntervalSet();
      const model = new Set<number>();
      for (const { act, range: part } of actions) {
        const before = model.size;
        for (const index of within(part)) {
          if (act === "add") model.add(index);
          else model.delete(index);
        }
        const changed = act === "add" ? set.add(part.start, part.end) : set.remove(part.start, part.end);
        expect(changed).toBe(Math.abs(model.size - before));
        expect(set.size).toBe(model.size);
        expect(set.isEmpty).toBe(model.size === 0);
        expectNormal(set.toRanges());
        expect(indicesOf(set)).toEqual(all.filter((index) => model.has(index)));
        expect(set.intervalCount).toBe(set.toRanges().length);
      }
      expect(set.first()).toEqual(set.toRanges()[0]);
      expect(set.last()).toEqual(set.toRanges().at(-1));
      expect(set.clone().toRanges()).toEqual(set.toRanges());
      for (const index of all) expect(set.has(index)).toBe(model.has(index));
    }),
    { numRuns: 500 },
  );
});

test("questions about a part of an interval set are answered as a set of indices would", () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), range, (parts, asked) => {
      const set = IntervalSet.of(parts);
      const inside = within(asked);
      const held = inside.filter((index) => set.has(index));
      expect(set.intersects(asked.start, asked.end)).toBe(held.length > 0);
      expect(set.covers(asked.start, asked.end)).toBe(held.length === inside.length);
      expect(indicesOf(set.within(asked.start, asked.end))).toEqual(held);
      expectNormal(set.within(asked.start, asked.end));
      const missing = set.missingIn(asked.start, asked.end);
      expect(indicesOf(missing)).toEqual(inside.filter((index) => !set.has(index)));
      expectNormal(missing);
      expect(sizeOf(missing) + held.length).toBe(inside.length);
      const next = all.find((index) => index >= asked.start && set.has(index));
      expect(set.fromIndex(asked.start)?.start).toBe(next);
    }),
    { numRuns: 500 },
  );
});

test("an interval set cleared is empty and can be used again", () => {
  const set = IntervalSet.of([{ start: 3, end: 9 }]);
  set.clear();
  expect(set.toRanges()).toEqual([]);
  expect(set.add(1, 2)).toBe(1);
  expect(set.size).toBe(1);
});

test("ten million items are one interval", () => {
  const set = new IntervalSet();
  for (let at = 0; at < 10_000_000; at += 100_000) set.add(at, at + 100_000);
  expect(set.intervalCount).toBe(1);
  expect(set.size).toBe(10_000_000);
});

const levelActions = fc.array(
  fc.record({ act: fc.constantFrom("raise", "raise", "raise", "clear"), range }),
  { maxLength: 30 },
);

test("a level set counts as a map of counters does", () => {
  fc.assert(
    fc.property(levelActions, range, (actions, asked) => {
      const set = new LevelSet();
      const model = new Map<number, number>();
      for (const { act, range: part } of actions) {
        if (act === "raise") set.raise(part.start, part.end);
        else set.clear(part.start, part.end);
        for (const index of within(part)) {
          if (act === "raise") model.set(index, (model.get(index) ?? 0) + 1);
          else model.delete(index);
        }
      }
      for (const index of all) expect(set.level(index)).toBe(model.get(index) ?? 0);
      expect(set.size).toBe(model.size);
      const runs = set.within(asked.start, asked.end);
      expect(indicesOf(runs)).toEqual(within(asked).filter((index) => model.has(index)));
      for (const run of runs) for (const index of within(run)) expect(run.level).toBe(model.get(index));
      expect(indicesOf(set.runs())).toEqual(all.filter((index) => model.has(index)));
      if (asked.start < asked.end) {
        const run = set.run(asked.start, asked.end);
        expect(run.start).toBe(asked.start);
        expect(run.end).toBeGreaterThan(run.start);
        for (const index of within(run)) expect(model.get(index) ?? 0).toBe(run.level);
        if (run.end < asked.end) expect(model.get(run.end) ?? 0).not.toBe(run.level);
      }
    }),
    { numRuns: 500 },
  );
});
