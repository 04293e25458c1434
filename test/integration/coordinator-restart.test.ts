// P3: running work survives its coordinator. kill -9 in the middle, start again: nothing that was committed or runs is
// run again, and whoever reads results does not notice.

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { RunLog, collect, indexesOf, runJob, submit, upTo, valuesOf } from "../support/jobs.ts";
import { until } from "../support/until.ts";

test("kill -9 of the coordinator and restart: every item runs once, results go on where they were", async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  const log = new RunLog(cluster.dir);
  const items = upTo(120).map((index) => log.item(index, { ms: 20, isHeld: index >= 40 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  const reading = collect(cluster.client, job);
  reading.catch(() => {}); // awaited below
  const held = (): number => log.begun().filter((index) => index >= 40).length;
  await until(() => held() === 2, { what: "both slots to be in the middle of an item" });
  const epoch = (await cluster.client.status()).epoch;

  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  const after = await cluster.client.status();
  expect(after.epoch).toBeGreaterThan(epoch);
  await until(
    async () => (await cluster.client.listNodes()).filter(({ state }) => state === "connected").length === 2,
    {
      withinMs: 20_000,
      what: "both agents to be back",
    },
  );
  log.open();

  const { outcomes, info } = await reading;
  expect(indexesOf(outcomes)).toEqual(upTo(120));
  expect(valuesOf(outcomes)).toEqual(upTo(120));
  expect(log.repeated()).toEqual([]);
  expect(info).toMatchObject({ state: "done", strikes: 0, counts: { value: 120 } });
  expect(await cluster.client.auditJob(job)).toMatchObject({ closed: true, covered: 120, invalid: 0 });
});

test("agents go on computing while there is no coordinator", async () => {
  await using cluster = await startCluster({ slots: 2 });
  const log = new RunLog(cluster.dir);
  const items = upTo(200).map((index) => log.item(index, { ms: 10 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  await log.hasBegun(60); // costs are known, leases are ahead
  await cluster.coordinator.kill("SIGKILL");
  const begun = log.begun().length;
  await log.hasBegun(begun + 20);
  await cluster.restartCoordinator();
  const { outcomes } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(200));
  expect(log.repeated()).toEqual([]);
});

test("jobs that have ended, their results and their audit are there after a restart", async () => {
  await using cluster = await startCluster({ slots: 1 });
  const { info } = await runJob(cluster.client, { task: "failures.ts:odd", range: [0, 9], name: "kept" });
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  const again = await collect(cluster.client, info.id);
  expect(valuesOf(again.outcomes)).toEqual(upTo(10).map((n) => (n % 2 === 1 ? "error" : n)));
  expect(again.info).toMatchObject({ name: "kept", state: "done", counts: { value: 5, error: 5 } });
  expect(await cluster.client.auditJob(info.id)).toMatchObject({ closed: true, total: 10 });
});

test("an orderly restart is as harmless as a kill, and the exit code is 0", async () => {
  await using cluster = await startCluster({ slots: 1 });
  const log = new RunLog(cluster.dir);
  const job = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: upTo(10).map((n) => log.item(n, { isHeld: n === 5 })),
  });
  await log.hasBegunItem(5);
  expect(await cluster.coordinator.stop()).toBe(0);
  await cluster.restartCoordinator();
  log.open();
  const { outcomes } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(10));
  expect(log.repeated()).toEqual([]);
});

test("a submit that is under way goes on after a restart: the same job, every item once", async () => {
  await using cluster = await startCluster({ slots: 1 });
  const half = Promise.withResolvers<void>();
  const restarted = Promise.withResolvers<void>();
  async function* items(): AsyncGenerator<unknown> {
    for (let n = 0; n < 50; n += 1) yield n;
    half.resolve();
    await restarted.promise;
    for (let n = 50; n < 100; n += 1) yield n;
  }
  const submitting = submit(cluster.client, { task: "arithmetic.ts:square", items: items(), pipe: true });
  await half.promise;
  await until(async () => (await cluster.client.listJobs()).jobs[0]?.appended === 50, {
    what: "half the input to be durable",
  });
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  restarted.resolve();
  const job = await submitting;
  const { outcomes } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(100).map((n) => n * n));
  expect((await cluster.client.listJobs()).total).toBe(1);
});

test("a cancel that was asked for just before the crash is completed after it", async () => {
  await using cluster = await startCluster({ slots: 1 });
  const log = new RunLog(cluster.dir);
  const job = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: upTo(20).map((n) => log.item(n, { isHeld: true })),
  });
  await log.hasBegun(1);
  await cluster.client.cancelJob(job, "by the test");
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  const { info } = await collect(cluster.client, job);
  expect(info).toMatchObject({ state: "cancelled", counts: { cancelled: 20 } });
});
