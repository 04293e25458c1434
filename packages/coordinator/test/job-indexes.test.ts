// Indexes that the leader's tail feeds, over a real nats-server: what a reader sees must not depend on who feeds.
import type { JobId, LogRecord, NodeId, SegmentId } from "@everycore/protocol";
import { encodeRecord, recordHeader, streamOfSegment, subjects } from "@everycore/protocol";
import { headers } from "@nats-io/nats-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startNatsServer } from "../../../test/support/nats-server.ts";
import type { TestNatsServer } from "../../../test/support/nats-server.ts";
import { until } from "../../../test/support/until.ts";
import type { Data } from "../src/data/connection.ts";
import { openData } from "../src/data/connection.ts";
import { JobIndexes } from "../src/data/job-index.ts";

const segment = "s1" as SegmentId;
const node = "a".repeat(16) as NodeId;
const jobOf = (at: number): JobId => at.toString(16).padStart(20, "0") as JobId;
let nats: TestNatsServer;
let data: Data;

beforeAll(async () => {
  nats = await startNatsServer();
  data = await openData({ urls: [nats.url], user: "any", password: "any" });
  const names = [subjects.segmentLog(segment), subjects.segmentInput(segment)];
  await data.jsm.streams.add({ name: streamOfSegment(segment), subjects: names, allow_direct: true });
});

afterAll(async () => {
  await data.nats.close();
  await nats[Symbol.asyncDispose]();
});

const newIndexes = (): JobIndexes =>
  new JobIndexes({ data, verify: () => true, onMalformed: () => {}, onChange: () => {} });

const commitOf = (job: JobId, item: number): LogRecord => ({
  kind: "commit",
  job,
  epoch: 1,
  leases: [{ id: "1".repeat(32) as never, start: 0, end: 1_000_000, node, round: 0, n: 1 }],
  parts: [{ lease: 0, start: item, end: item + 1, status: "value" }],
  usage: [],
  bytes: 0,
});

async function store(record: LogRecord & { job: JobId }): Promise<number> {
  const made = headers();
  made.set(recordHeader, encodeRecord(record));
  const subject = subjects.log(segment, node, record.job);
  return (await data.js.publish(subject, new Uint8Array(0), { headers: made })).seq;
}

test("a reader of an expected job gets what is fed, without a consumer of its own", async () => {
  const indexes = newIndexes();
  const job = jobOf(1);
  indexes.expect({ id: job, segment, isReduced: false });
  const record = commitOf(job, 0) as LogRecord & { job: JobId };
  indexes.feed(job, segment, await store(record), record);
  await using opened = indexes.open({ id: job, segment, isReduced: false });
  expect(opened.index.runs.at(0)).toMatchObject({ start: 0, end: 1, status: "value" });
  const { state } = await data.jsm.streams.info(streamOfSegment(segment));
  expect(state.consumer_count).toBe(0);
  await indexes.close();
});

test("when the term is over a reader goes on with a tail of its own, behind what was fed", async () => {
  const indexes = newIndexes();
  const job = jobOf(2);
  indexes.expect({ id: job, segment, isReduced: false });
  const first = commitOf(job, 0) as LogRecord & { job: JobId };
  indexes.feed(job, segment, await store(first), first);
  await using opened = indexes.open({ id: job, segment, isReduced: false });
  // This one is stored, and the leader's tail ends before it has read it.
  await store(commitOf(job, 1) as LogRecord & { job: JobId });
  indexes.termOver();
  await until(() => opened.index.runs.at(1) !== undefined, { what: "the record behind the end of the term" });
  expect(opened.index.fold.dropped).toMatchObject({ duplicate: 0 });
  expect(opened.index.runs.acceptedCount).toBe(2);
  await indexes.close();
});

test("a job that was read late is read from its log", async () => {
  const indexes = newIndexes();
  const late = jobOf(3);
  indexes.expect({ id: late, segment, isReduced: false });
  const record = commitOf(late, 0) as LogRecord & { job: JobId };
  indexes.feed(late, segment, await store(record), record);
  // P7: a hundred jobs that nobody reads push it out.
  for (let at = 100; at < 200; at += 1) indexes.expect({ id: jobOf(at), segment, isReduced: false });
  expect(indexes.count).toBeLessThanOrEqual(64);
  await using opened = indexes.open({ id: late, segment, isReduced: false });
  await until(() => opened.index.runs.at(0) !== undefined, { what: "the record from the log" });
  await indexes.close();
});

test("an unread job with very many commits is let go", () => {
  const indexes = newIndexes();
  const job = jobOf(4);
  indexes.expect({ id: job, segment, isReduced: false });
  for (let item = 0; item <= 1_001; item += 1) indexes.feed(job, segment, 10_000 + item, commitOf(job, item));
  expect(indexes.count).toBe(0);
});
