// kill -9 of an agent and restart on the same state: leftovers are killed, what was appended is committed, the item
// that ran is struck `lost` once and tried again (DESIGN 8, 11).

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { RunLog, collect, submit, upTo, valuesOf } from "../support/jobs.ts";
import { isRunning, processesOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

test("kill -9 of the agent and restart: only the item that ran is run again", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const agent = cluster.agents[0]!;
  const log = new RunLog(cluster.dir);
  const items = upTo(40).map((index) => log.item(index, { ms: 5, isHeld: index === 20 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  await log.hasBegunItem(20);

  await agent.kill("SIGKILL");
  log.open();
  await agent.start();
  const { outcomes, info } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(40));
  expect(log.repeated()).toEqual([20]);
  expect(info).toMatchObject({ state: "done", strikes: 1, counts: { value: 40, lost: 0, crash: 0 } });
  expect(await cluster.client.auditJob(job)).toMatchObject({ closed: true, covered: 40 });
});

test("outcomes that had been appended and not committed are committed by the agent's next life", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const agent = cluster.agents[0]!;
  const log = new RunLog(cluster.dir);
  // NATS stands still before the first item ends, so nothing is committed: the files are all there is. Item 10 is in
  // the first lease, too.
  const start = new RunLog(cluster.dir, "start");
  const items = upTo(30).map((index) => log.item(index, { isHeld: index === 10 }));
  items[0] = { ...start.item(0, { isHeld: true }), file: log.file };
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  await log.hasBegun(1);
  await cluster.nats.kill("SIGSTOP");
  start.open();
  await log.hasBegunItem(10);
  await agent.kill("SIGKILL");
  await cluster.nats.kill("SIGCONT");
  log.open();
  await agent.start();
  const { outcomes, info } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(30));
  expect(log.repeated()).toEqual([10]);
  expect(info).toMatchObject({ strikes: 1, counts: { value: 30 } });
});

test("a worker that outlives its agent is killed, at the latest by the agent's next life", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const agent = cluster.agents[0]!;
  const log = new RunLog(cluster.dir);
  const job = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: [log.item(0, { isHeld: true })],
  });
  await log.hasBegun(1);
  const workers = processesOf(agent.dataDir).filter(({ pid }) => pid !== agent.pid);
  expect(workers.length).toBeGreaterThan(0);
  await agent.kill("SIGKILL");
  await agent.start();
  await until(() => !workers.some(({ pid }) => isRunning(pid)), {
    withinMs: 5_000,
    what: "the old workers to be gone",
  });
  await log.hasBegun(2);
  log.open();
  const { outcomes } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual([0]);
});

test("an agent keeps its node id over a restart; SIGTERM ends it with 0", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const agent = cluster.agents[0]!;
  const node = agent.node;
  expect(await agent.stop()).toBe(0);
  await agent.start();
  expect(agent.node).toBe(node);
  expect((await cluster.client.listNodes()).map(({ id }) => id)).toEqual([node]);
});

test("an agent that is ended in order gives back what it has: the other runs it, nothing twice", async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  const log = new RunLog(cluster.dir);
  const items = upTo(60).map((index) => log.item(index, { ms: 20 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  await log.hasBegun(10);
  expect(await cluster.agents[0]!.stop()).toBe(0);
  const { outcomes, info } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(60));
  expect(log.repeated()).toEqual([]);
  expect(info.strikes).toBe(0);
});
