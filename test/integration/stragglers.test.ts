// `speculate`: an item that is late at the end of its job is tried on a second node too. The first outcome counts, the
// other try is ended (P2); nothing is tried twice in a job that does not ask for it.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { RunLog, collect, submit, upTo, valuesOf } from "../support/jobs.ts";
import { until } from "../support/until.ts";

const count = 40;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 2, slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const itemsOf = (log: RunLog, name: string): unknown[] =>
  upTo(count).map((index) => ({
    ...log.item(index, { ms: 5, isHeld: index === count - 1 }),
    failures: cluster.path(`${name}.hung`),
  }));

test("an item that hangs on one node ends on the other, and its first worker is ended", async () => {
  const log = new RunLog(cluster.dir, "second");
  const job = await submit(cluster.client, {
    task: "recorded.ts:hangsOnce",
    items: itemsOf(log, "second"),
    speculate: true,
  });
  const { outcomes, info } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(count));
  expect(info).toMatchObject({ state: "done", strikes: 0, counts: { value: count } });
  expect(log.repeated()).toEqual([count - 1]);
  // The slot of the first try is free again: else one slot would be left, and these would wait for one another.
  const after = new RunLog(cluster.dir, "after");
  const items = upTo(2).map((index) => after.item(index, { isHeld: true }));
  const held = await submit(cluster.client, { task: "recorded.ts:run", items });
  await after.hasBegun(2);
  after.open();
  await collect(cluster.client, held);
});

test("unasked, it is left where it runs, and the explanation names it", async () => {
  const log = new RunLog(cluster.dir, "single");
  const job = await submit(cluster.client, { task: "recorded.ts:hangsOnce", items: itemsOf(log, "single") });
  const isNamed = async (): Promise<boolean> => {
    const { explanation } = await cluster.client.explainJob(job);
    return explanation!.lines.some(({ about, text }) => about === "late" && text.includes("--speculate"));
  };
  await until(isNamed, { what: "the late item to be named", withinMs: 30_000 });
  log.open();
  const { outcomes } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual(upTo(count));
  expect(log.repeated()).toEqual([]);
});
