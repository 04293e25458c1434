/**
 * The real cores of coordinator and agents on a simulated world: 200 seeds of faults, and every remembered one.
 * A failure names its seed and the command that replays it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { simulate } from "./simulate.ts";

const remembered = readFileSync(join(import.meta.dirname, "seeds.txt"), "utf8")
  .split("\n")
  .filter((line) => /^\d/.test(line))
  .map((line) => Number.parseInt(line, 10));

test.for(remembered)("remembered seed %d keeps P1, P2, P4 and P5", (seed) => {
  expect(simulate(seed).records).toBeGreaterThan(0);
});

/** Seeds 1 to 200, in groups, so that a failure is soon seen and a group stays within the runner's patience. */
const groups = Array.from({ length: 10 }, (_, group) => 1 + group * 20);

test.for(groups)("20 seeds from %d keep P1, P2, P4 and P5", { timeout: 120_000 }, (first) => {
  let faults = 0;
  for (let seed = first; seed < first + 20; seed += 1) faults += simulate(seed).faults;
  // A simulator that injects nothing proves nothing.
  expect(faults).toBeGreaterThan(10);
});

test("the same seed gives the same run, to the step", () => {
  expect(simulate(42)).toEqual(simulate(42));
});
