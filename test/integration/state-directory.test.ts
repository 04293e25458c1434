// The state directory of an agent is bounded in all (P7, DESIGN 10): beyond its bound no slice starts until there is
// room, and what idle workers keep is given up for it, so that the job goes on.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { everycore } from "../support/command.ts";
import { collect, submit, upTo, valuesOf } from "../support/jobs.ts";
import { until } from "../support/until.ts";

const MB = 1024 * 1024;
const stateBytesMax = 64 * MB;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 1, slots: 1, stateBytesMax });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

test("tasks that fill their scratch folders wait for room, and end with nothing lost or struck", async () => {
  const { client } = cluster;
  // 40 MB each, kept in the worker's folder: the second one is beyond the bound.
  const job = await submit(client, { task: "scratch.py:fills", items: upTo(6).map(() => 40) });
  let most = 0;
  await until(
    async () => {
      const [node] = await client.listNodes();
      most = Math.max(most, node!.stateBytes);
      return /disk/.test(node!.reason);
    },
    { withinMs: 30_000, what: "the node to say that it may take no more of its disk" },
  );
  const { outcomes, info } = await collect(client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(6).map(() => 40));
  expect(info).toMatchObject({ state: "done", strikes: 0, counts: { value: 6 } });
  const [node] = await client.listNodes();
  expect(node!.stateBytesMax).toBe(stateBytesMax);
  expect(most).toBeGreaterThan(0);
  expect(cluster.agents[0]!.isRunning).toBe(true);
}, 90_000);

test("node get and doctor say what of it is used", async () => {
  const { environment, agents } = cluster;
  const { stdout } = await everycore(["node", "get", agents[0]!.node], { environment });
  expect(stdout).toMatch(/files\s+\S+ \S+ of 64/);
  const { stdout: found } = await everycore(["doctor", "-o", "json"], { environment });
  expect(JSON.parse(found)).toContainEqual(
    expect.objectContaining({ what: "node files", detail: expect.stringContaining("of 64") as string }),
  );
});
