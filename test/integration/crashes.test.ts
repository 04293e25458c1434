// P4: one crash costs one item. However a worker dies, the item is named and its neighbours keep their outcomes.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { everycore } from "../support/command.ts";
import { RunLog, collect, runJob, submit, taskFile, upTo, valuesOf } from "../support/jobs.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 2, slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const neighbours = upTo(12).map((index) => (index === 5 ? "crash" : index));

describe("a worker that dies", () => {
  const deaths: [string, RegExp][] = [
    ["deaths.ts:segfault", /SIGSEGV/],
    ["deaths.ts:exits", /exit(ed)?.*7|code 7/],
    ["deaths.ts:killed", /SIGKILL/],
    ["deaths.ts:throwsLater", /exit|code/],
    ["plain.py:segfault", /SIGSEGV/],
    ["plain.py:leaves", /exit(ed)?.*7|code 7/],
  ];
  for (const [task, how] of deaths) {
    test(`${task}: item 5 is named with how it died, the others end well`, async () => {
      const { outcomes, info } = await runJob(cluster.client, { task, range: [0, 11] });
      expect(valuesOf(outcomes)).toEqual(neighbours);
      expect(outcomes[5]!.error().message).toMatch(how);
      expect(info).toMatchObject({ state: "done", counts: { value: 11, crash: 1 }, strikes: 2 });
    });
  }
});

test("a crash brings the last lines of stderr", async () => {
  const { outcomes } = await runJob(cluster.client, { task: "deaths.ts:segfault", range: [0, 7] });
  expect(outcomes[5]!.error()).toMatchObject({
    kind: "crash",
    signal: "SIGSEGV",
    stderrTail: expect.stringContaining("about to touch memory that is not mine") as string,
  });
});

test("a worker over its memory is ended and its item named, with the peak", { timeout: 60_000 }, async () => {
  const workerMemoryBytes = 250 * 1024 * 1024;
  await using small = await startCluster({ agents: 1, slots: 1, workerMemoryBytes });
  const { outcomes } = await runJob(small.client, { task: "deaths.ts:hoards", range: [4, 7] });
  expect(valuesOf(outcomes)).toEqual([4, "crash", 6, 7]);
  const error = outcomes[1]!.error();
  expect(error.message).toMatch(/memory/i);
  expect(error.peakBytes).toBeGreaterThan(workerMemoryBytes / 2);
});

test("a crashing item is tried on both nodes before it is blamed, never a third time", async () => {
  const log = new RunLog(cluster.dir, "blamed");
  const items = upTo(6).map((index) => ({ ...log.item(index), isPoison: index === 2 }));
  const { outcomes } = await runJob(cluster.client, { task: "recorded.ts:poisonous", items });
  expect(valuesOf(outcomes)).toEqual([0, 1, "crash", 3, 4, 5]);
  expect(log.repeated()).toEqual([2]);
});

test("an item that crashes once and then ends well has its value", async () => {
  const log = new RunLog(cluster.dir, "once");
  const items = upTo(8).map((index) => ({
    ...log.item(index),
    failures: index === 3 ? cluster.path("once.crashed") : log.file,
  }));
  const { outcomes, info } = await runJob(cluster.client, { task: "recorded.ts:crashesOnce", items });
  expect(valuesOf(outcomes)).toEqual(upTo(8));
  expect(info).toMatchObject({ strikes: 1, counts: { value: 8, crash: 0 } });
  expect(log.repeated()).toEqual([3]);
});

test("a job whose items all crash stops as failed instead of burning through its input", async () => {
  const job = await submit(cluster.client, { task: "deaths.ts:always", range: [0, 9_999] });
  const { info } = await collect(cluster.client, job);
  expect(info.state).toBe("failed");
  expect(info.reason).toMatch(/crash/);
  expect(info.counts!.crash).toBeLessThan(100);
  expect(info.counts!.crash + info.counts!.cancelled).toBe(10_000);
});

test("the command prints the crash in its place and ends with 1", async () => {
  const { code, stdout } = await everycore(["map", `${taskFile("deaths.ts")}:segfault`, "--range", "4-6"], {
    environment: cluster.environment,
  });
  const lines = stdout.trim().split("\n");
  expect(lines).toHaveLength(3);
  expect(JSON.parse(lines[1]!)).toMatchObject({ index: 1, error: { kind: "crash" } });
  expect(code).toBe(1);
});

test("the slot of a dead worker has a new one: the next job runs at once", async () => {
  await runJob(cluster.client, { task: "deaths.ts:segfault", range: [5, 5] });
  const { info } = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 3] });
  expect(info.counts).toMatchObject({ value: 4 });
  expect(info.endedAt - info.createdAt).toBeLessThan(3_000);
});
