// The sample of an audit: any leader draws the same, whatever it has read and in which steps; bounded; of the share.
import fc from "fast-check";
import { expect, test } from "vitest";
import { limits } from "@everycore/protocol";
import type { SampleSeed } from "../../src/core/sample.ts";
import { Sample } from "../../src/core/sample.ts";

const seeds = fc.tuple(fc.nat(), fc.nat(), fc.nat(), fc.nat());
const seedOf = (n: number): SampleSeed => [n, n * 7 + 1, n ^ 0x5555, 12_345];

/** Asked for in whatever steps, the last one to the end. */
function drawn(sample: Sample, total: number, steps: readonly number[]): number[] {
  for (const step of steps) sample.within(Math.max(0, step - 10), step);
  return sample.within(0, total);
}

test("any leader draws the same, in whatever steps", () => {
  fc.assert(
    fc.property(
      seeds,
      fc.double({ min: 0.001, max: 1, noNaN: true }),
      fc.array(fc.nat(40_000), { maxLength: 20 }),
      (seed, share, steps) => {
        const total = 40_000;
        const once = drawn(new Sample(seed, share, undefined), total, []);
        expect(drawn(new Sample(seed, share, undefined), total, steps)).toEqual(once);
        expect(once.length).toBeLessThanOrEqual(limits.spotChecksMax);
        expect(once.every((index, at) => at === 0 || index > once[at - 1]!)).toBe(true);
      },
    ),
    { numRuns: 60 },
  );
});

test("holds the share that was asked for, all items at 100%, and none twice", () => {
  const found = new Sample(seedOf(1), 0.01, 100_000).within(0, 100_000);
  expect(found.length).toBeGreaterThan(850);
  expect(found.length).toBeLessThan(1_150);
  expect(new Sample(seedOf(2), 1, 500).within(0, 500)).toEqual(Array.from({ length: 500 }, (_, at) => at));
  expect(new Sample(seedOf(3), 1, undefined).within(100, 103)).toEqual([100, 101, 102]);
});

test("two jobs have two samples", () => {
  const [one, other] = [1, 2].map((n) => new Sample(seedOf(n), 0.1, 1_000).within(0, 1_000));
  expect(one).not.toEqual(other);
});

test.each([
  ["known beforehand", 2_000_000],
  ["not known", undefined],
])("is bounded and spread over the job where its size is %s", (_, known) => {
  const total = 2_000_000;
  const sample = new Sample(seedOf(4), 0.5, known);
  for (let at = 0; at <= total; at += 50_000) sample.within(at, at);
  const found = sample.within(0, total);
  expect(found.length).toBeLessThanOrEqual(limits.spotChecksMax);
  expect(found.length).toBeGreaterThan(limits.spotChecksMax * 0.8);
  for (let part = 0; part < 10; part += 1) {
    const inPart = found.filter((index) => Math.floor((index * 10) / total) === part).length;
    expect(Math.abs(inPart / found.length - 0.1)).toBeLessThan(0.02);
  }
});

test("a job of 2^40 items costs no more than its sample", () => {
  const sample = new Sample(seedOf(5), 0.01, 2 ** 40);
  const found = sample.within(0, 2 ** 40);
  expect(found.length).toBeGreaterThan(limits.spotChecksMax * 0.8);
  expect(sample.has(found[7]!)).toBe(true);
  expect(sample.has(found[7]! + 1)).toBe(found.includes(found[7]! + 1));
});
