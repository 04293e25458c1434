// The disk of an agent is full: items are not done there, nothing is struck, the job says why it waits, and goes on
// when there is room again (DESIGN 11). Needs a small file system of its own, hence root; in CI it must run.

import { rm, statfs, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { collect, submit, upTo } from "../support/jobs.ts";
import { type SmallDisk, mountSmallDisk } from "../support/small-disk.ts";
import { until } from "../support/until.ts";

const MB = 1024 * 1024;
let cluster: TestCluster | undefined;
let disk: SmallDisk | undefined;

beforeAll(async () => {
  cluster = await startCluster({ agents: 0 });
  disk = await mountSmallDisk(160);
});

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await disk?.[Symbol.asyncDispose]();
});

test(
  "an agent whose disk is full loses nothing: it waits, says so, and goes on with room",
  { timeout: 90_000 },
  async ({ skip }) => {
    if (disk === undefined || cluster === undefined)
      return skip("no file system may be mounted here: needs root");
    const { client } = cluster;
    const agent = await cluster.addAgent({ dataDir: `${disk.path}/agent`, slots: 1 });
    const { bavail, bsize } = await statfs(disk.path);
    const filler = `${disk.path}/filler`;
    await writeFile(filler, Buffer.alloc(Math.max(0, bavail * bsize - 2 * MB)));

    // The agent looks once a second; a quick job would be over before it did.
    await until(async () => (await client.listNodes()).some((node) => /disk/.test(node.reason)), {
      withinMs: 30_000,
      what: "the node to say that its disk is full",
    });

    const job = await submit(client, { task: "arithmetic.ts:ofLength", items: upTo(12).map(() => MB) });
    const waitsForDisk = async (): Promise<boolean> => {
      const { state, reason, counts, leased } = await client.getJob(job);
      if (/disk/.test(reason)) return true;
      throw new Error(JSON.stringify({ state, reason, counts, leased, nodes: await client.listNodes() }));
    };
    await until(waitsForDisk, { withinMs: 30_000, what: "the job to say that it waits for disk" });
    expect((await client.getJob(job)).counts).toMatchObject({ error: 0, crash: 0, lost: 0 });
    expect(agent.isRunning).toBe(true);

    await rm(filler);
    const { outcomes, info } = await collect(client, job);
    expect(outcomes.map((outcome) => (outcome.value() as Buffer).length)).toEqual(upTo(12).map(() => MB));
    expect(info).toMatchObject({ state: "done", strikes: 0, counts: { value: 12 } });
  },
);
