// A node that is gone for good. Slow on purpose: a node is lost 20 s after its last sign of life (times.suspectMs +
// times.lostMs), and this test waits for exactly that.

import { times } from "@everycore/protocol";
import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { RunLog, collect, submit, upTo, valuesOf } from "../support/jobs.ts";
import { until } from "../support/until.ts";

const slow = { timeout: 120_000 };

test(
  "an agent that never comes back: its work is done by the other, its running item again",
  slow,
  async () => {
    await using cluster = await startCluster({ agents: 2, slots: 1 });
    const log = new RunLog(cluster.dir);
    const items = upTo(20).map((index) => log.item(index, { ms: 20, isHeld: index < 2 }));
    const job = await submit(cluster.client, { task: "recorded.ts:run", items });
    await log.hasBegun(2); // each agent holds one
    const goneAt = performance.now();
    await cluster.agents[0]!.kill("SIGKILL");
    const gone = cluster.agents[0]!.node;
    await until(async () => (await cluster.client.getNode(gone)).state === "suspected", {
      what: "the node to be suspected",
    });
    log.open();
    await until(async () => (await cluster.client.getNode(gone)).state === "lost", {
      withinMs: times.suspectMs + times.lostMs + 15_000,
      what: "the node to be lost",
    });
    expect(performance.now() - goneAt).toBeGreaterThan(times.lostMs - 1_000);
    const { outcomes, info } = await collect(cluster.client, job);
    expect(valuesOf(outcomes)).toEqual(upTo(20));
    expect(log.repeated().length).toBeLessThanOrEqual(1);
    expect(info).toMatchObject({ state: "done", counts: { value: 20, lost: 0 } });
    expect(info.strikes).toBeGreaterThanOrEqual(1);
  },
);

test("an agent that only stood still for a while goes on: nothing is repeated", slow, async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  const log = new RunLog(cluster.dir);
  const items = upTo(60).map((index) => log.item(index, { ms: 100 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  await log.hasBegun(10);
  const frozen = cluster.agents[0]!;
  await frozen.kill("SIGSTOP");
  await until(async () => (await cluster.client.getNode(frozen.node)).state === "suspected", {
    withinMs: times.suspectMs + 10_000,
    what: "the node to be suspected",
  });
  await frozen.kill("SIGCONT");
  const { outcomes, info } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(60));
  expect(log.repeated()).toEqual([]);
  expect(info.strikes).toBe(0);
});
