// Checkpoints of a job with a long log, in a real EC_META: a new leader reads what is behind the last one; whether there
// is one, or one that is damaged or of another log, changes nothing but what is read (decision 0110).
import type { JobCheckpoint, JobId, SegmentId } from "@everycore/protocol";
import { buckets, decodeJobRecord, decodeCheckpoint, encodeCheckpoint, limits } from "@everycore/protocol";
import { jetstream } from "@nats-io/jetstream";
import type { KV } from "@nats-io/kv";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../test/support/until.ts";
import { Checkpoints } from "../src/data/checkpoints.ts";
import type { CoordinatorCluster } from "./support/coordinator-cluster.ts";
import { startCoordinatorCluster } from "./support/coordinator-cluster.ts";
import { spec } from "./support/coordinator-process.ts";
import { commitOneByOne } from "./support/single-commits.ts";

let cluster: CoordinatorCluster;
let nats: Awaited<ReturnType<typeof connect>>;
let meta: KV;
beforeEach(async () => {
  cluster = await startCoordinatorCluster();
  nats = await connect({ servers: cluster.nats.url });
  meta = await new Kvm(nats).open(buckets.meta);
});
afterEach(async () => {
  await nats.close();
  await cluster[Symbol.asyncDispose]();
});

const publishedAtOnce = 500;
/** Behind the checkpoint. */
const rest = 300;

/** Records that the leader's tails have read. */
async function recordsRead(): Promise<number> {
  const text = await (await fetch(`http://${cluster.coordinator.ready.http}/metrics`)).text();
  return Number(/^everycore_log_records_total (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

const commitMany = (job: string, count: number): Promise<void> =>
  commitOneByOne(nats, cluster.agent, job, { count, atOnce: publishedAtOnce });

async function takeOver(): Promise<number> {
  const { coordinator, agent, calls } = cluster;
  const linked = agent.linked;
  // Orderly, so that nobody waits for the key to expire.
  await coordinator.end("SIGTERM");
  await coordinator.start();
  await until(() => agent.linked > linked, { what: "the agent's next welcome", withinMs: 20_000 });
  const isRead = async (): Promise<boolean> => {
    const status = await calls.unary("JobService", "Get", { job: id, explain: true });
    return !JSON.stringify(status.explanation).includes("read its log");
  };
  await until(isRead, { what: "the log to be read", withinMs: 20_000 });
  return recordsRead();
}

/** What a leader takes of what it finds, without being one. */
async function judgeAlone(): Promise<void> {
  const js = jetstream(nats);
  const data = { nats, js, jsm: await js.jetstreamManager() };
  const checkpoints = new Checkpoints(meta, data, pino({ enabled: false }));
  const record = decodeJobRecord((await cluster.jobs.get(id))!.value);
  const term = new AbortController().signal;
  const { value } = (await meta.get(key()))!;
  const good = decodeCheckpoint(value);
  const { sums } = good.fold;
  const found = async (bytes: Uint8Array): Promise<JobCheckpoint | undefined> => {
    await meta.put(key(), bytes);
    await checkpoints.find([record], term);
    return checkpoints.get(record);
  };
  expect(await found(value)).toEqual(good);
  const damaged = Uint8Array.from(value);
  damaged[damaged.length >> 1]! ^= 1;
  expect(await found(damaged)).toBeUndefined();
  // Of another life; of a log whose end NATS has lost, and which went on otherwise (Z2).
  const segment = "other" as SegmentId;
  expect(await found(encodeCheckpoint({ ...good, segment }))).toBeUndefined();
  expect(await found(encodeCheckpoint({ ...good, storedAt: good.storedAt - 5 }))).toBeUndefined();
  const beyond = { ...good.fold, sums: { ...sums, seq: sums.seq + 1_000_000 } };
  expect(await found(encodeCheckpoint({ ...good, fold: beyond }))).toBeUndefined();
  // Z1: what is too large is not written, alone or with the others; those of jobs that are not active go, and leave nothing.
  const messages = async (): Promise<number> =>
    (await data.jsm.streams.info(`KV_${buckets.meta}`)).state.messages;
  const before = await messages();
  const sized = (bytes: number, n: number): JobCheckpoint => {
    const seqs = Array.from({ length: Math.floor(bytes / 5) }, () => 2 ** 31);
    const job = n.toString(16).padStart(20, "0") as JobId;
    return { ...good, job, blocks: [{ first: 0, count: 1, bytes: 1, seqs }] };
  };
  checkpoints.save(sized(limits.checkpointBytesMax + 1_000, 0), term);
  const each = limits.checkpointBytesMax - 5_000;
  const fitting = Math.floor(limits.checkpointsBytesMax / each);
  for (let n = 1; n <= fitting + 2; n += 1) {
    checkpoints.save(sized(each, n), term);
    await until(async () => (await messages()) >= before + Math.min(n, fitting), {
      what: "it to be written",
    });
  }
  expect(await messages()).toBe(before + fitting);
  await meta.put(key(), value);
  await checkpoints.find([record], term);
  await until(async () => (await messages()) === before, { what: "the others to go" });
  expect(await checkpoints.get(record)).toEqual(good);
}

let id: string;
const key = (): string => `checkpoint.${id}`;
const view = async (): Promise<object> => {
  const job = await cluster.calls.unary("JobService", "Get", { job: id });
  return {
    ...job,
    leased: 0,
    leasesSent: 0,
    usage: job.usage.map((used: object) => ({ ...used, leases: 0 })),
  };
};

test("a new leader reads what is behind the checkpoint; without it, or with a bad one, all, and knows the same", async () => {
  const { calls, agent, held } = cluster;
  held.value = true;
  ({ id } = await calls.submit("long", spec({ codec: "range", rangeItems: 1_000_000 })));
  await until(() => agent.leases.some(({ job }) => job === id), { what: "a lease" });
  // The close of its input is a record too.
  await commitMany(id, limits.checkpointRecords - 1 + rest);
  const stored = async (): Promise<boolean> => (await meta.get(key())) !== null;
  await until(stored, { what: "a checkpoint", withinMs: 20_000 });
  const all = limits.checkpointRecords + rest;
  const isFolded = async (): Promise<boolean> => (await recordsRead()) >= all;
  await until(isFolded, { what: "all to be folded", withinMs: 20_000 });
  const before = await view();

  // With each takeover comes a fence.
  expect(await takeOver()).toBe(rest + 1);
  expect(await view()).toEqual(before);
  await judgeAlone();

  await meta.purge(key());
  expect(await takeOver()).toBeGreaterThan(all);
  expect(await view()).toEqual(before);

  // It goes on, and its end leaves nothing.
  held.value = false;
  await calls.unary("JobService", "Cancel", { job: id, reason: "enough" });
  await until(async () => (await calls.unary("JobService", "Get", { job: id })).state === "cancelled", {
    what: "its end",
  });
  const gone = async (): Promise<boolean> => (await meta.get(key())) === null;
  await until(gone, { what: "its checkpoint to go", withinMs: 10_000 });
  expect(await calls.unary("JobService", "Audit", { job: id })).toMatchObject({ closed: true });
}, 120_000);
