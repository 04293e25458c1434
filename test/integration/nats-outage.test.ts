// NATS away for a while: agents compute and keep outcomes in their files, the coordinator waits, clients wait; then
// all goes on, nothing lost, nothing run again (DESIGN 11).

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { RunLog, collect, runJob, submit, upTo, valuesOf } from "../support/jobs.ts";
import { until } from "../support/until.ts";

test("NATS killed and started again in the middle of a job: nothing lost, nothing run again", async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  const log = new RunLog(cluster.dir);
  const items = upTo(300).map((index) => log.item(index, { ms: 10 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  const reading = collect(cluster.client, job);
  reading.catch(() => {}); // awaited below
  await log.hasBegun(60);
  await cluster.nats.kill("SIGKILL");
  const begun = log.begun().length;
  await log.hasBegun(begun + 20); // they go on without it
  await cluster.nats.restart();
  const { outcomes, info } = await reading;
  expect(valuesOf(outcomes)).toEqual(upTo(300));
  expect(log.repeated()).toEqual([]);
  expect(info).toMatchObject({ state: "done", counts: { value: 300 }, strikes: 0 });
});

test(
  "NATS that hangs without closing its connections is noticed and waited for",
  { timeout: 90_000 },
  async () => {
    await using cluster = await startCluster({ agents: 1, slots: 1 });
    const log = new RunLog(cluster.dir);
    const job = await submit(cluster.client, {
      task: "recorded.ts:run",
      items: upTo(100).map((n) => log.item(n, { ms: 10 })),
    });
    await log.hasBegun(30);
    await cluster.nats.kill("SIGSTOP");
    await until(async () => (await cluster.coordinator.get("/readyz")).status !== 200, {
      withinMs: 30_000,
      what: "the coordinator to say that it is not ready",
    });
    await cluster.nats.kill("SIGCONT");
    const { outcomes } = await collect(cluster.client, job);
    expect(valuesOf(outcomes)).toEqual(upTo(100));
    expect(log.repeated()).toEqual([]);
    await until(async () => (await cluster.coordinator.get("/readyz")).status === 200, {
      what: "the coordinator to be ready again",
    });
  },
);

test("a cluster whose NATS comes back takes new jobs", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 2] });
  await cluster.nats.kill("SIGKILL");
  await cluster.nats.restart();
  const { outcomes } = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 9] });
  expect(valuesOf(outcomes)).toEqual(upTo(10).map((n) => n * n));
});

test("coordinator and NATS killed together, both started again: the job goes on from its log", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 2 });
  const log = new RunLog(cluster.dir);
  const job = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: upTo(80).map((n) => log.item(n, { ms: 10 })),
  });
  await log.hasBegun(20);
  await Promise.all([cluster.nats.kill("SIGKILL"), cluster.coordinator.kill("SIGKILL")]);
  await cluster.nats.restart();
  await cluster.restartCoordinator();
  const { outcomes } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(80));
  expect(log.repeated()).toEqual([]);
});
