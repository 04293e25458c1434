// What a record of EC_NODES must not be: a leader that cannot read it goes on without it.
import { expect, test } from "vitest";
import type { NodeId } from "../src/index.ts";
import { decodeNodeRecord, encode, encodeNodeRecord, limits } from "../src/index.ts";

const id = "0123456789abcdef" as NodeId;
const good = { v: 1, host: "h", epoch: 7, draining: false };
const standing = { countsFrom: 1, times: 1 };
const quarantine = { since: 1, until: 2, crashes: [] };
const crash = { job: "0123456789abcdef0123", index: 1 };
const withCrashes = (crashes: unknown): object => ({
  ...good,
  standing: { ...standing, quarantine: { ...quarantine, crashes } },
});

const counted = { ...crash, crashedAt: 1, at: 2 };
const withCounted = (crashes: unknown): object => ({ ...good, standing: { ...standing, crashes } });

test.for<[string, unknown]>([
  ["no map", "text"],
  ["another version", { ...good, v: 2 }],
  ["a host that is no text", { ...good, host: 7 }],
  ["a drain that is neither yes nor no", { ...good, draining: "no" }],
  ["an epoch before the first", { ...good, epoch: -1 }],
  ["gone, neither yes nor no", { ...good, gone: 1 }],
  ["fewer than no quarantines", { ...good, standing: { ...standing, times: -1 } }],
  ["a time that is none", { ...good, standing: { ...standing, countsFrom: Number.NaN } }],
  ["a job that has no id", withCrashes([{ ...crash, job: "mine" }])],
  ["an item between two", withCrashes([{ ...crash, index: 0.5 }])],
  [
    "more crashes than are kept",
    withCrashes(Array.from({ length: limits.standingCrashesMax + 1 }, () => crash)),
  ],
  ["a crash without its time", withCounted([{ ...counted, at: undefined }])],
  ["a crash of a job that has no id", withCounted([{ ...counted, job: "mine" }])],
  [
    "more crashes that count than are kept",
    withCounted(Array.from({ length: limits.standingCrashesMax + 1 }, () => counted)),
  ],
])("%s is refused", ([, value]) => {
  expect(() => decodeNodeRecord(id, encode(value))).toThrow(/node record/);
});

test("what counts is read with its times", () => {
  const record = decodeNodeRecord(id, encode(withCounted([counted])));
  expect(record.standing).toEqual({ ...standing, crashes: [counted] });
  expect(decodeNodeRecord(id, encodeNodeRecord(record))).toEqual(record);
});

test("one that does not say which leader wrote it was written by one before all others", () => {
  expect(decodeNodeRecord(id, encode({ v: 1, host: "h", draining: false }))).toMatchObject({ epoch: 0 });
});

test("what a later version adds is left out", () => {
  expect(decodeNodeRecord(id, encode({ ...good, later: true }))).toEqual({
    id,
    host: "h",
    epoch: 7,
    draining: false,
    isGone: false,
  });
});
