// `cluster.map` of the TypeScript client against a real cluster: values, order, reductions, failures, and what happens
// when its consumer is slow or leaves.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type Cluster,
  EverycoreError,
  ItemCrashedError,
  ItemFailedError,
  ItemTimeoutError,
  JobCancelledError,
  JobFailedError,
  connect,
  range,
  taskModule,
} from "@everycore/client";
import { expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { RunLog, codeOf, taskFile, upTo } from "../support/jobs.ts";
import type * as arithmeticModule from "../support/tasks/arithmetic.ts";
import type * as failuresModule from "../support/tasks/failures.ts";
import type * as recordedModule from "../support/tasks/recorded.ts";
import type { RecordedItem } from "../support/tasks/recorded.ts";
import { until } from "../support/until.ts";

const urlOf = (name: string): URL => pathToFileURL(taskFile(name));
const arithmetic = taskModule<typeof arithmeticModule>(urlOf("arithmetic.ts"));
const failures = taskModule<typeof failuresModule>(urlOf("failures.ts"));
const recorded = taskModule<typeof recordedModule>(urlOf("recorded.ts"));
const deaths = urlOf("deaths.ts");

/** What tasks/recorded.ts takes is what RunLog makes. */
const itemOf = (log: RunLog, index: number, options: { ms?: number; isHeld?: boolean } = {}): RecordedItem =>
  log.item(index, options) as RecordedItem;

const clientOf = (cluster: TestCluster): Promise<Cluster> =>
  connect({ address: cluster.address, secretFile: cluster.path("secret") });

/** All slots of all nodes are idle. */
const isIdle = async (client: Cluster): Promise<boolean> =>
  (await client.nodes()).every(({ busy, leased }) => busy === 0 && leased === 0);

test("values come in item order; ranges, arrays, iterables and async iterables are items", async () => {
  await using cluster = await startCluster({ slots: 2 });
  await using client = await clientOf(cluster);
  const squares: number[] = [];
  for await (const square of client.map(arithmetic, "square", range(5, 2_005))) squares.push(square);
  expect(squares).toEqual(upTo(2_000).map((n) => (n + 5) ** 2));
  expect(await client.map(arithmetic, "square", [3, 1, 2]).all()).toEqual([9, 1, 4]);
  expect(await client.map(arithmetic, "square", new Set([3, 1])).all()).toEqual([9, 1]);
  async function* later(): AsyncGenerator<number> {
    yield 7;
    yield await Promise.resolve(8);
  }
  expect(await client.map(arithmetic, "later", later()).all()).toEqual([8, 9]);
  expect(await client.map(arithmetic, "square", []).all()).toEqual([]);
  expect(await client.map(arithmetic, "square", range(0)).all()).toEqual([]);
  const untyped = client.map<number>(taskFile("arithmetic.ts"), "square", [5]);
  expect(await untyped.all()).toEqual([25]);
  expect(client.isEmbedded).toBe(false);
});

test("values of every kind come back as they went", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  const items = [
    null,
    true,
    -1.5,
    2 ** 40,
    2n ** 60n,
    "ä😀",
    new Date("2026-11-24T22:00:00.123Z"),
    [1, [2, { three: [4] }]],
    { a: { b: null } },
  ];
  expect(await client.map(arithmetic, "identity", items).all()).toStrictEqual(items);
  const [bytes, nested] = (await client
    .map(arithmetic, "identity", [new Uint8Array([1, 2, 255]), { data: new Uint8Array([7]) }])
    .all()) as [Uint8Array, { data: Uint8Array }];
  expect([...bytes]).toEqual([1, 2, 255]);
  expect([...nested.data]).toEqual([7]);
});

test("a Python module's functions are mapped like any other; integers stay integers", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  const squares = client.map<number>(urlOf("plain.py"), "square", [3, 2 ** 20]);
  expect(await squares.all()).toEqual([9, 2 ** 40]);
  const file = join(cluster.dir, "kinds.py");
  await writeFile(file, "def kind(item):\n    return type(item).__name__\n");
  const items = [1, 2 ** 40, -(2 ** 50), 2n ** 60n, 0.5, "a", null, true, [1], { a: 1 }, new Uint8Array([1])];
  expect(await client.map(pathToFileURL(file), "kind", items).all()).toEqual([
    "int",
    "int",
    "int",
    "int",
    "float",
    "str",
    "NoneType",
    "bool",
    "list",
    "dict",
    "bytes",
  ]);
});

test("an item that cannot be sent ends the map with its index and type, and the job is cancelled", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  const mapping = client.map(arithmetic, "identity", [1, 2, { deep: new Map() }]).all();
  await expect(mapping).rejects.toThrow("item 2: deep is a Map");
  expect(await codeOf(mapping)).toBe("bad-input");
  await until(async () => (await client.jobs()).every(({ state }) => state === "cancelled"), {
    what: "the job to be cancelled",
  });
  const tooLarge = client.map(arithmetic, "identity", ["x".repeat(4 * 1024 * 1024)]).all();
  expect(await codeOf(tooLarge)).toBe("over-limit");
});

test("unordered results come as they end; outcomes name their index", async () => {
  await using cluster = await startCluster({ slots: 2 });
  await using client = await clientOf(cluster);
  const log = new RunLog(cluster.dir);
  const items = upTo(6).map((index) => itemOf(log, index, { isHeld: index === 0 }));
  const seen: number[] = [];
  for await (const outcome of client.map(recorded, "run", items, { unordered: true }).outcomes()) {
    if (outcome.ok) expect(outcome.value).toBe(outcome.index);
    seen.push(outcome.index);
    if (seen.length === 5) log.open();
  }
  expect(seen.at(-1)).toBe(0);
  expect(seen.toSorted((a, b) => a - b)).toEqual(upTo(6));
  const all = client.map(arithmetic, "square", range(1_000), { unordered: true }).all();
  expect(await all).toEqual(upTo(1_000).map((n) => n * n));
});

test("a reduction gives what the serial one gives, to the last bit, whatever the cores", async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  await using client = await clientOf(cluster);
  expect(await client.map(arithmetic, "square", range(1, 1_001)).reduce("add")).toBe(333_833_500);
  const first = await client.map(arithmetic, "fraction", range(5_000)).reduce("add");
  const again = await client.map(arithmetic, "fraction", upTo(5_000)).reduce("add");
  expect(again).toBe(first);
});

test("a reduction fails at the first item without a value, or counts it if asked", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  const mixed = taskModule<{ odd: (n: number) => number; add: (a: number, b: number) => number }>(
    pathToFileURL(join(cluster.dir, "mixed.mjs")),
  );
  await writeFile(
    join(cluster.dir, "mixed.mjs"),
    `export const odd = (n) => { if (n % 2) throw new RangeError(n + " is odd"); return n; };
     export const add = (a, b) => a + b;`,
  );
  await expect(client.map(mixed, "odd", range(10)).reduce("add")).rejects.toBeInstanceOf(JobFailedError);
  const partial = await client.map(mixed, "odd", range(10)).reduce("add", { skipFailed: true });
  expect(partial).toEqual({ value: 20, missing: 5 });
  const none = await client.map(mixed, "odd", [1, 3]).reduce("add", { skipFailed: true });
  expect(none).toEqual({ value: undefined, missing: 2 });
  expect(await client.map(mixed, "odd", []).reduce("add", { skipFailed: true })).toEqual({
    value: undefined,
    missing: 0,
  });
  expect(await codeOf(client.map(mixed, "odd", []).reduce("add"))).toBe("bad-input");
  expect(await codeOf(client.map(mixed, "odd", range(3)).reduce("ad"))).toBe("bad-task");
});

test("the first failed item throws where it stands and the rest is cancelled; outcomes() shows them all", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  const seen: number[] = [];
  const failing = (async () => {
    for await (const value of client.map(failures, "odd", range(100_000), { retries: 1 })) seen.push(value);
  })();
  const error: unknown = await failing.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ItemFailedError);
  expect(error).toMatchObject({
    kind: "error",
    index: 1,
    attempts: 2,
    message: "item 1: RangeError: 1 is odd",
  });
  const { cause, job, node } = error as ItemFailedError;
  expect(cause).toMatchObject({ name: "RangeError", message: "1 is odd" });
  expect((cause as Error).stack).toContain("failures.ts");
  expect(node).toBe(cluster.agents[0]!.node);
  expect(seen).toEqual([0]);
  expect(await client.job(job).wait({ timeoutMs: 10_000 })).toMatchObject({ state: "cancelled" });

  const kinds: unknown[] = [];
  for await (const outcome of client.map(failures, "odd", range(4)).outcomes())
    kinds.push(outcome.ok ? outcome.value : outcome.error.kind);
  expect(kinds).toEqual([0, "error", 2, "error"]);
});

test("crash, timeout and a task that cannot be loaded are errors of their own classes", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  const crash: unknown = await client
    .map(recorded, "poisonous", [{ ...itemOf(new RunLog(cluster.dir), 0), isPoison: true }])
    .all()
    .catch((error: unknown) => error);
  expect(crash).toBeInstanceOf(ItemCrashedError);
  expect(crash).toMatchObject({ kind: "crash", signal: "SIGSEGV", index: 0 });
  const late: unknown = await client
    .map(failures, "stuck", [3], { itemTimeoutMs: 300 })
    .all()
    .catch((error: unknown) => error);
  expect(late).toBeInstanceOf(ItemTimeoutError);
  const broken: unknown = await client
    .map(deaths, "doesNotMatter", [1])
    .all()
    .catch((error: unknown) => error);
  expect(broken).toBeInstanceOf(EverycoreError);
  expect(broken).toMatchObject({ code: "bad-task" });
  const dies: unknown = await client
    .map(urlOf("no_load.ts"), "default", range(10))
    .all()
    .catch((error: unknown) => error);
  expect(dies).toBeInstanceOf(JobFailedError);
});

test("an endless input with a slow consumer is read at most `ahead` items ahead; break ends all of it", async () => {
  await using cluster = await startCluster({ slots: 2 });
  await using client = await clientOf(cluster);
  let taken = 0;
  let isEnded = false;
  async function* endless(): AsyncGenerator<number> {
    try {
      for (;;) yield taken++;
    } finally {
      isEnded = true;
    }
  }
  const results = client.map(arithmetic, "square", endless(), { ahead: 50 });
  let consumed = 0;
  for await (const square of results) {
    expect(square).toBe(consumed ** 2);
    consumed += 1;
    expect(taken).toBeLessThanOrEqual(50 + consumed);
    if (consumed % 40 === 0) {
      const job = client.job(await results.job);
      // The consumer stops here until the cluster has done all that was sent: the input must stand still meanwhile.
      await until(async () => (await job.info()).counts?.value === 50 + consumed, { what: "all to be done" });
      expect(taken).toBe(50 + consumed);
    }
    if (consumed === 200) break;
  }
  expect(isEnded).toBe(true);
  expect(await client.job(await results.job).wait({ timeoutMs: 5_000 })).toMatchObject({
    state: "cancelled",
  });
});

test("break, a throw and an aborted signal cancel the job and free the cores within a second", async () => {
  await using cluster = await startCluster({ slots: 2 });
  await using client = await clientOf(cluster);
  const log = new RunLog(cluster.dir);
  const items = upTo(20).map((index) => itemOf(log, index, { isHeld: index > 0 }));
  const leaving: ((results: ReturnType<typeof begin>, stop: AbortController) => Promise<void>)[] = [
    async (results) => {
      for await (const _ of results) break;
    },
    async (results) => {
      const reading = (async () => {
        for await (const _ of results) throw new Error("of the consumer");
      })();
      await expect(reading).rejects.toThrow("of the consumer");
    },
    async (results, stop) => {
      const reading = (async () => {
        for await (const _ of results) stop.abort(new Error("of the signal"));
      })();
      await expect(reading).rejects.toThrow("of the signal");
    },
  ];
  const begin = (signal: AbortSignal) => client.map(recorded, "run", items, { signal });
  for (const leave of leaving) {
    const stop = new AbortController();
    const results = begin(stop.signal);
    await results.job;
    await leave(results, stop);
    const leftAt = performance.now();
    await until(() => isIdle(client), { withinMs: 5_000, what: "the cores to be free" });
    // The promise is one second; the margin, as in cancel.test.ts, is for a busy machine and the heartbeat that tells.
    expect(performance.now() - leftAt).toBeLessThan(3_000);
    expect(await client.job(await results.job).wait()).toMatchObject({ state: "cancelled" });
  }
});

test("a signal that is aborted before anything began sends nothing", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  const signal = AbortSignal.abort(new Error("too early"));
  await expect(client.map(arithmetic, "square", range(3), { signal }).all()).rejects.toThrow("too early");
  await expect(client.submit(arithmetic, "square", range(3), { signal })).rejects.toThrow("too early");
  expect(await client.jobs()).toEqual([]);
});

test("a job that somebody else cancels ends its map with JobCancelledError", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  const log = new RunLog(cluster.dir);
  const results = client.map(
    recorded,
    "run",
    upTo(5).map((n) => itemOf(log, n, { isHeld: n > 0 })),
  );
  const reading = results.all();
  reading.catch(() => {}); // awaited below
  await log.hasBegun(2);
  await client.job(await results.job).cancel("by the test");
  await expect(reading).rejects.toBeInstanceOf(JobCancelledError);
  await expect(reading).rejects.toThrow("by the test");
});

test("what an input throws ends the map with the same error; results are read once", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await clientOf(cluster);
  function* failing(): Generator<number> {
    yield 1;
    throw new RangeError("no more input");
  }
  await expect(client.map(arithmetic, "square", failing()).all()).rejects.toThrow("no more input");
  const results = client.map(arithmetic, "square", range(3));
  await results.job;
  expect(await codeOf(results.reduce("add"))).toBe("conflict");
  expect(await results.all()).toEqual([0, 1, 4]);
  expect(await codeOf(results.all())).toBe("conflict");
  for (const options of [
    { retries: -1 },
    { priority: 0.5 },
    { itemTimeoutMs: 0 },
    { seed: -1 },
    { ahead: 0 },
  ])
    expect(await codeOf(client.map(arithmetic, "square", range(3), options).all())).toBe("bad-input");
  expect(await codeOf(client.map(urlOf("arithmetic.ts"), "sqare", range(3)).all())).toBe("bad-task");
  expect(await codeOf(client.map(urlOf("missing.ts"), "square", range(3)).all())).toBe("bad-task");
});

test("the same seed gives the same numbers, another one gives others", async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  await using client = await clientOf(cluster);
  const draw = (seed: number | bigint | string) =>
    client.map(arithmetic, "random", range(50), { seed }).all();
  const first = await draw(7);
  expect(await draw("0000000000000007")).toEqual(first);
  expect(await draw(7n)).toEqual(first);
  expect(await draw(8)).not.toEqual(first);
});

test("close() cancels what is still being consumed and leaves what was submitted", async () => {
  await using cluster = await startCluster({ slots: 1 });
  const client = await clientOf(cluster);
  const log = new RunLog(cluster.dir);
  const held = (from: number) => upTo(3).map((n) => itemOf(log, from + n, { isHeld: true }));
  const kept = await client.submit(recorded, "run", held(100));
  const results = client.map(recorded, "run", held(0));
  const reading = results.all();
  reading.catch(() => {}); // awaited below
  const job = await results.job;
  await client.close();
  await client.close();
  await expect(reading).rejects.toThrow();
  await using other = await clientOf(cluster);
  expect(await other.job(job).wait({ timeoutMs: 5_000 })).toMatchObject({ state: "cancelled" });
  expect(await other.job(kept.id).info()).toMatchObject({ state: "running" });
  log.open();
  expect(await other.job(kept.id).wait({ timeoutMs: 30_000 })).toMatchObject({ state: "done" });
});

test("the coordinator is killed and starts again in the middle of an iteration: every value comes, once", async () => {
  await using cluster = await startCluster({ agents: 2, slots: 1 });
  await using client = await clientOf(cluster);
  const log = new RunLog(cluster.dir);
  async function* items(): AsyncGenerator<RecordedItem> {
    for (let index = 0; index < 300; index += 1) yield itemOf(log, index, { ms: 5 });
  }
  const values: number[] = [];
  for await (const value of client.map(recorded, "run", items(), { ahead: 100 })) {
    values.push(value);
    if (values.length !== 60) continue;
    await cluster.coordinator.kill("SIGKILL");
    await cluster.restartCoordinator();
  }
  expect(values).toEqual(upTo(300));
  expect(log.repeated()).toEqual([]);
});
