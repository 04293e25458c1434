// `--audit`: a share of the items runs again on another node. A node that lies is named, whatever coordinator finds it
// out; nodes that agree change nothing but the time; where nobody can be compared with, the job ends and says so (P5).

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { connect, JobAuditError } from "@everycore/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TestAgent, type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore, jsonLines } from "../support/command.ts";
import { collect, submit, taskFile, upTo, valuesOf } from "../support/jobs.ts";
import { until } from "../support/until.ts";

const squares = (count: number): number[] => upTo(count).map((n) => n * n);

describe("a cluster with a node that lies", () => {
  let cluster: TestCluster;
  let liar: TestAgent;
  beforeAll(async () => {
    cluster = await startCluster({ agents: 1, slots: 2 });
    liar = await cluster.addAgent({ slots: 2, environment: { TEST_LIES: "1" } });
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  const run = (args: readonly string[]): Promise<Ended> =>
    everycore(args, { environment: cluster.environment, cwd: cluster.dir });

  test("map names the items and both nodes, and ends with 1; job get, job audit, metrics and log say so too", async () => {
    const map = ["map", `${taskFile("liars.ts")}:square`, "--range", "0-59", "--audit", "100%"];
    const { code, stdout, stderr } = await run([...map, "--name", "lied"]);
    expect(stderr).toMatch(
      /^everycore: audit of job [0-9a-f]{8}: 12 items differ, of 60 compared: item 0 between nodes [0-9a-f]{8} and [0-9a-f]{8}, item 5 .*, \.\.\.$/m,
    );
    expect(code).toBe(1);
    // What was first counts, each item once.
    expect(jsonLines(stdout)).toHaveLength(60);
    const { jobs } = await cluster.client.listJobs({});
    const info = await cluster.client.getJob(jobs.find(({ name }) => name === "lied")!.id);
    expect(info).toMatchObject({
      state: "done",
      duplicates: 60,
      counts: { value: 60, error: 0 },
      audit: { share: 1, checked: 60, differing: 12, unchecked: 0, open: 0 },
    });
    for (const { index, first, second, how } of info.audit!.items) {
      expect(index % 5).toBe(0);
      expect([first, second].sort()).toEqual(cluster.agents.map(({ node }) => node).sort());
      expect(how).toBe("value");
    }
    const got = await run(["job", "get", info.id]);
    expect(got.stdout).toMatch(/^audit\s+100% of the values: 60 compared, 12 differ$/m);
    expect(got.stdout).toContain(`item 0: a value on node`);
    const audited = await run(["job", "audit", info.id]);
    expect(audited.code).toBe(1);
    expect(audited.stdout).toContain("every item has exactly one outcome");
    expect(audited.stdout).toMatch(/^checked\s+100% of the values: 60 compared, 12 differ$/m);
    const waited = await run(["job", "wait", info.id]);
    expect(waited.code).toBe(1);
    const lines = readFileSync(cluster.path("coordinator.log"), "utf8").split("\n");
    const warned = lines.filter((line) => line.includes('"two nodes differ on an item"'));
    expect(warned.filter((line) => line.includes(liar.node))).toHaveLength(12);
    expect(warned).toHaveLength(24);
    const metrics = await (await fetch(`http://${cluster.coordinator.text("http")}/metrics`)).text();
    expect(metrics).toContain('everycore_spot_checks_total{result="differing"} 12');
  });

  test("large values are compared to their last byte", async () => {
    const job = await submit(cluster.client, { task: "liars.ts:large", range: [0, 3], audit: 1 });
    const { audit } = await cluster.client.waitJob(job, { timeoutMs: 60_000 });
    expect(audit).toMatchObject({ checked: 4, differing: 1, unchecked: 0, items: [{ index: 1 }] });
  });

  test("a program that maps gets its values, and then an error that says which items differ", async () => {
    await using client = await connect({ address: cluster.address, secretFile: cluster.path("secret") });
    const results = client.map(pathToFileURL(taskFile("liars.ts")), "square", upTo(20), { audit: "100%" });
    const values: unknown[] = [];
    const reading = (async () => {
      for await (const value of results) values.push(value);
    })();
    await expect(reading).rejects.toBeInstanceOf(JobAuditError);
    await expect(reading).rejects.toMatchObject({
      info: { audit: { differing: 4 } },
      message: expect.stringMatching(/4 items differ, of 20 compared: item 0 between nodes/) as string,
    });
    expect(values).toHaveLength(20);
    const agreed = client.map(pathToFileURL(taskFile("liars.ts")), "square", [1, 2, 3], { audit: 1 });
    expect(await agreed.all()).toEqual([1, 4, 9]);
  });
});

describe("nodes that agree", () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startCluster({ agents: 2, slots: 1 });
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test("only the sample runs twice; every value is there once", async () => {
    const log = cluster.path("noted");
    const items = upTo(400).map((n) => ({ n, log }));
    const job = await submit(cluster.client, { task: "liars.ts:noted", items, audit: 0.1 });
    const { outcomes, info } = await collect(cluster.client, job);
    expect(valuesOf(outcomes)).toEqual(upTo(400));
    const { checked, differing, unchecked } = info.audit!;
    expect({ differing, unchecked }).toEqual({ differing: 0, unchecked: 0 });
    expect(checked).toBeGreaterThan(10);
    expect(checked).toBeLessThan(90);
    const runs = readFileSync(log, "utf8").trim().split("\n");
    expect(new Set(runs).size).toBe(400);
    expect(runs).toHaveLength(400 + checked);
    expect(info.duplicates).toBe(checked);
  });

  test("kill -9 of the coordinator in the middle: what is found in the end is the same", async () => {
    const items = upTo(150).map((n) => ({ n, log: cluster.path("killed") }));
    const job = await submit(cluster.client, { task: "liars.ts:noted", items, audit: 1 });
    const isAuditing = async (): Promise<boolean> => {
      const { audit } = await cluster.client.getJob(job);
      return audit!.checked > 20 && audit!.open > 20;
    };
    await until(isAuditing, { what: "the audit to be in its middle", withinMs: 60_000 });
    await cluster.coordinator.kill("SIGKILL");
    await cluster.restartCoordinator();
    const { outcomes, info } = await collect(cluster.client, job);
    expect(valuesOf(outcomes)).toEqual(upTo(150));
    expect(info).toMatchObject({
      state: "done",
      strikes: 0,
      audit: { checked: 150, differing: 0, unchecked: 0, open: 0 },
    });
    // An ended job's audit stands in its record.
    await cluster.restartCoordinator();
    const { audit } = await cluster.client.getJob(job);
    expect(audit).toMatchObject({ checked: 150, differing: 0, unchecked: 0 });
  });
});

test("without a second node nothing can be compared: the job ends, and says so", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 2 });
  const map = ["map", `${taskFile("liars.ts")}:square`, "--range", "0-19", "--audit", "100%", "--values"];
  const { code, stdout, stderr } = await everycore(map, {
    environment: cluster.environment,
    cwd: cluster.dir,
  });
  expect(stderr).toContain("audit: 20 of 20 items were not checked, for no other node has run them");
  expect(jsonLines(stdout)).toEqual(squares(20));
  expect(code).toBe(0);
});
