/**
 * Whole clusters by seed: the real cores of coordinators and agents on a simulated network, NATS, disk and clock.
 * 1,000 seeds, others each day, and every remembered one; a failure names its seed and the command that replays it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { faultsMin, freshSeeds, fullFrom, isGentle, itemsMin, wideFrom } from "./plan.ts";
import type { Report } from "./world.ts";
import { World } from "./world.ts";

const groupSize = 125;
const dayMs = 86_400_000;
const firstFresh = freshSeeds(Math.floor(Date.now() / dayMs), 8 * groupSize);
const groups = Array.from({ length: 8 }, (_, group) => firstFresh + group * groupSize);

/** Of message, process, network, disk, clock and item; all of them in any hundred seeds. */
const faultKinds = [
  ...["request lost", "request late", "answer lost", "lease lost", "lease late", "lease doubled"],
  ...["agent crash", "agent pause", "agent gone for good", "link break", "partition", "one-way partition"],
  ...["coordinator crash", "coordinator pause", "coordinator freeze", "clock jump", "outage"],
  ...["worker kill", "disk full", "storage pause", "drain", "task not loaded"],
];

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
  for (const { seed, items, nodes, faults } of reports) {
    expect(items, `items of seed ${seed}`).toBeGreaterThanOrEqual(itemsMin);
    expect(nodes >= 3 && nodes <= 8, `nodes of seed ${seed}`).toBe(true);
    const count = Object.values(faults).reduce((sum, of) => sum + of, 0);
    expect(count, `faults of seed ${seed}`).toBeGreaterThanOrEqual(faultsMin);
  }
  const happened = new Set(reports.flatMap(({ faults }) => Object.keys(faults)));
  expect(faultKinds.filter((kind) => !happened.has(kind))).toEqual([]);
  expect(reports.some((report) => report.stepsOfFormer > 0)).toBe(true);
  expect(reports.some((report) => report.takeovers > 1)).toBe(true);
  expect(reports.reduce((sum, report) => sum + report.records, 0)).toBeGreaterThan(1_000);
  expect(reports.some((report) => report.pauses > 0)).toBe(true);
  expect(reports.some((report) => report.openPauses > 0)).toBe(true);
  expect(reports.some((report) => report.quarantines > 0)).toBe(true);
  expect(reports.some((report) => report.doubles > 0)).toBe(true);
  expect(reports.some((report) => report.differing > 0)).toBe(true);
  expect(reports.some((report) => report.checked > 0 && report.differing === 0)).toBe(true);
});

test.for(remembered)("remembered seed %d", (seed) => {
  expect(play(seed).steps).toBeGreaterThan(100);
});

test("a seed is a whole history: played twice it is the same to the step", () => {
  for (const seed of [3, 30, 65, fullFrom + 3, fullFrom + 8]) expect(play(seed)).toEqual(play(seed));
});

test("every fifth seed has nothing but takeovers, broken links and drains, and in it nothing that runs is started again (P3)", () => {
  const seeds = Array.from({ length: 40 }, (_, at) => wideFrom + 5 * (at + 100));
  expect(seeds.every(isGentle)).toBe(true);
  const reports = seeds.map((seed) => play(seed));
  const sum = (of: (report: Report) => number): number =>
    reports.reduce((all, report) => all + of(report), 0);
  expect(sum(({ takeovers }) => takeovers)).toBeGreaterThan(2 * seeds.length);
  expect(sum(({ faults }) => faults["drain"] ?? 0)).toBeGreaterThan(seeds.length / 2);
});
