// What a former agent's slot files say, by their boot (DESIGN 8): published and struck, or discarded and said so.
import type { JobId, LeaseId, NodeId, SegmentId } from "@everycore/protocol";
import { outcomeStatus, page, phases, recordStatus, writeU64 } from "@everycore/protocol";
import { closeSync, existsSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/nats-core";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { collectLeftovers, publishLeftovers } from "../src/recovery.ts";
import { encodeHead } from "../src/slots/slice-head.ts";
import { SlotPage } from "../src/slots/slot-page.ts";
import { workerDirName } from "../src/slots/worker-dir.ts";
import { FakeLeader, newJob, startAgent } from "./support/fake-leader.ts";
import { slotRecord } from "./support/slot-records.ts";
import { until } from "../../../test/support/until.ts";

const thisBoot = "11".repeat(16);
const otherBoot = "22".repeat(16);
const log = pino({ level: "silent" });

let slots: string;
beforeEach(async () => {
  slots = await mkdtemp(join(tmpdir(), "everycore-test-recovery-"));
});
afterEach(() => rm(slots, { recursive: true }));

/** A worker that had ended item 3 of [3, 9) and was within item 4. */
function left(bootId: string, worker: number, folder = slots): string {
  const dir = join(folder, workerDirName({ slot: 0, worker, bootId }));
  mkdirSync(join(dir, "scratch"), { recursive: true });
  writeFileSync(join(dir, "scratch", "large"), "much");
  const shared = SlotPage.create(dir);
  shared.setProcess({ pid: 1, startTime: 0, bootId }); // never ended: no worker has this pid
  shared.setLimit(1, 9);
  shared.close();
  const phase = Buffer.alloc(16);
  phase.writeUInt32LE(phases.item, 0);
  writeU64(phase, 1, 8);
  const file = openSync(join(dir, "page"), "r+");
  writeSync(file, phase, 0, 16, page.phaseAt);
  closeSync(file);
  const head = encodeHead({
    job: "0".repeat(20) as JobId,
    segment: "s1" as SegmentId,
    epoch: 1,
    grant: {
      id: "a".repeat(32) as LeaseId,
      start: 0,
      end: 9,
      node: "1".repeat(16) as NodeId,
      round: 0,
      n: 1,
    },
    start: 3,
    end: 9,
    slot: 0,
    retries: 0,
    attempts: [],
    reduced: false,
  });
  const value = slotRecord(3, outcomeStatus.value, Buffer.from("three"));
  writeFileSync(join(dir, "out-1"), Buffer.concat([slotRecord(1, recordStatus.head, head), value]));
  return dir;
}

test("files of this boot are published, the running item is struck, the scratch folder goes at once", () => {
  const dir = left(thisBoot, 1);
  const found = collectLeftovers(slots, { bootId: thisBoot, log });
  expect(found.isComplete).toBe(true);
  expect(found.commits.map(({ record: { parts } }) => parts)).toMatchObject([[{ start: 3, end: 4 }]]);
  expect(found.strikes).toMatchObject([{ record: { cause: "lost", ranges: [{ start: 4, end: 5 }] } }]);
  expect(existsSync(join(dir, "scratch"))).toBe(false);
  expect(existsSync(join(dir, "out-1"))).toBe(true);
});

test("what a log that falls silent has got is not sent again: much that is left is published in the end", async () => {
  const workers = 100;
  for (let worker = 1; worker <= workers; worker += 1) left(thisBoot, worker);
  const found = collectLeftovers(slots, { bootId: thisBoot, log });
  let sent = 0;
  let answersUpTo = 40;
  const request = async (): Promise<object> => {
    sent += 1;
    if (sent > answersUpTo) throw new Error("timeout");
    return { data: Buffer.from(JSON.stringify({ stream: "EC_LOG_s1", seq: sent })) };
  };
  const connection = (): NatsConnection => ({ request }) as unknown as NatsConnection; // what it uses of it
  const options = { node: "1".repeat(16), log, connection, withinMs: 100 };
  expect(await publishLeftovers(found, options)).toBe(false);
  expect(found.published.size).toBe(40);
  expect(existsSync(slots)).toBe(true);
  sent = 0;
  answersUpTo = Number.POSITIVE_INFINITY;
  expect(await publishLeftovers(found, options)).toBe(true);
  expect(sent).toBe(2 * workers - 40);
  expect(found.acknowledged.get("0".repeat(20) as JobId)).toBe(2 * workers - 40);
});

test("files of another boot are discarded, and what ran is not known: the leader must strike the leases", () => {
  left(thisBoot, 1);
  const dir = left(otherBoot, 2);
  const found = collectLeftovers(slots, { bootId: thisBoot, log });
  expect(found.isComplete).toBe(false);
  expect(found.commits.length).toBe(1);
  expect(found.strikes.length).toBe(1);
  expect(existsSync(join(dir, "scratch"))).toBe(false);
  found.remove();
  expect(existsSync(dir)).toBe(false);
});

test("a page of another boot that a power cut has emptied is known by its folder's name", () => {
  writeFileSync(join(left(otherBoot, 1), "page"), "");
  expect(collectLeftovers(slots, { bootId: thisBoot, log }).isComplete).toBe(false);
});

test("files that cannot be read are not passed over in silence; a folder without a page never had a worker", async () => {
  const dir = left(thisBoot, 1);
  await rm(join(dir, "page"));
  expect(collectLeftovers(slots, { bootId: thisBoot, log })).toMatchObject({ isComplete: true, commits: [] });
  const torn = left(thisBoot, 2);
  writeFileSync(join(torn, "out-1"), slotRecord(1, recordStatus.head, Buffer.from("no head")));
  expect(collectLeftovers(slots, { bootId: thisBoot, log }).isComplete).toBe(false);
});

test("a folder whose page names no process yet had no slice: an agent killed while it started a worker lost nothing", () => {
  left(thisBoot, 1);
  const dir = join(slots, workerDirName({ slot: 0, worker: 2, bootId: thisBoot }));
  mkdirSync(dir);
  SlotPage.create(dir).close();
  const found = collectLeftovers(slots, { bootId: thisBoot, log });
  expect(found).toMatchObject({ isComplete: true, commits: [{}], strikes: [{}] });
  found.remove();
  expect(existsSync(dir)).toBe(false);
});

test("after a reboot the hello says that the files are lost, until a leader has leased to this agent", async () => {
  await using leader = await FakeLeader.start();
  const dataDir = await mkdtemp(join(tmpdir(), "everycore-test-agent-"));
  try {
    left(otherBoot, 1, join(dataDir, "slots"));
    await using agent = await startAgent(leader, { slots: 1, dataDir });
    expect(await leader.heard("hello")).toMatchObject({ filesRecovered: false });
    const job = newJob();
    const bundle = leader.bundle(job, "export default (n) => n;");
    await leader.lease(leader.message(job, { start: 0, end: 4 }, { bundle }));
    await leader.covered(job, 4);
    leader.said.length = 0;
    leader.breakLink();
    const again = await until(() => leader.said.find(({ part }) => part === "hello"), {
      what: "a new hello",
    });
    expect(again.body).toMatchObject({ filesRecovered: true });
    expect(agent.child.exitCode).toBeNull();
  } finally {
    await rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
  }
});
