// Jobs of the TypeScript client: submitted for good, read from any index by anybody, watched, cancelled, tried again.

import { pathToFileURL } from "node:url";
import { connect, range, taskModule } from "@everycore/client";
import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { RunLog, codeOf, taskFile, upTo } from "../support/jobs.ts";
import type * as arithmeticModule from "../support/tasks/arithmetic.ts";
import type * as recordedModule from "../support/tasks/recorded.ts";
import type { RecordedItem } from "../support/tasks/recorded.ts";

const moduleOf = <Module>(name: string) => taskModule<Module>(pathToFileURL(taskFile(name)));
const arithmetic = moduleOf<typeof arithmeticModule>("arithmetic.ts");
const recorded = moduleOf<typeof recordedModule>("recorded.ts");

test("results are read from any index, in order or as they ended, again and again, by another client", async () => {
  await using cluster = await startCluster({ slots: 2 });
  await using writer = await connect({ address: cluster.address, secret: cluster.secret });
  const job = await writer.submit(arithmetic, "square", range(1_000), { name: "squares" });
  await using reader = await connect({ address: cluster.address, secret: cluster.secret });
  const same = reader.job<number>(job.id.slice(0, 12));
  expect(await same.wait({ timeoutMs: 30_000 })).toMatchObject({
    state: "done",
    name: "squares",
    total: 1_000,
  });
  for (const options of [{ from: 990 }, { from: 990, follow: false }]) {
    const values: number[] = [];
    for await (const outcome of same.results(options)) if (outcome.ok) values.push(outcome.value);
    expect(values).toEqual(upTo(10).map((n) => (990 + n) ** 2));
  }
  const indexes: number[] = [];
  for await (const { index } of same.results({ unordered: true })) indexes.push(index);
  expect(indexes.toSorted((a, b) => a - b)).toEqual(upTo(1_000));
  expect(await same.audit()).toMatchObject({ closed: true, covered: 1_000 });
  expect((await reader.jobs({ state: "done" })).map(({ name }) => name)).toEqual(["squares"]);
});

test("a reader that stopped goes on at the next index while the job runs, and leaving changes nothing", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await connect({ address: cluster.address, secret: cluster.secret });
  const log = new RunLog(cluster.dir);
  const items = upTo(40).map((n) => log.item(n, { isHeld: n === 20 }) as RecordedItem); // what the task takes
  const job = await client.submit(recorded, "run", items);
  let last = -1;
  for await (const { index } of job.results()) {
    last = index;
    if (index === 9) break;
  }
  const states: string[] = [];
  const watching = (async () => {
    for await (const { state } of job.watch()) states.push(state);
  })();
  await log.hasBegunItem(20);
  log.open();
  const rest: number[] = [];
  for await (const { index } of job.results({ from: last + 1 })) rest.push(index);
  expect(rest).toEqual(upTo(30).map((n) => n + 10));
  await watching;
  expect(states.at(-1)).toBe("done");
  expect(log.repeated()).toEqual([]);
});

test("failed items are run again by retry, the others are left alone", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await connect({ address: cluster.address, secret: cluster.secret });
  const log = new RunLog(cluster.dir);
  const failures = cluster.path("failures");
  const items = upTo(5).map((n) => ({ ...(log.item(n) as RecordedItem), failures })); // what the task takes
  const job = await client.submit(recorded, "flaky", items);
  expect(await job.wait()).toMatchObject({ state: "done", counts: { value: 4, error: 1 } });
  await job.retry();
  expect(await job.wait()).toMatchObject({ state: "done", counts: { value: 5, error: 0 } });
  expect(log.repeated()).toEqual([0]);
  expect((await job.info()).round).toBe(1);
});

test("cancel, delete, and waits that are over", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await connect({ address: cluster.address, secret: cluster.secret });
  const log = new RunLog(cluster.dir);
  const items = upTo(3).map((n) => log.item(n, { isHeld: true }) as RecordedItem); // what the task takes
  const job = await client.submit(recorded, "run", items);
  expect(await codeOf(job.wait({ timeoutMs: 50 }))).toBe("timeout");
  expect(await codeOf(job.delete())).toBe("conflict");
  await job.cancel("no longer wanted");
  expect(await job.wait({ timeoutMs: 10_000 })).toMatchObject({
    state: "cancelled",
    reason: "no longer wanted",
  });
  const kinds: string[] = [];
  for await (const outcome of job.results()) kinds.push(outcome.ok ? "value" : outcome.error.kind);
  expect(kinds).toEqual(["cancelled", "cancelled", "cancelled"]);
  await job.delete();
  expect(await codeOf(job.info())).toBe("not-found");
});

test("an input that fails in the middle of a submit cancels what was sent", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await connect({ address: cluster.address, secret: cluster.secret });
  async function* failing(): AsyncGenerator<number> {
    yield 1;
    yield await Promise.reject(new RangeError("no more input"));
  }
  await expect(client.submit(arithmetic, "square", failing())).rejects.toThrow("no more input");
  const [job] = await client.jobs();
  expect(await client.job(job!.id).wait({ timeoutMs: 10_000 })).toMatchObject({ state: "cancelled" });
});
