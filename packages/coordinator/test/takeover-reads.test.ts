// What a new leader reads at its takeover: the logs of active jobs from their first record on, those of ended jobs only
// once somebody asks (decision 0110). And that nobody notices.
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../test/support/until.ts";
import type { CoordinatorCluster } from "./support/coordinator-cluster.ts";
import { startCoordinatorCluster } from "./support/coordinator-cluster.ts";
import { spec } from "./support/coordinator-process.ts";

let cluster: CoordinatorCluster;
beforeEach(async () => {
  cluster = await startCoordinatorCluster();
});
afterEach(async () => {
  await cluster[Symbol.asyncDispose]();
});

const items = 3;
const small = spec({ codec: "range", rangeItems: items });
const large = spec({ codec: "range", rangeItems: 20_000 });

/** Records that the leader's tails have read. */
async function recordsRead(): Promise<number> {
  const text = await (await fetch(`http://${cluster.coordinator.ready.http}/metrics`)).text();
  return Number(/^everycore_log_records_total (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

async function takeOver(): Promise<void> {
  const { coordinator, agent } = cluster;
  const linked = agent.linked;
  // Orderly, so that nobody waits for the key to expire.
  await coordinator.end("SIGTERM");
  await coordinator.start();
  await until(() => agent.linked > linked, { what: "the agent's next welcome" });
}

const get = (job: string): Promise<{ state: string; duplicates: number; usage: unknown[] }> =>
  cluster.calls.unary("JobService", "Get", { job });

test("ended jobs are not read, and answer as before", async () => {
  const { calls } = cluster;
  const shared = await calls.submit("shared", small);
  await calls.results(shared.id);
  const own = await calls.submit("own", large);
  await calls.results(own.id);
  const before = [await get(shared.id), await get(own.id)];
  await takeOver();
  expect(await recordsRead()).toBe(0);
  expect((await calls.results(shared.id)).values.size).toBe(items);
  expect(await calls.unary("JobService", "Audit", { job: own.id })).toMatchObject({
    closed: true,
    covered: 20_000,
  });
  expect(await recordsRead()).toBe(0);
  // What only the log says is read for whoever looks.
  const after = [await get(shared.id), await get(own.id)];
  for (const [at, job] of after.entries()) {
    expect(job.usage).toHaveLength(1);
    expect({ ...job, usage: [] }).toEqual({ ...before[at], leasesSent: 0, usage: [] });
  }
  expect(await recordsRead()).toBeGreaterThan(0);
  await calls.unary("JobService", "Delete", { job: own.id });
});

test("a job that goes on is read from its first record on; a new one in the same segment runs", async () => {
  const { calls, agent, held } = cluster;
  for (const name of ["a", "b", "c", "d"]) await calls.results((await calls.submit(name, small)).id);
  held.value = true;
  const { id } = await calls.submit("goes on", small);
  await until(() => agent.leases.some(({ job }) => job === id), { what: "a lease" });
  await takeOver();
  // Its close, and the fence.
  await until(async () => (await recordsRead()) >= 2, { what: "its log to be read" });
  expect(await recordsRead()).toBe(2);
  held.value = false;
  await agent.release();
  expect((await calls.results(id)).end).toMatchObject({ state: "done", counts: { value: items } });
  expect((await calls.results((await calls.submit("new", small)).id)).values.size).toBe(items);
});

test("a segment in which no job goes on is not read before a new job comes into it", async () => {
  const { calls } = cluster;
  for (const name of ["a", "b", "c", "d"]) await calls.results((await calls.submit(name, small)).id);
  await takeOver();
  const { id } = await calls.submit("new", small);
  expect((await calls.results(id)).end).toMatchObject({ state: "done", counts: { value: items } });
  // Its close and its commit.
  expect(await recordsRead()).toBe(2);
});

test("an ended job is retried: its log is read first, and again by the leader after that", async () => {
  const { calls, agent, held } = cluster;
  held.value = true;
  const { id } = await calls.submit("cancelled", large);
  await until(() => agent.leases.some(({ job }) => job === id), { what: "a lease" });
  await calls.unary("JobService", "Cancel", { job: id, reason: "enough" });
  expect((await calls.results(id)).end).toMatchObject({ state: "cancelled", counts: { cancelled: 20_000 } });
  await takeOver();
  expect(await recordsRead()).toBe(0);
  await calls.unary("JobService", "Retry", { job: id });
  await until(() => agent.leases.some(({ job, grant }) => job === id && grant.round === 1), {
    what: "a lease of the next round",
  });
  await takeOver();
  held.value = false;
  await agent.release();
  expect((await calls.results(id)).end).toMatchObject({ state: "done", counts: { value: 20_000 } });
  expect(await calls.unary("JobService", "Audit", { job: id })).toMatchObject({ closed: true, round: 1 });
});
