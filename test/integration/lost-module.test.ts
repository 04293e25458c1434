// A node that has run a job and cannot load its task any more: what it committed counts, what it had left is run
// elsewhere, nothing twice (docs/decisions/0115).

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { everycore } from "../support/command.ts";
import { RunLog, collect, submit, upTo, valuesOf } from "../support/jobs.ts";

test("a node that cannot load the task any more gives the rest back: others run it, nothing twice", async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  const [first, second] = cluster.agents;
  const log = new RunLog(cluster.dir);
  const items = upTo(120).map((index) => log.item(index, { ms: 10, isHeld: true }));
  const job = await submit(cluster.client, { task: "lost_module.ts:run", items });
  await log.hasBegun(2); // both have begun: each gets its share
  log.open();
  const { outcomes, info } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(120));
  expect(info).toMatchObject({ state: "done", strikes: 1, counts: { value: 120 } });
  expect(log.repeated()).toHaveLength(1); // the item in which its worker died
  const bySecond = outcomes.filter(({ node }) => node === second!.node);
  expect(bySecond).toHaveLength(19);
  expect(outcomes.filter(({ node }) => node === first!.node)).toHaveLength(101);
});

test("where no other node is left, the job fails with the node's words, and what has ended stays", async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  await cluster.agents[0]!.stop();
  const log = new RunLog(cluster.dir);
  const items = upTo(120).map((index) => log.item(index, { ms: 5 }));
  const job = await submit(cluster.client, { task: "lost_module.ts:run", items });
  const { outcomes, info } = await collect(cluster.client, job);
  expect(info).toMatchObject({ state: "failed", counts: { value: 19, cancelled: 101 } });
  expect(valuesOf(outcomes).slice(0, 19)).toEqual(upTo(19));
  expect(log.repeated()).toEqual([]);
  const { code, stdout } = await everycore(["job", "wait", job], { environment: cluster.environment });
  expect(code).toBe(1);
  expect(stdout).toContain("this host has lost a module");
});
