// Item or host? A machine on which workers die is found and gets no more work; an item that takes whole agents is found
// too. Each time the jobs end, and as they would without them (P4, P5).

import { readFileSync } from "node:fs";
import type { NodeInfo } from "@everycore/client/internal";
import { expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { everycore } from "../support/command.ts";
import { collect, runJob, submit, upTo, valuesOf } from "../support/jobs.ts";
import { until } from "../support/until.ts";

const badHost = { TEST_BAD_HOST: "1" };

async function nodeOf(cluster: TestCluster, id: string): Promise<NodeInfo> {
  return cluster.client.getNode(id);
}

/** Jobs one after the other until the node is in quarantine; every one of them has all its values. */
async function untilQuarantined(cluster: TestCluster, node: string): Promise<string[]> {
  const jobs: string[] = [];
  for (let tries = 0; tries < 20; tries += 1) {
    const job = await submit(cluster.client, { task: "hosts.ts:onBadHost", range: [0, 39] });
    const { outcomes, info } = await collect(cluster.client, job);
    expect(valuesOf(outcomes)).toEqual(upTo(40));
    expect(info.state).toBe("done");
    jobs.push(job);
    if ((await nodeOf(cluster, node)).state === "quarantined") return jobs;
  }
  throw new Error("the bad host is still trusted");
}

test(
  "a host whose workers die is quarantined, over a leader's death, until an operator trusts it again",
  { timeout: 120_000 },
  async () => {
    await using cluster = await startCluster({ agents: 2, slots: 1 });
    const bad = await cluster.addAgent({ environment: badHost });
    const jobs = await untilQuarantined(cluster, bad.node);
    expect(jobs.length).toBeGreaterThanOrEqual(2);

    const { state, reason, leased } = await nodeOf(cluster, bad.node);
    expect({ state, leased }).toEqual({ state: "quarantined", leased: 0 });
    expect(reason).toMatch(/^quarantined for (30|29) min more: workers died here on items? /);
    const named = [...reason.matchAll(/of job ([0-9a-f]{8})/g)].map((match) => match[1]!);
    expect(named.length).toBeGreaterThanOrEqual(2);
    for (const name of named) expect(jobs.some((job) => job.startsWith(name))).toBe(true);

    const { environment } = cluster;
    const listed = await everycore(["node", "list"], { environment });
    expect(listed.stdout).toMatch(
      new RegExp(`^${bad.node.slice(0, 8)} .* quarantined .*workers died here`, "m"),
    );
    const status = await everycore(["status"], { environment });
    expect(status.stdout).toContain(`lift it: everycore node undrain ${bad.node.slice(0, 8)}`);
    const { text: metrics } = await cluster.coordinator.get("/metrics");
    expect(metrics).toContain('everycore_nodes{state="quarantined"} 1');
    expect(metrics).toContain("everycore_quarantines_total 1");

    await cluster.coordinator.kill("SIGKILL");
    await cluster.restartCoordinator();
    await until(
      async () => (await nodeOf(cluster, bad.node).catch(() => undefined))?.state === "quarantined",
      {
        what: "the new leader to know the bad host",
        withinMs: 20_000,
      },
    );
    const after = await runJob(cluster.client, { task: "hosts.ts:onBadHost", range: [0, 39] });
    expect(after.info).toMatchObject({ state: "done", strikes: 0, counts: { value: 40 } });
    const held = await submit(cluster.client, { task: "waits.ts:twice", range: [0, 99] });
    const explained = await everycore(["job", "get", held, "--explain"], { environment });
    expect(explained.stdout).toMatch(new RegExp(`not .* ${bad.node.slice(0, 8)}: quarantined for`));
    await cluster.client.cancelJob(held, "seen");

    const undrained = await everycore(["node", "undrain", bad.node.slice(0, 8)], { environment });
    expect(undrained).toMatchObject({ code: 0 });
    expect(undrained.stdout).toMatch(/is connected\n$/);
    const again = await runJob(cluster.client, { task: "hosts.ts:onBadHost", range: [0, 39] });
    expect(again.info.strikes).toBeGreaterThan(0);
    expect(again.info.counts).toMatchObject({ value: 40 });
    expect(readFileSync(cluster.path("coordinator.log"), "utf8")).toMatch(/"msg":"quarantine lifted"/);
  },
);

test("when the good ones go away the bad host is let out: its job ends", { timeout: 120_000 }, async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const bad = await cluster.addAgent({ environment: badHost });
  await untilQuarantined(cluster, bad.node);
  const [good] = cluster.agents;
  await good!.kill("SIGKILL");
  const job = await submit(cluster.client, { task: "arithmetic.ts:square", range: [0, 3] });
  await until(async () => (await cluster.client.getJob(job)).reason.startsWith("blocked: quarantine"), {
    what: "the job to wait for the silent node",
    withinMs: 10_000,
  });
  const { info } = await collect(cluster.client, job);
  expect(info).toMatchObject({ state: "done", counts: { value: 4 } });
  expect((await nodeOf(cluster, bad.node)).state).toBe("connected");
});

test(
  "an item that kills three agents ends as lost; its neighbours have their values and the cluster lives",
  { timeout: 180_000 },
  async () => {
    await using cluster = await startCluster({ agents: 4, slots: 1 });
    const job = await submit(cluster.client, { task: "hosts.ts:killsAgent", range: [0, 11] });
    const { outcomes, info } = await collect(cluster.client, job);
    expect(valuesOf(outcomes)).toEqual(upTo(12).map((n) => (n === 5 ? "lost" : n)));
    expect(outcomes[5]!.error().message).toMatch(/three times/);
    expect(info.counts).toMatchObject({ value: 11, lost: 1 });
    const states = (await cluster.client.listNodes()).map(({ state }) => state).toSorted();
    expect(states).toEqual(["connected", "lost", "lost", "lost"]);
    const { info: next } = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 3] });
    expect(next.counts).toMatchObject({ value: 4 });
  },
);

test(
  "agents that a supervisor starts again say themselves what took them",
  { timeout: 120_000 },
  async () => {
    await using cluster = await startCluster({ agents: 2, slots: 1 });
    let isOver = false;
    const supervised = cluster.agents.map(async (agent) => {
      for (;;) {
        await until(() => isOver || !agent.isRunning, { what: "the agent to be killed", withinMs: 110_000 });
        if (isOver) return;
        await agent.start();
      }
    });
    const { outcomes } = await runJob(cluster.client, { task: "hosts.ts:killsAgent", range: [0, 11] });
    isOver = true;
    await Promise.all(supervised);
    expect(valuesOf(outcomes)).toEqual(upTo(12).map((n) => (n === 5 ? "lost" : n)));
  },
);
