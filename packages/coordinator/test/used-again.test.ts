// A job id that is used again: deleted, and submitted with the same request id (P1, P2). Nothing of the former life
// may count for the new one, whether in the leader, in the next one, or in a reader.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { JobSpec } from "@everycore/protocol";
import { decodeJobRecord, encodeJobRecord } from "@everycore/protocol";
import { until } from "../../../test/support/until.ts";
import { startCoordinatorCluster } from "./support/coordinator-cluster.ts";
import { spec } from "./support/coordinator-process.ts";

async function setUp() {
  const life = { value: "first" };
  const cluster = await startCoordinatorCluster(
    (index, input) => `${life.value} ${input?.toString() ?? index}`,
  );
  const remove = async (id: string): Promise<void> => {
    await cluster.calls.unary("JobService", "Delete", { job: id });
  };
  return { ...cluster, life, remove };
}

let cluster: Awaited<ReturnType<typeof setUp>>;
beforeEach(async () => {
  cluster = await setUp();
});
afterEach(async () => {
  await cluster[Symbol.asyncDispose]();
});

const small = spec({ codec: "range", rangeItems: 3 });
const large = spec({ codec: "range", rangeItems: 20_000 });

test.each<[string, JobSpec, string[][]]>([
  ["stored items", spec(), [["x", "y"]]],
  ["a range", small, []],
  ["a range with a segment of its own", large, []],
])("%s, deleted and at once submitted again many times", async (_what, wanted, blocks) => {
  const { calls, life, remove, epoch } = cluster;
  const started = performance.now();
  for (let turn = 0; turn < 12; turn += 1) {
    life.value = `life ${turn}`;
    const { id } = await calls.submit("again", wanted, blocks);
    const { values, end } = await calls.results(id);
    const total = wanted.rangeItems ?? 2;
    expect(end).toMatchObject({ state: "done", counts: { value: total }, duplicates: 0 });
    expect(values.size).toBe(total);
    expect([...values.values()].every((value) => value.startsWith(`life ${turn} `))).toBe(true);
    await remove(id);
  }
  expect(await epoch()).toBe(1);
  expect(performance.now() - started).toBeLessThan(12_000);
});

test("the next leader, its readers and the audit see nothing of the former life", async () => {
  const { calls, coordinator, agent, life, remove } = cluster;
  // Keeps the shared segment, and with it the records of the job that is deleted.
  await calls.results((await calls.submit("other", small)).id);
  const { id } = await calls.submit("again", small);
  await calls.results(id);
  await remove(id);
  life.value = "second";
  expect((await calls.submit("again", small)).id).toBe(id);
  const expected = [
    [0, "second 0"],
    [1, "second 1"],
    [2, "second 2"],
  ];
  expect([...(await calls.results(id)).values]).toEqual(expected);
  await coordinator.end("SIGKILL");
  await coordinator.start();
  await until(() => agent.linked > 1, { what: "the agent's second welcome" });
  expect([...(await calls.results(id)).values]).toEqual(expected);
  expect(await calls.unary("JobService", "Audit", { job: id })).toMatchObject({
    closed: true,
    covered: 3,
    commits: 1,
    duplicate: 0,
    invalid: 0,
  });
});

test("a deletion is remembered by the next leader", async () => {
  const { calls, coordinator, agent, life, remove } = cluster;
  await calls.results((await calls.submit("other", small)).id);
  const { id } = await calls.submit("again", small);
  await calls.results(id);
  await remove(id);
  await coordinator.end("SIGKILL");
  await coordinator.start();
  await until(() => agent.linked > 1, { what: "the agent's second welcome" });
  life.value = "second";
  await calls.submit("again", small);
  expect((await calls.results(id)).values.get(0)).toBe("second 0");
  expect(await calls.unary("JobService", "Audit", { job: id })).toMatchObject({ commits: 1, duplicate: 0 });
});

test("what an agent commits late for the former life does not count for the new one", async () => {
  const { calls, agent, life, held, remove } = cluster;
  await calls.results((await calls.submit("other", small)).id);
  held.value = true;
  const { id } = await calls.submit("again", small);
  await until(() => agent.leases.some(({ job }) => job === id), { what: "a lease" });
  const late = agent.leases.filter(({ job }) => job === id);
  await calls.unary("JobService", "Cancel", { job: id, reason: "enough" });
  await calls.results(id);
  await remove(id);
  await calls.submit("again", small);
  for (const lease of late) await agent.commit(lease);
  held.value = false;
  life.value = "second";
  await agent.release();
  const { values, end } = await calls.results(id);
  expect([...values.values()]).toEqual(["second 0", "second 1", "second 2"]);
  expect(end).toMatchObject({ state: "done", duplicates: 0 });
});

test("a leader that does not know of a deletion does not accept the id: it takes over anew first", async () => {
  const { calls, jobs, life, epoch } = cluster;
  const { id } = await calls.submit("again", small);
  await calls.results(id);
  // Another leader's: stored and deleted while this one does not know the job.
  const theirs = "0123456789abcdef0123";
  const record = decodeJobRecord((await jobs.get(id))!.value);
  await calls.unary("JobService", "Delete", { job: id });
  await until(async () => (await jobs.get(id))?.operation === "PURGE", { what: "the deletion" });
  const revision = await jobs.put(theirs, encodeJobRecord({ ...record, id: theirs as never, epoch: 1 }));
  await jobs.purge(theirs, { previousSeq: revision });
  await jobs.purge(id);
  life.value = "second";
  const submitted = await until(() => calls.submit("again", small).catch(() => undefined), {
    what: "the submit at a leader that knows",
    withinMs: 15_000,
  });
  expect(submitted.id).toBe(id);
  expect((await calls.results(id)).values.get(0)).toBe("second 0");
  expect(await epoch()).toBe(2);
});
