// The disk of an agent is full at the very moment when it writes the outcome of an item that it has ended for its time:
// the outcome is kept and committed all the same, and the agent goes on (DESIGN 11). Needs a small file system, as
// disk-full.test.ts does.

import { closeSync, openSync, writeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { RunLog, collect, runJob, submit, upTo, valuesOf } from "../support/jobs.ts";
import { type SmallDisk, mountSmallDisk } from "../support/small-disk.ts";

let cluster: TestCluster | undefined;
let disk: SmallDisk | undefined;

beforeAll(async () => {
  cluster = await startCluster({ agents: 0 });
  disk = await mountSmallDisk(100);
});

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await disk?.[Symbol.asyncDispose]();
});

/** Takes all the room there is. */
function fill(path: string): void {
  const file = openSync(path, "w");
  for (let bytes = 1 << 20; bytes >= 4_096;) {
    try {
      if (writeSync(file, Buffer.alloc(bytes)) < bytes) bytes /= 4;
    } catch {
      bytes /= 4; // full for a piece of this size
    }
  }
  closeSync(file);
}

test(
  "an item's timeout on a full disk is its outcome, and costs neither agent nor neighbours",
  { timeout: 60_000 },
  async ({ skip }) => {
    if (disk === undefined || cluster === undefined)
      return skip("no file system may be mounted here: needs root");
    const { client } = cluster;
    const agent = await cluster.addAgent({ dataDir: `${disk.path}/agent`, slots: 1 });
    const log = new RunLog(cluster.dir, "stuck");
    const job = await submit(client, {
      task: "timeouts.ts:stuck",
      items: upTo(2).map((index) => ({ index, file: log.file })),
      itemTimeoutMs: 4_000,
    });
    await log.hasBegun(2);
    fill(`${disk.path}/filler`);

    const { outcomes, info } = await collect(client, job);
    expect(outcomes[1]!.error()).toMatchObject({ kind: "timeout" });
    expect(info).toMatchObject({ state: "done", strikes: 0, counts: { value: 1, timeout: 1 } });
    expect(agent.log()).toContain("kept in memory");
    expect(agent.isRunning).toBe(true);

    await rm(`${disk.path}/filler`);
    const after = await runJob(client, { task: "arithmetic.ts:square", range: [1, 3] });
    expect(valuesOf(after.outcomes)).toEqual([1, 4, 9]);
  },
);
