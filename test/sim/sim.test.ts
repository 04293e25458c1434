/**
 * Whole clusters by seed: the real cores of coordinators and agents on a simulated network, NATS, disk and clock.
 * 1,000 seeds, and every remembered one; a failure names its seed and the command that replays it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isTakeoverOnly } from "./plan.ts";
import type { Report } from "./world.ts";
import { World } from "./world.ts";

const groupSize = 125;
const groups = Array.from({ length: 8 }, (_, group) => 1 + group * groupSize);

const remembered = readFileSync(join(import.meta.dirname, "seeds.txt"), "utf8")
  .split("\n")
  .filter((line) => /^\d/.test(line))
  .map((line) => Number.parseInt(line, 10));

function play(seed: number): Report {
  try {
    return new World(seed).run();
  } catch (error) {
    throw new Error(`seed ${seed} broke; replay it: node test/sim/replay.ts ${seed}`, { cause: error });
  }
}

test.for(groups)("125 seeds from %d keep P1 to P7", (first) => {
  const reports = Array.from({ length: groupSize }, (_, at) => play(first + at));
  // A simulator in which nothing happens proves nothing.
  expect(reports.some((report) => report.takeovers > 1)).toBe(true);
  expect(reports.reduce((sum, report) => sum + report.records, 0)).toBeGreaterThan(1_000);
  expect(reports.some((report) => report.pauses > 0)).toBe(true);
  expect(reports.some((report) => report.openPauses > 0)).toBe(true);
  expect(reports.some((report) => report.quarantines > 0)).toBe(true);
});

test.for(remembered)("remembered seed %d", (seed) => {
  expect(play(seed).steps).toBeGreaterThan(100);
});

test("a seed is a whole history: played twice it is the same to the step", () => {
  for (const seed of [3, 30, 65]) expect(play(seed)).toEqual(play(seed));
});

test("every fifth seed has takeovers only, and in it nothing that runs is started again (P3)", () => {
  const seeds = Array.from({ length: 40 }, (_, at) => 5 * (at + 100));
  expect(seeds.every(isTakeoverOnly)).toBe(true);
  const takeovers = seeds.map((seed) => play(seed).takeovers);
  expect(takeovers.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(2 * seeds.length);
});
