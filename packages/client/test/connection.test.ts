import { EverycoreError, limits } from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";
import { expect, test } from "vitest";
import { Connection, makeBundle } from "../src/internal.ts";
import type { Outcome } from "../src/internal.ts";
import { FakeCoordinator } from "./fake-coordinator.ts";

const spec = (fields: Partial<JobSpec> = {}): JobSpec => ({
  name: "test",
  task: { runtime: "exec", argv: ["true"], seed: "0000000000000001", rangeStart: 0, retries: 0 },
  codec: "json",
  priority: 0,
  strict: false,
  ttlMs: 1000,
  ...fields,
});

async function* lists(...sizes: number[]): AsyncGenerator<Uint8Array[]> {
  let next = 0;
  for (const size of sizes) {
    await Promise.resolve();
    yield Array.from({ length: size }, () => Buffer.from(String(next++)));
  }
}

const open = (fake: FakeCoordinator, patienceMs = 10_000) =>
  new Connection({ address: fake.address, secret: fake.secret, patienceMs });

async function collect(source: AsyncIterable<Outcome>): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const outcome of source) values.push(outcome.value());
  return values;
}

test("items go in as blocks and their outcomes come out in order", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  const submission = cluster.submit({ requestId: "a", spec: spec(), items: lists(3, 1000, 7) });
  const info = await submission.closed;
  expect(info).toMatchObject({ id: await submission.accepted, total: 1010, state: "done" });
  const results = cluster.results(info.id);
  expect(await collect(results)).toEqual(Array.from({ length: 1010 }, (_, at) => at));
  expect(results.end.id).toBe(info.id);
});

test("a fast input is packed into blocks within their limits", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  await cluster.submit({
    requestId: "a",
    spec: spec(),
    items: lists(...Array.from({ length: 40 }, () => 5_000)),
  }).closed;
  expect(fake.blocks.reduce((sum, count) => sum + count, 0)).toBe(200_000);
  expect(Math.max(...fake.blocks)).toBeLessThanOrEqual(limits.blockItemsMax);
  expect(fake.blocks.length).toBeLessThan(20);
});

test("what a slow input has is sent at once, without waiting for more", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  const more = Promise.withResolvers<void>();
  async function* slow(): AsyncGenerator<Uint8Array[]> {
    yield [Buffer.from("1")];
    await more.promise;
    yield [Buffer.from("2")];
  }
  const submission = cluster.submit({ requestId: "a", spec: spec(), items: slow(), pipe: true });
  const results = cluster.results(await submission.accepted)[Symbol.asyncIterator]();
  expect((await results.next()).value?.value()).toBe(1); // while the input is still open
  more.resolve();
  expect((await results.next()).value?.value()).toBe(2);
  await submission.closed;
  await results.return?.(undefined);
});

test("a submit whose stream breaks goes on where the job has stopped: nothing lost, nothing twice", async () => {
  await using fake = await new FakeCoordinator({ breakSubmitAfterBlocks: 2 }).start();
  await using cluster = open(fake);
  const info = await cluster.submit({
    requestId: "a",
    spec: spec(),
    items: lists(...Array.from({ length: 30 }, () => 20_000)),
  }).closed;
  expect(fake.submitCalls).toBe(2);
  expect(info.total).toBe(600_000);
  expect([...fake.jobs.values()][0]!.items.every((item, at) => item === String(at))).toBe(true);
});

test("a coordinator that goes away while results are read is not noticed", async () => {
  await using fake = await new FakeCoordinator({ breakResultsAfter: 5 }).start();
  await using cluster = open(fake);
  const { id } = await cluster.submit({ requestId: "a", spec: spec(), items: lists(12) }).closed;
  expect(await collect(cluster.results(id))).toEqual(Array.from({ length: 12 }, (_, at) => at));
  expect(fake.resultsCalls).toBe(2);
});

test("unordered results after a break are handed out once", async () => {
  await using fake = await new FakeCoordinator({ breakResultsAfter: 5 }).start();
  await using cluster = open(fake);
  const { id } = await cluster.submit({ requestId: "a", spec: spec(), items: lists(9) }).closed;
  expect(await collect(cluster.results(id, { unordered: true }))).toEqual(
    Array.from({ length: 9 }, (_, at) => at),
  );
});

test("a coordinator that dies and comes back at its address is waited for", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  const { id } = await cluster.submit({ requestId: "a", spec: spec(), items: lists(4) }).closed;
  await fake.restart();
  expect(await cluster.getJob(id.slice(0, 8))).toMatchObject({ id, total: 4 });
});

test("a large outcome is put together from its pieces", async () => {
  const json = JSON.stringify("x".repeat(10_000));
  await using fake = await new FakeCoordinator({ pieceBytes: 999, task: () => ({ json }) }).start();
  await using cluster = open(fake);
  const { id } = await cluster.submit({ requestId: "a", spec: spec(), items: lists(2) }).closed;
  expect(await collect(cluster.results(id))).toEqual([JSON.parse(json), JSON.parse(json)]);
});

test("a failed item throws its error only when its value is asked for", async () => {
  await using fake = await new FakeCoordinator({ task: () => ({ error: "no" }) }).start();
  await using cluster = open(fake);
  const { id } = await cluster.submit({ requestId: "a", spec: spec(), items: lists(1) }).closed;
  for await (const outcome of cluster.results(id)) {
    expect(outcome.error()).toMatchObject({ kind: "error", message: "no" });
    expect(() => outcome.value()).toThrow("item 0: Error: no");
  }
});

test("an input that fails fails the submit with its own error, and so does an item over the limit", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  async function* failing(): AsyncGenerator<Uint8Array[]> {
    yield [Buffer.from("1")];
    await Promise.resolve();
    throw new EverycoreError("bad-input", "line 2 is not JSON");
  }
  await expect(cluster.submit({ requestId: "a", spec: spec(), items: failing() }).closed).rejects.toThrow(
    "line 2 is not JSON",
  );
  async function* large(): AsyncGenerator<Uint8Array[]> {
    yield [Buffer.from("1"), Buffer.alloc(limits.itemBytesMax + 1)];
  }
  await expect(cluster.submit({ requestId: "b", spec: spec(), items: large() }).closed).rejects.toMatchObject(
    {
      code: "over-limit",
      message: expect.stringContaining("item 1 has") as string,
    },
  );
});

test("an abort ends a submit and a read with the caller's reason", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  const stop = new AbortController();
  async function* endless(): AsyncGenerator<Uint8Array[]> {
    yield [Buffer.from("1")];
    await new Promise(() => {});
  }
  const submission = cluster.submit({ requestId: "a", spec: spec(), items: endless(), signal: stop.signal });
  const reading = collect(cluster.results(await submission.accepted, { signal: stop.signal }));
  const reason = new Error("enough");
  stop.abort(reason);
  await expect(submission.closed).rejects.toBe(reason);
  await expect(reading).rejects.toBe(reason);
});

test("a wait that is over says so, and one that ends gives the job", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  const more = Promise.withResolvers<void>();
  async function* slow(): AsyncGenerator<Uint8Array[]> {
    yield [Buffer.from("1")];
    await more.promise;
  }
  const submission = cluster.submit({ requestId: "a", spec: spec(), items: slow() });
  const job = await submission.accepted;
  await expect(cluster.waitJob(job, { timeoutMs: 20 })).rejects.toMatchObject({ code: "timeout" });
  more.resolve();
  expect(await cluster.waitJob(job)).toMatchObject({ state: "done", total: 1 });
});

test("errors are ours: code and hint of the coordinator, its address when it is not there", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  await expect(cluster.getJob("ffff")).rejects.toMatchObject({
    code: "not-found",
    message: "there is no job ffff",
    hint: "look it up",
  });
  await using stranger = new Connection({ address: fake.address, secret: "wrong" });
  await expect(stranger.getJob("ffff")).rejects.toMatchObject({ code: "refused" });
  await using nobody = new Connection({ address: "127.0.0.1:1", secret: "x" });
  await expect(nobody.getJob("ffff")).rejects.toMatchObject({
    code: "unreachable",
    message: expect.stringContaining("127.0.0.1:1") as string,
  });
});

test("a bundle is uploaded once", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = open(fake);
  const bundle = makeBundle(new Map([["task.mjs", Buffer.alloc(1_300_000, "a")]]), "task.mjs");
  await cluster.putBundle(bundle);
  expect(fake.bundles.get(bundle.digest)?.equals(bundle.bytes)).toBe(true);
  fake.bundles.set(bundle.digest, Buffer.from("kept"));
  await cluster.putBundle(bundle);
  expect(fake.bundles.get(bundle.digest)?.toString()).toBe("kept");
});

test("of several addresses the first that can be reached is asked; when it dies, another is", async () => {
  await using gone = await new FakeCoordinator().start();
  await using first = await new FakeCoordinator().start();
  await using second = await new FakeCoordinator().start();
  await gone[Symbol.asyncDispose]();
  const address = [gone, first, second].map((fake) => fake.address).join(",");
  await using cluster = new Connection({ address, secret: first.secret, patienceMs: 10_000 });
  const info = await cluster.submit({ requestId: "a", spec: spec({ rangeItems: 3, codec: "range" }) }).closed;
  expect(first.jobs.has(info.id)).toBe(true);
  expect(cluster.address).toBe(first.address);
  await first[Symbol.asyncDispose]();
  await cluster.submit({ requestId: "b", spec: spec({ rangeItems: 3, codec: "range" }) }).closed;
  expect(second.jobs.size).toBe(1);
  expect(cluster.address).toBe(second.address);
});

test("one that was named before is asked when the one that named itself alone dies (P5)", async () => {
  await using first = await new FakeCoordinator().start();
  await using second = await new FakeCoordinator().start();
  await using cluster = new Connection({ address: first.address, secret: first.secret, patienceMs: 10_000 });
  const { id } = await cluster.submit({ requestId: "a", spec: spec({ rangeItems: 3, codec: "range" }) })
    .closed;
  first.known = [first.address, second.address];
  await cluster.getJob(id);
  first.known = [first.address]; // NATS is away: it hears of nobody
  await cluster.getJob(id);
  await first[Symbol.asyncDispose]();
  await cluster.submit({ requestId: "b", spec: spec({ rangeItems: 3, codec: "range" }) }).closed;
  expect(cluster.address).toBe(second.address);
});

test("when none of several addresses can be reached, that is said at once", async () => {
  await using one = await new FakeCoordinator().start();
  await using other = await new FakeCoordinator().start();
  await one[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  const address = `${one.address},${other.address}`;
  await using cluster = new Connection({ address, secret: one.secret });
  await expect(cluster.getJob("x")).rejects.toMatchObject({ code: "unreachable" });
});
