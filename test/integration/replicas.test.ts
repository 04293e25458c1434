// NATS as a cluster of three servers that keep three replicas of everything (decision 0103): any one of them may die in
// the middle of a job, also the one that leads; nothing is lost, nothing runs again, and commits go on by themselves.

import { expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { RunLog, collect, runJob, submit, upTo, valuesOf } from "../support/jobs.ts";
import type { TestNatsServer } from "../support/nats-server.ts";
import { RoleFailed } from "../support/role.ts";
import { until } from "../support/until.ts";

/** An election in NATS takes up to 9 s, and a new term of ours comes behind it. */
const goOnWithinMs = 25_000;
const count = 1_500;

async function outcomesOf(cluster: TestCluster, job: string): Promise<number> {
  const { counts } = await cluster.client.getJob(job);
  return Object.values(counts ?? {}).reduce((sum: number, each: number) => sum + each, 0);
}

/** The meta leader first, then the others. */
async function victims(cluster: TestCluster): Promise<TestNatsServer[]> {
  const leader = await cluster.natsCluster.metaLeader();
  return [leader, ...cluster.natsCluster.servers.filter((server) => server !== leader)];
}

test(
  "each of three nats-servers is killed in the middle of a job and comes back: nothing lost, nothing run again",
  { timeout: 300_000 },
  async () => {
    await using cluster = await startCluster({ natsServers: 3, replicas: 3, agents: 2, slots: 2 });
    for (const [at, victim] of (await victims(cluster)).entries()) {
      const log = new RunLog(cluster.dir, `runs-${at}`);
      const items = upTo(count).map((index) => log.item(index, { ms: 30 }));
      const job = await submit(cluster.client, { task: "recorded.ts:run", items });
      const reading = collect(cluster.client, job);
      reading.catch(() => {}); // awaited below
      await log.hasBegun(200);
      await victim.kill("SIGKILL");
      const before = await outcomesOf(cluster, job);
      await until(async () => (await outcomesOf(cluster, job)) >= Math.min(count, before + 100), {
        withinMs: goOnWithinMs,
        what: `commits to go on after nats-${cluster.natsCluster.servers.indexOf(victim) + 1} was killed`,
      });
      await victim.restart();
      await cluster.natsCluster.caughtUp(victim);
      const { outcomes, info } = await reading;
      expect(valuesOf(outcomes)).toEqual(upTo(count));
      expect(log.repeated()).toEqual([]);
      expect(info).toMatchObject({ state: "done", counts: { value: count }, strikes: 0 });
      await until(async () => (await cluster.client.status()).replication.behind === 0, {
        withinMs: goOnWithinMs,
        what: "all replicas to be current again",
      });
    }
  },
);

test(
  "replicas are raised for all that exists, kept by a coordinator that is told nothing, and lowered when told so",
  { timeout: 120_000 },
  async () => {
    await using cluster = await startCluster({ natsServers: 3, agents: 1, slots: 1 });
    const { outcomes } = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 99] });
    expect(valuesOf(outcomes)).toEqual(upTo(100).map((n) => n * n));
    const [job] = (await cluster.client.listJobs()).jobs;
    for (const [change, replicas] of [
      [{}, 1],
      [{ replicas: 3 }, 3],
      [{}, 3],
      [{ replicas: 1 }, 1],
    ] as const) {
      const listen = cluster.address;
      await cluster.coordinator.stop();
      await cluster.coordinator.start({ listen, ...change });
      const now = await until(
        async () => {
          const { replication } = await cluster.client.status();
          return replication.streams >= 6 && replication.behind === 0 ? replication : undefined;
        },
        { withinMs: 30_000, what: `${replicas} replicas` },
      );
      expect(now).toMatchObject({ replicas, servers: [] });
      const read = await collect(cluster.client, job!.id);
      expect(valuesOf(read.outcomes)).toEqual(upTo(100).map((n) => n * n));
    }
  },
);

test("more replicas than NATS has servers are refused in one sentence", { timeout: 60_000 }, async () => {
  await using cluster = await startCluster({ natsServers: 3, agents: 0 });
  await using alone = await startCluster({ agents: 0 });
  for (const [coordinator, replicas] of [
    [cluster.coordinator, 5],
    [alone.coordinator, 3],
  ] as const) {
    await coordinator.stop();
    const failure: unknown = await coordinator.start({ replicas }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(RoleFailed);
    expect(failure).toMatchObject({
      code: "refused",
      exitCode: 4,
      message: `NATS cannot keep ${replicas} replicas: its cluster has fewer servers`,
    });
  }
});
