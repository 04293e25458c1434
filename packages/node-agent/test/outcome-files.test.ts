// Outcome files as the agent reads and writes them: runs of like items, and what it appends for a worker it has ended.
import type { JobId, LeaseId, NodeId, SegmentId } from "@everycore/protocol";
import { outcomeStatus, readU64, recordHeadBytes, recordStatus } from "@everycore/protocol";
import { appendFileSync, existsSync, readFileSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { OutcomeFiles } from "../src/slots/outcome-files.ts";
import type { SliceHead } from "../src/slots/slice-head.ts";
import { encodeHead } from "../src/slots/slice-head.ts";
import { slotRecord } from "./support/slot-records.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "everycore-test-outcomes-"));
});
afterEach(() => rm(dir, { recursive: true }));

/** Of a slice of the lease [0, end). */
const headOf = (
  slice: Pick<SliceHead, "start" | "end"> & Partial<Pick<SliceHead, "retries" | "attempts">>,
): Buffer =>
  encodeHead({
    job: "0".repeat(20) as JobId,
    segment: "s1" as SegmentId,
    epoch: 1,
    grant: {
      id: "a".repeat(32) as LeaseId,
      start: 0,
      end: slice.end,
      node: "1".repeat(16) as NodeId,
      round: 0,
      n: 1,
    },
    slot: 0,
    retries: 0,
    attempts: [],
    reduced: false,
    ...slice,
  });

/** A worker that has ended item 3 of [3, 9) and died within item 4, its record torn. */
function died(write?: typeof writeSync): { files: OutcomeFiles; path: string } {
  const files = new OutcomeFiles(dir, write);
  const path = files.pathForSlice();
  const head = headOf({ start: 3, end: 9 });
  const value = slotRecord(3, outcomeStatus.value, Buffer.from("three"));
  const torn = slotRecord(4, outcomeStatus.value, Buffer.from("four")).subarray(0, 10);
  appendFileSync(path, Buffer.concat([slotRecord(1, recordStatus.head, head), value, torn]));
  return { files, path };
}

const timeout = {
  index: 4,
  status: outcomeStatus.timeout,
  codec: 6,
  micros: 1_000,
  payload: Buffer.from("too long"),
};

const full = (): never => {
  throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
};

/** Takes a few bytes of the record first, as a disk does that is just filling up. */
function fillingUp(): typeof writeSync {
  let room = 7;
  const write = (fd: number, bytes: Buffer, offset: number, length: number, at: number): number => {
    if (room === 0) return full();
    const done = writeSync(fd, bytes, offset, Math.min(room, length), at);
    room -= done;
    return done;
  };
  return write as typeof writeSync; // the one of its signatures that is used
}

test.each([
  ["no room at all", full as typeof writeSync, false],
  ["room for its beginning", fillingUp(), false],
  ["room", undefined, true],
] as const)(
  "with %s the outcome is there to be committed, and goes with its acknowledgement",
  (_, write, isOnDisk) => {
    const { files, path } = died(write);
    const [before] = files.read();
    expect(before).toMatchObject({ slice: 1, items: 1 });
    const runs = [...before!.runs];
    before!.runs = [];
    expect(files.append(timeout)).toBe(isOnDisk);
    const after = files.read().find((slice) => slice.runs.length > 0);
    expect(after).toMatchObject({ slice: 1, items: 2, head: { start: 3, end: 9 } });
    expect(after!.runs).toMatchObject([{ start: 4, end: 5, status: outcomeStatus.timeout }]);
    runs.push(...after!.runs);
    const bytes = files.bytesOf(runs[1]!);
    expect(readU64(bytes, 4)).toBe(4);
    expect(bytes.subarray(recordHeadBytes).toString()).toBe("too long");
    // Its file ends with whole records: another agent of this directory reads no torn one.
    const whole = files.bytesOf(runs[0]!).length;
    const inFile = readFileSync(path);
    expect(inFile.readUInt32LE(inFile.length - (isOnDisk ? bytes.length : whole))).toBe(
      (isOnDisk ? bytes.length : whole) - 4,
    );
    expect(files.close()).toBe(false);
    for (const run of runs) files.free(run);
    expect(files.isEmpty).toBe(true);
    expect(existsSync(path)).toBe(false);
  },
);

test("what is not a lack of room is not hidden", () => {
  const { files } = died(() => {
    throw Object.assign(new Error("input/output error"), { code: "EIO" });
  });
  files.read();
  expect(() => files.append(timeout)).toThrow("input/output error");
});

test("failures that were tried differently often are no run: one is tried again, its neighbour is not", () => {
  const files = new OutcomeFiles(dir);
  const path = files.pathForSlice();
  const head = headOf({ start: 0, end: 6, retries: 1, attempts: [{ start: 2, end: 4, level: 1 }] });
  const failures = [0, 1, 2, 3, 4].map((index) => slotRecord(index, outcomeStatus.error, Buffer.from("no")));
  appendFileSync(path, Buffer.concat([slotRecord(1, recordStatus.head, head), ...failures]));
  const runs = files.read().flatMap((slice) => slice.runs);
  expect(runs.map(({ start, end }) => [start, end])).toEqual([
    [0, 2],
    [2, 4],
    [4, 5],
  ]);
  // Values end an item however often it was tried: they stay one run.
  const values = [5].map((index) => slotRecord(index, outcomeStatus.value, Buffer.from("yes")));
  appendFileSync(path, Buffer.concat(values));
  expect(
    files
      .read()
      .flatMap((slice) => slice.runs)
      .at(-1),
  ).toMatchObject({ start: 5, end: 6 });
});

test("records larger than what is read at once are found, each once, and a torn one when it is whole", () => {
  const files = new OutcomeFiles(dir);
  const path = files.pathForSlice();
  const large = Buffer.alloc(300_000, 7);
  const records = [0, 1, 2].map((item) =>
    slotRecord(item, outcomeStatus.value, item === 1 ? Buffer.from("small") : large),
  );
  const torn = records[2]!.subarray(0, 200_000);
  // The tries of its items make the head itself larger than a window.
  const attempts = Array.from({ length: 40_000 }, (_, at) => ({ start: 2 * at, end: 2 * at + 1, level: 1 }));
  const head = slotRecord(1, recordStatus.head, headOf({ start: 0, end: 80_000, attempts }));
  expect(head.length).toBeGreaterThan(200_000);
  appendFileSync(path, Buffer.concat([head, records[0]!, records[1]!, torn]));
  const [slice] = files.read();
  expect(slice!.items).toBe(2);
  expect(slice!.head.attempts.length).toBe(40_000);
  const [run] = slice!.runs.splice(0);
  expect(run).toMatchObject({
    start: 0,
    end: 2,
    from: head.length,
    to: head.length + records[0]!.length + records[1]!.length,
  });
  expect(files.bytesOf(run!).equals(Buffer.concat(records.slice(0, 2)))).toBe(true);
  appendFileSync(path, records[2]!.subarray(torn.length));
  const [again] = files.read();
  expect(again).toBe(slice);
  expect(again!.runs).toMatchObject([{ start: 2, end: 3 }]);
  // What was counted as held is what is freed: the file goes with the last of it.
  files.free(run!);
  files.free(again!.runs[0]!);
  expect(files.close()).toBe(true);
});
