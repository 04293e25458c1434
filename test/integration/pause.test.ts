// `job pause` and `job resume`, `node undrain`, by the real command: what runs comes to its end, nothing else begins,
// also under a coordinator that was killed meanwhile; afterwards each item has run once.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore } from "../support/command.ts";
import { RunLog, runJob, submit, upTo } from "../support/jobs.ts";
import { until } from "../support/until.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[]): Promise<Ended> =>
  everycore(args, { environment: cluster.environment });

test("a paused job lets another run, survives a killed coordinator, and goes on where it stood", async () => {
  const log = new RunLog(cluster.dir, "paused");
  const items = upTo(20).map((n) => log.item(n, { isHeld: true }));
  const id = await submit(cluster.client, { task: "recorded.ts:run", items });
  await log.hasBegun(1);
  const paused = await run(["job", "pause", id.slice(0, 8)]);
  expect(paused).toMatchObject({ code: 0, stdout: `job ${id.slice(0, 8)} paused\n` });
  log.open();
  const idle = async (): Promise<boolean> => (await cluster.client.getJob(id)).leased === 0;
  await until(idle, { what: "all but what ran to be given back" });
  const begun = log.begun().length;
  expect(begun).toBeLessThan(20);
  const other = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 9] });
  expect(other.info.state).toBe("done");
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  const again = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 9] });
  expect(again.info.state).toBe("done");
  expect((await cluster.client.getJob(id)).state).toBe("paused");
  expect(log.begun().length).toBe(begun);
  const resumed = await run(["job", "resume", id]);
  expect(resumed).toMatchObject({ code: 0, stdout: `job ${id.slice(0, 8)} running\n` });
  expect((await cluster.client.waitJob(id, { timeoutMs: 60_000 })).counts?.value).toBe(20);
  expect(log.begun().toSorted((a, b) => a - b)).toEqual(upTo(20));
  expect((await run(["job", "audit", id])).code).toBe(0);
  const late = await run(["job", "pause", id]);
  expect(late.code).toBe(2);
  expect(late.stderr).toContain("is done and cannot be paused");
});

test("node undrain: a node that was about to go stays and works", async () => {
  const log = new RunLog(cluster.dir, "undrained");
  const items = upTo(4).map((n) => log.item(n, { isHeld: true }));
  const id = await submit(cluster.client, { task: "recorded.ts:run", items });
  await log.hasBegun(1);
  const [agent] = cluster.agents;
  expect((await run(["node", "drain", agent!.node])).stdout).toContain("is draining");
  expect((await run(["node", "undrain", agent!.node.slice(0, 8)])).stdout).toContain("is connected");
  log.open();
  expect((await cluster.client.waitJob(id, { timeoutMs: 60_000 })).counts?.value).toBe(4);
  expect(agent!.isRunning).toBe(true);
  expect((await run(["node", "undrain", "ffffffff"])).code).toBe(2);
});
