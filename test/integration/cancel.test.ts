// P5: cancel frees the cores within a second, by killing process groups, and leaves no process. The margin here is
// three seconds, because the machine that runs the tests may be busy.

import { appendFileSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { RunLog, collect, runJob, submit, upTo } from "../support/jobs.ts";
import { isRunning, processesOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

const withinMs = 3_000;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 2 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

async function cancelled(job: string): Promise<number> {
  const beganAt = performance.now();
  await cluster.client.cancelJob(job, "by the test");
  const info = await cluster.client.waitJob(job, { timeoutMs: 20_000 });
  expect(info.state).toBe("cancelled");
  return performance.now() - beganAt;
}

test("cancel ends running items that never yield, frees the slots, and keeps what had ended", async () => {
  const log = new RunLog(cluster.dir, "running");
  const items = upTo(50).map((index) => log.item(index, { isHeld: index >= 4 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  await log.hasBegun(6);
  await until(async () => (await cluster.client.getJob(job)).counts?.value === 4, {
    what: "four outcomes to be folded",
  });

  expect(await cancelled(job)).toBeLessThan(withinMs);
  const { outcomes, info } = await collect(cluster.client, job);
  expect(outcomes.map(({ status }) => status)).toEqual(
    upTo(50).map((index) => (index < 4 ? "value" : "cancelled")),
  );
  expect(info.counts).toMatchObject({ value: 4, cancelled: 46, crash: 0, lost: 0 });
  expect(log.begun()).toHaveLength(6);
  const next = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 1] });
  expect(next.info.counts).toMatchObject({ value: 2 });
});

test("cancel takes the programs that a task has started", async () => {
  const file = cluster.path("children.pids");
  appendFileSync(file, "");
  const job = await submit(cluster.client, { task: "spawning.ts:parent", items: [{ file }, { file }] });
  const pids = await until(
    () => {
      const found = readFileSync(file, "utf8").split(/\s+/).filter(Boolean).map(Number);
      return found.length === 4 && found.every(isRunning) ? found : undefined;
    },
    { what: "two workers and two children" },
  );
  expect(await cancelled(job)).toBeLessThan(withinMs);
  await until(() => !pids.some(isRunning), { withinMs, what: "workers and their children to be gone" });
});

test("cancel takes a program of run that ignores SIGTERM", async () => {
  const job = await submit(cluster.client, {
    task: ["sh", "-c", `trap '' TERM INT; cd ${cluster.dir}; while :; do sleep 1000; done`],
    items: ["1", "2"],
  });
  const sleepers = () => processesOf(cluster.dir).filter(({ command }) => command.includes("sleep 1000"));
  await until(() => sleepers().length >= 2, { what: "the programs to run" });
  expect(await cancelled(job)).toBeLessThan(withinMs);
  await until(() => sleepers().length === 0, { withinMs, what: "the programs to be gone" });
});

test("cancel of a job that waits for a slot never starts it", async () => {
  const log = new RunLog(cluster.dir, "first");
  const first = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: upTo(2).map((n) => log.item(n, { isHeld: true })),
  });
  await log.hasBegun(2);
  const waiting = new RunLog(cluster.dir, "waiting");
  const second = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: upTo(3).map((n) => waiting.item(n)),
  });
  await cancelled(second);
  expect((await cluster.client.getJob(second)).counts).toMatchObject({ cancelled: 3, value: 0 });
  log.open();
  const { info } = await collect(cluster.client, first);
  expect(info.counts).toMatchObject({ value: 2 });
  expect(waiting.begun()).toEqual([]);
});

test("a huge range is cancelled as quickly as a small one", async () => {
  const job = await submit(cluster.client, { task: "arithmetic.ts:noop", range: [0, 999_999_999] });
  await until(async () => ((await cluster.client.getJob(job)).counts?.value ?? 0) > 1_000, {
    what: "the job to be under way",
  });
  expect(await cancelled(job)).toBeLessThan(withinMs);
  const { counts } = await cluster.client.getJob(job);
  expect(counts!.value + counts!.cancelled).toBe(1_000_000_000);
});
