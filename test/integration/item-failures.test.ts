// Items that fail, and what is known of them afterwards: errors, retries, timeouts, values that cannot travel.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { RunLog, runJob, valuesOf } from "../support/jobs.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 2 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

test("an error keeps its class, message, trace with the user's own line, and cause", async () => {
  const { outcomes } = await runJob(cluster.client, { task: "failures.ts:withCause", range: [3, 3] });
  const error = outcomes[0]!.error();
  expect(error).toMatchObject({ kind: "error", name: "Error", message: "item 3 cannot go on" });
  expect(error.trace).toMatch(/failures\.ts:\d+/);
  expect(error.cause).toContain("the deeper reason");
  expect(outcomes[0]!.node).toBe(cluster.agents[0]!.node);
});

test("whatever is thrown is an error, text included", async () => {
  const { outcomes, info } = await runJob(cluster.client, { task: "failures.ts:throwsText", range: [0, 1] });
  expect(outcomes.map((outcome) => outcome.error().message)).toEqual(["just a text", "just a text"]);
  expect(info).toMatchObject({ state: "done", counts: { error: 2, value: 0 } });
});

test("a Python exception keeps its class and traceback", async () => {
  const { outcomes } = await runJob(cluster.client, { task: "plain.py:odd", range: [0, 3] });
  expect(valuesOf(outcomes)).toEqual([0, "error", 2, "error"]);
  const error = outcomes[1]!.error();
  expect(error).toMatchObject({ name: expect.stringContaining("Refused") as string, message: "1 is odd" });
  expect(error.trace).toMatch(/plain\.py.*line \d+/);
});

test("sys.exit in a Python item is an error of the item: the worker lives", async () => {
  const { outcomes, info } = await runJob(cluster.client, { task: "plain.py:sys_exit", range: [4, 6] });
  expect(valuesOf(outcomes)).toEqual([4, "error", 6]);
  expect(outcomes[1]!.error()).toMatchObject({ name: "SystemExit", message: "leaving politely" });
  expect(info.strikes).toBe(0);
});

test("--retries tries an item again and counts it; the value of the later try is what counts", async () => {
  const log = new RunLog(cluster.dir, "flaky");
  const items = [0, 1, 2, 3].map((index) => ({
    ...log.item(index),
    failures: index === 2 ? cluster.path("flaky.failed") : log.file,
  }));
  const { outcomes, info } = await runJob(cluster.client, { task: "recorded.ts:flaky", items, retries: 2 });
  expect(valuesOf(outcomes)).toEqual([0, 1, 2, 3]);
  expect(info).toMatchObject({ retries: 1, counts: { value: 4, error: 0 } });
  expect(log.begun().filter((index) => index === 2)).toHaveLength(2);
});

test("an item that fails each time is tried as often as asked, then it is an error", async () => {
  const log = new RunLog(cluster.dir, "hopeless");
  const items = [{ ...log.item(0), failures: "/proc/nobody-can-write-here" }];
  const { outcomes, info } = await runJob(cluster.client, { task: "recorded.ts:flaky", items, retries: 3 });
  expect(outcomes[0]!.error().kind).toBe("error");
  expect(log.begun()).toEqual([0, 0, 0, 0]);
  expect(info.retries).toBe(3);
});

test("an item over --item-timeout is killed and named; its neighbours end well", async () => {
  const { outcomes, info } = await runJob(cluster.client, {
    task: "failures.ts:stuck",
    range: [0, 9],
    itemTimeoutMs: 400,
  });
  expect(valuesOf(outcomes)).toEqual([0, 1, 2, "timeout", 4, 5, 6, 7, 8, 9]);
  expect(outcomes[3]!.error()).toMatchObject({ kind: "timeout" });
  expect(info.counts).toMatchObject({ timeout: 1, value: 9, crash: 0 });
});

test("a Python item over its time is killed and named", async () => {
  const { outcomes } = await runJob(cluster.client, {
    task: "plain.py:stuck",
    range: [0, 5],
    itemTimeoutMs: 400,
  });
  expect(valuesOf(outcomes)).toEqual([0, 1, 2, "timeout", 4, 5]);
});

test("a program over its time is killed and named", async () => {
  const { outcomes } = await runJob(cluster.client, {
    task: ["sleep", "{}"],
    items: ["0", "1000", "0"],
    itemTimeoutMs: 400,
  });
  expect(outcomes.map(({ status }) => status)).toEqual(["value", "timeout", "value"]);
});

test("a value that cannot be encoded names the path and the type", async () => {
  const { outcomes } = await runJob(cluster.client, { task: "failures.ts:unencodable", range: [0, 4] });
  expect(valuesOf(outcomes)).toEqual([0, "encode", "encode", "encode", 4]);
  expect(outcomes[1]!.error().message).toMatch(/deep\.list\[1\].*function/);
  expect(outcomes[2]!.error().message).toMatch(/self.*circular|circular.*self/i);
  expect(outcomes[3]!.error().message).toMatch(/symbol/);
});

test("a Python value that cannot be encoded names its type; one that pickles travels as a pickle", async () => {
  const bad = await runJob(cluster.client, { task: "plain.py:unencodable", range: [0, 2] });
  expect(valuesOf(bad.outcomes)).toEqual([0, "encode", 2]);
  expect(bad.outcomes[1]!.error().message).toMatch(/function|lambda/);
  const pickled = await runJob(cluster.client, { task: "plain.py:pickled", range: [1, 1] });
  expect(pickled.outcomes[0]!).toMatchObject({ status: "value", codec: "py" });
});

test("an outcome over the limit is an error that names the limit", { timeout: 60_000 }, async () => {
  const { outcomes } = await runJob(cluster.client, { task: "failures.ts:tooLarge", range: [0, 0] });
  expect(outcomes[0]!.error()).toMatchObject({ kind: "output-too-large" });
  expect(outcomes[0]!.error().message).toContain(String(256 * 1024 * 1024));
});
