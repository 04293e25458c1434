// A cluster of several hosts, each a container from our Dockerfiles, while everything that DESIGN 11 names goes wrong
// in one go: three jobs, one of each runtime, run through a killed agent, two network outages, a frozen agent, a NATS
// restart, an agent that joins late and one that is drained. Slow on purpose: the outages last as long as they last.

import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { loadTask, makeBundle } from "@everycore/client/internal";
import { decode } from "@everycore/protocol";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { type JobOptions, collect, specOf, submit, taskFile, upTo, valuesOf } from "../support/jobs.ts";
import { until } from "../support/until.ts";
import { type AgentContainer, type ContainerCluster, startContainerCluster } from "./support/cluster.ts";

const MB = 1024 * 1024;
const count = 1_500;
const outageMs = { short: 5_000, long: 30_000 };
const runtimes: Readonly<Record<string, JobOptions>> = {
  js: { task: "waits.ts:twice", range: [0, count - 1] },
  python: { task: "waits.py:twice", range: [0, count - 1] },
  exec: { task: ["sh", "-c", "sleep 0.1; echo $((2 * $0))", "{}"], range: [0, count - 1] },
};
const expected: Readonly<Record<string, unknown[]>> = {
  js: upTo(count).map((n) => 2 * n),
  python: upTo(count).map((n) => 2 * n),
  exec: upTo(count).map((n) => Buffer.from(`${2 * n}\n`)),
};

let cluster: ContainerCluster;

beforeAll(async () => {
  cluster = await startContainerCluster(inject("images"), { agents: 3, slots: 3 });
});

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

async function coveredOf(job: string): Promise<number> {
  const { counts } = await cluster.client.getJob(job);
  return Object.values(counts ?? {}).reduce((sum: number, each: number) => sum + each, 0);
}

/** Waits until each job has so many more outcomes than now. */
async function progress(jobs: readonly string[], more: number): Promise<void> {
  for (const job of jobs) {
    const before = await coveredOf(job);
    const goal = Math.min(count, before + more);
    await until(async () => (await coveredOf(job)) >= goal, {
      what: `job ${job} to go on from ${before} to ${goal} outcomes`,
      withinMs: 60_000,
      everyMs: 100,
    });
  }
}

/** A job like the first one, with 50 MB that nobody reads in its bundle. */
async function submitHeavy(ballast: Uint8Array): Promise<string> {
  const spec = await specOf(cluster.client, { task: "waits.ts:twice", range: [0, 59] });
  const { bundle } = await loadTask({ task: taskFile("waits.ts") });
  const { files } = decode(bundle.bytes) as { files: Record<string, Uint8Array> }; // we have just made it
  const heavy = makeBundle(new Map([...Object.entries(files), ["ballast.bin", ballast]]), bundle.entry);
  await cluster.client.putBundle(heavy);
  const submission = cluster.client.submit({
    requestId: randomBytes(16).toString("hex"),
    detached: true,
    spec: { ...spec, task: { ...spec.task, bundle: heavy.digest } },
  });
  return (await submission.closed).id;
}

test("a bundle of 50 MB is fetched once by each node, however many jobs and leases need it", async () => {
  const ballast = randomBytes(50 * MB);
  for (const job of [await submitHeavy(ballast), await submitHeavy(ballast)]) {
    const { outcomes, info } = await collect(cluster.client, job);
    expect(valuesOf(outcomes)).toEqual(upTo(60).map((n) => 2 * n));
    expect(info.usage).toHaveLength(3);
  }
  for (const agent of cluster.agents) {
    expect(await agent.metric("everycore_agent_bundles_fetched_total")).toBe(1);
    const bytes = await agent.metric("everycore_agent_fetched_bytes_total");
    expect(bytes).toBeGreaterThan(50 * MB);
    expect(bytes).toBeLessThan(51 * MB);
  }
});

/** No outcome waits, no lease is held, no program of an item runs on; and asked to end, it ends in order. */
async function leavesNothing(agent: AgentContainer): Promise<void> {
  for (const metric of ["everycore_agent_spool_bytes", "everycore_agent_leases"]) {
    await until(async () => (await agent.metric(metric)) === 0, {
      what: `${metric} of ${agent.name} to be 0`,
    });
  }
  const commands = await agent.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
  expect(commands).not.toContain("sleep 0.1");
  expect(await agent.shell("ls /var/lib/everycore/agent/cache/blocks")).toBe("");
  expect(await agent.stop()).toBe(0);
}

test("three jobs survive all of it: every item has one outcome, the audits close, nothing is left", async () => {
  const [killed, longGone, shortlyGone] = cluster.agents;
  const jobs = await Promise.all(Object.values(runtimes).map((each) => submit(cluster.client, each)));
  await progress(jobs, 30);

  const longOutage = (async () => {
    await longGone!.disconnect();
    await delay(outageMs.long);
    await longGone!.connect();
  })();
  await killed!.kill();
  await cluster.reaches(killed!, "suspected");
  await killed!.start();
  await cluster.reaches(killed!, "connected");
  await progress(jobs, 10);

  const late = await cluster.addAgent({ slots: 3 });
  await cluster.reaches(late, "connected");
  await until(async () => ((await cluster.nodeOf(late))?.busy ?? 0) > 0, {
    what: "the late one to have work",
  });

  await cluster.restartNats();
  await progress(jobs, 10);

  await shortlyGone!.disconnect();
  await delay(outageMs.short);
  await shortlyGone!.connect();
  await cluster.reaches(shortlyGone!, "connected");

  await late.pause();
  await cluster.reaches(late, "suspected");
  await late.unpause();
  await cluster.reaches(late, "connected");

  await longOutage;
  await cluster.reaches(longGone!, "connected");
  await progress(jobs, 10);

  const drained = await cluster.nodeOf(killed!);
  await cluster.client.drainNode(drained!.id);
  await until(async () => !(await killed!.isRunning()), {
    what: "the drained agent to end",
    withinMs: 30_000,
  });
  expect(await killed!.exitCode()).toBe(0);

  const left = await Promise.all(jobs.map(coveredOf));
  expect(Math.min(...left), "the jobs must outlive the last failure").toBeLessThan(count);
  for (const [at, name] of Object.keys(runtimes).entries()) {
    const { outcomes, info } = await collect(cluster.client, jobs[at]!);
    expect(outcomes.map(({ index }) => index)).toEqual(upTo(count));
    expect(valuesOf(outcomes)).toEqual(expected[name]);
    expect(info).toMatchObject({ state: "done", counts: { value: count } });
    const audit = await cluster.client.auditJob(jobs[at]!);
    expect(audit).toMatchObject({ total: count, covered: count, missing: 0, closed: true, invalid: 0 });
  }
  for (const agent of [longGone!, shortlyGone!, late]) await leavesNothing(agent);
});
