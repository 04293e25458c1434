// The instruments themselves: numbers that are wrong look like numbers that are right.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { sumOf, takeSnapshot, usageBetween } from "./process-tree.ts";
import { logNormalMs, median, percentile } from "./statistics.ts";

test("medians and percentiles are those of the sorted values", () => {
  expect(median([5, 1, 3])).toBe(3);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  const hundred = Array.from({ length: 100 }, (_, at) => 100 - at);
  expect([0, 0.5, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([1, 50, 99, 100]);
});

test("log-normal items are the same in every run, about as long as asked, heaviest last", () => {
  const options = { count: 1_500, meanMs: 4, sigma: 1, seed: 1 };
  const values = logNormalMs(options);
  expect(values).toEqual(logNormalMs(options));
  expect(values).toHaveLength(1_500);
  expect(values.at(-1)).toBe(Math.max(...values));
  const mean = values.reduce((sum, ms) => sum + ms, 0) / values.length;
  expect(mean).toBeGreaterThan(3.6);
  expect(mean).toBeLessThan(4.4);
});

/**
 * Goal: CPU time of children of children counts once, whether they have ended or not. Method: a shell with a child
 * that burns 300 ms and ends; the shell stays until its stdin closes.
 */
test("a process that came and went is counted once, with whoever waited for it", async () => {
  const burn =
    "const used = () => { const { user, system } = process.cpuUsage(); return user + system; };" +
    "const end = used() + 300_000; while (used() < end);";
  const before = takeSnapshot();
  const shell = spawn("sh", ["-c", '"$0" -e "$1"; echo burnt; read line', process.execPath, burn], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(shell.stdout, "data");
  const used = usageBetween(before, takeSnapshot());
  shell.stdin.end();
  await once(shell, "exit");
  expect(used["ended workers"]).toBeGreaterThan(0.28);
  expect(sumOf(used)).toBeLessThan(0.55);
});
