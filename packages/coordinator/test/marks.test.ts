// Marks of deleted jobs in EC_JOBS: they go when they are needed no more, and a job id whose mark is gone can be used.
import { afterEach, beforeEach, expect, test } from "vitest";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import type { KV } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";
import { buckets } from "@everycore/protocol";
import type { JobRecord } from "@everycore/protocol";
import { pino } from "pino";
import { startNatsServer } from "../../../test/support/nats-server.ts";
import { JobRecords } from "../src/data/job-records.ts";
import { spec } from "./support/coordinator-process.ts";
import { jobId } from "./support/core-bench.ts";

async function setUp() {
  const server = await startNatsServer();
  const nats = await connect({ servers: server.url });
  const jsm = await jetstreamManager(nats);
  const jobs: KV = await new Kvm(jetstream(nats)).create(buckets.jobs, { history: 1 });
  const leader = (): JobRecords => new JobRecords(jobs, jsm, pino({ level: "silent" }));
  const messages = async (): Promise<number> => (await jsm.streams.info(`KV_${buckets.jobs}`)).state.messages;
  return {
    leader,
    messages,
    async [Symbol.asyncDispose]() {
      await nats.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

let store: Awaited<ReturnType<typeof setUp>>;
beforeEach(async () => {
  store = await setUp();
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
});

const never = new AbortController().signal;
const later = (): number => Date.now() + 60_000;

const recordOf = (name: string, epoch = 1): JobRecord => ({
  id: jobId(name),
  user: "local",
  spec: spec(),
  segment: "s1" as JobRecord["segment"],
  state: "done",
  reserved: 0,
  round: 0,
  epoch,
  foldVersion: 1,
  createdAt: 1,
});

test("marks from before a time go, younger ones and records stay", async () => {
  const records = store.leader();
  for (const name of ["a", "b", "c"]) expect(await records.put(recordOf(name), never)).toBeUndefined();
  for (const name of ["a", "b"]) expect(await records.delete(jobId(name), never)).toBe(true);
  await records.put(recordOf("c"), never); // the newest message of all
  expect(await store.messages()).toBe(3);
  expect(await records.forgetMarks(Date.now() - 60_000, never)).toBe(0);
  expect(records.wasDeleted(jobId("a"))).toBe(true);
  expect(await records.forgetMarks(later(), never)).toBe(2);
  expect(await store.messages()).toBe(1);
  expect(records.wasDeleted(jobId("a"))).toBe(false);
  using listing = await records.list();
  expect(listing.records.map(({ id }) => id)).toEqual([jobId("c")]);
});

test("the newest message stays, also a mark: the next leader waits for it when it lists the records", async () => {
  const records = store.leader();
  for (const name of ["a", "b"]) await records.put(recordOf(name), never);
  for (const name of ["a", "b"]) await records.delete(jobId(name), never);
  expect(await records.forgetMarks(later(), never)).toBe(1);
  expect(await store.messages()).toBe(1);
  const next = store.leader();
  using listing = await next.list();
  expect(listing.records).toEqual([]);
  expect(next.wasDeleted(jobId("b"))).toBe(true);
});

test("an id whose mark is gone is created on nothing", async () => {
  const records = store.leader();
  await records.put(recordOf("a"), never);
  await records.delete(jobId("a"), never);
  await records.put(recordOf("b"), never);
  expect(await records.forgetMarks(later(), never)).toBe(1);
  expect(await records.put(recordOf("a"), never)).toBeUndefined();
  expect(await records.delete(jobId("a"), never)).toBe(true);
  expect(records.wasDeleted(jobId("a"))).toBe(true);
});

test("the next leader finds the marks with their times; one that is gone already is forgotten all the same", async () => {
  const first = store.leader();
  await first.put(recordOf("a"), never);
  await first.delete(jobId("a"), never);
  await first.put(recordOf("b"), never);
  const next = store.leader();
  using _listing = await next.list();
  expect(next.wasDeleted(jobId("a"))).toBe(true);
  expect(await next.forgetMarks(Date.now() - 60_000, never)).toBe(0);
  expect(await first.forgetMarks(later(), never)).toBe(1);
  expect(await next.forgetMarks(later(), never)).toBe(1);
  expect(await store.messages()).toBe(1);
});

test("an id that is used again keeps its record, whatever the sweep thought of its mark", async () => {
  const records = store.leader();
  await records.put(recordOf("a"), never);
  await records.delete(jobId("a"), never);
  const [forgotten, refusal] = await Promise.all([
    records.forgetMarks(later(), never),
    records.put(recordOf("a"), never),
  ]);
  expect(refusal).toBeUndefined();
  expect(forgotten).toBeLessThanOrEqual(1);
  expect(await store.messages()).toBe(1);
  expect(await records.forgetMarks(later(), never)).toBe(0);
  using listing = await store.leader().list();
  expect(listing.records.map(({ id }) => id)).toEqual([jobId("a")]);
});

test("more marks than a sweep takes at once go in several", { timeout: 60_000 }, async () => {
  const records = store.leader();
  const names = Array.from({ length: 1_100 }, (_, n) => `n${n}`);
  await Promise.all(names.map((name) => records.put(recordOf(name), never)));
  await Promise.all(names.map((name) => records.delete(jobId(name), never)));
  expect(await store.messages()).toBe(1_100);
  expect(await records.forgetMarks(later(), never)).toBe(1_000);
  expect(await records.forgetMarks(later(), never)).toBe(99);
  expect(await store.messages()).toBe(1);
});
