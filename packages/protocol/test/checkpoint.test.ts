// A checkpoint changes nothing: a fold that goes on from one, through its bytes, is the fold of the whole log. And what
// is not one of ours, whole and of this version is refused.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FoldSnapshot, JobCheckpoint, JobRecord, LogRecord, NodeId, SegmentId } from "../src/index.ts";
import {
  decodeCheckpoint,
  encode,
  encodeCheckpoint,
  foldVersion,
  isCheckpointOf,
  JobFold,
} from "../src/index.ts";
import { commands, job, logOf, verify } from "./support/log-story.ts";

const node = "0123456789abcdef" as NodeId;
const detail = { signal: "SIGSEGV", peakBytes: 5e9, limitBytes: 2 ** 33, stderrTail: "ä" };

const checkpointOf = (fold: FoldSnapshot): JobCheckpoint => ({
  job,
  segment: "s1" as SegmentId,
  foldVersion,
  storedAt: 1_732_000_000_000.123,
  fold,
  blocks: [
    { first: 0, count: 3, bytes: 70_000, seqs: [1, 5] },
    { first: 3, count: 50_000, bytes: 2 ** 33, seqs: [2 ** 40] },
  ],
  pieces: [7, 9],
  openedRound: 2,
  itemMs: 0.3,
  learned: { items: 3.5, ms: 1.05 },
  strikes: [{ start: 4, end: 5, cause: "crash", node }],
  suspicions: [[4, [{ node, at: 1_732_000_000_000.5 }]]],
  crashes: [{ node, index: 2, crashedAt: 1, at: 2 ** 41 + 0.25 }],
});

const through = (fold: JobFold): JobFold =>
  JobFold.of(job, verify, decodeCheckpoint(encodeCheckpoint(checkpointOf(fold.snapshot()))).fold);

/** Which of two maps was filled first says nothing. */
function sorted(snapshot: FoldSnapshot): FoldSnapshot {
  const byKey = <T extends readonly [number | string, unknown]>(entries: readonly T[]): T[] =>
    entries.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const { mishaps, gaps, rounds } = snapshot;
  return {
    ...snapshot,
    rounds: byKey(rounds).filter(([, ranges]) => ranges.length > 0),
    gaps: gaps.toSorted((a, b) => a.start - b.start),
    mishaps: { ...mishaps, crashes: byKey(mishaps.crashes), counted: byKey(mishaps.counted) },
  };
}

/** What stories leave out: usage, details of deaths, input, chunks. */
function withMore(log: readonly LogRecord[]): LogRecord[] {
  let appended = 0;
  return log.flatMap((record, at): LogRecord[] => {
    if (record.kind === "commit") {
      const usage = [{ slot: at % 3, items: at, slices: 1, splits: at % 2, busyMs: at / 7, cpuMs: at / 3 }];
      const chunk = { kind: "chunk", job, lease: record.leases[0]!.id, index: 0, piece: 0 } as const;
      return [chunk, { ...record, usage, bytes: at }];
    }
    if (record.kind === "strike" && at % 2 === 0) return [{ ...record, detail }];
    if (record.kind !== "fence") return [record];
    const input = { kind: "input", job, codec: "json", bytes: 9, pieces: 2, count: 4 } as const;
    appended += 4;
    const pieces = [0, 1].map((piece) => ({ ...input, first: appended - 4, piece }));
    return [...pieces, record, ...(at % 5 === 0 ? [{ kind: "close", job, total: appended } as const] : [])];
  });
}

test("a fold that goes on from a checkpoint is the fold of the whole log, record by record", () => {
  fc.assert(
    fc.property(commands, fc.nat(100), (given, share) => {
      const log = withMore(logOf(given));
      const cut = Math.floor((log.length * share) / 100);
      const whole = new JobFold(job, verify);
      let resumed = new JobFold(job, verify);
      for (const [at, record] of log.entries()) {
        if (at === cut) resumed = through(resumed);
        expect(resumed.apply(at + 1, record)).toEqual(whole.apply(at + 1, record));
      }
      expect(sorted(resumed.snapshot())).toEqual(sorted(whole.snapshot()));
      expect(resumed.counts()).toEqual(whole.counts());
      expect(resumed.runCount).toBe(whole.runCount);
    }),
    { numRuns: 2_000 },
  );
});

test("every field comes back as it was", () => {
  fc.assert(
    fc.property(commands, (given) => {
      const fold = new JobFold(job, verify);
      for (const [at, record] of withMore(logOf(given)).entries()) fold.apply(at + 1, record);
      const checkpoint = checkpointOf(fold.snapshot());
      expect(decodeCheckpoint(encodeCheckpoint(checkpoint))).toEqual(checkpoint);
    }),
    { numRuns: 300 },
  );
  const empty = {
    ...checkpointOf(new JobFold(job, verify).snapshot()),
    itemMs: undefined,
    blocks: [],
    pieces: [],
  };
  expect(decodeCheckpoint(encodeCheckpoint(empty))).toEqual(empty);
});

describe("is refused", () => {
  const good = encodeCheckpoint(checkpointOf(new JobFold(job, verify).snapshot()));

  test("when a bit of it is another, or it is cut", () => {
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(7), (at, bit) => {
        const damaged = Buffer.from(good);
        damaged[at]! ^= 1 << bit;
        expect(() => decodeCheckpoint(damaged)).toThrow(/checkpoint/);
        expect(() => decodeCheckpoint(good.subarray(0, at))).toThrow(/checkpoint/);
      }),
    );
  });

  test("whatever its bytes are", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(() => decodeCheckpoint(bytes)).toThrow();
      }),
    );
    expect(() => decodeCheckpoint(encode({ v: 1 }))).toThrow(/crc/);
  });

  test("of another version, of the bytes or of the fold's rules", () => {
    const checkpoint = checkpointOf(new JobFold(job, verify).snapshot());
    const other = encodeCheckpoint({ ...checkpoint, foldVersion: foldVersion + 1 });
    expect(() => decodeCheckpoint(other)).toThrow(/foldVersion/);
  });

  test("of another life of the job", () => {
    const checkpoint = checkpointOf(new JobFold(job, verify).snapshot());
    const record = { id: job, segment: "s1" } as unknown as JobRecord;
    expect(isCheckpointOf(checkpoint, record)).toBe(true);
    expect(isCheckpointOf(checkpoint, { ...record, segment: "s2" as SegmentId })).toBe(false);
  });
});

test("costs little where items end in order, also for ten million of them", () => {
  const fold = new JobFold(job, verify);
  const seal = { kind: "seal", job, epoch: 1, round: 0, message: "", status: "lost" } as const;
  fold.apply(1, { ...seal, ranges: [{ start: 0, end: 10_000_000 }] });
  expect(encodeCheckpoint(checkpointOf(fold.snapshot())).length).toBeLessThan(1_000);
  // Every second item of a hundred thousand: two bytes each.
  for (let at = 0; at < 200; at += 1) {
    const ranges = Array.from({ length: 500 }, (_, n) => 20_000_000 + 2 * (500 * at + n));
    fold.apply(at + 2, { ...seal, ranges: ranges.map((start) => ({ start, end: start + 1 })) });
  }
  expect(fold.runCount).toBeGreaterThan(200_000);
  expect(encodeCheckpoint(checkpointOf(fold.snapshot())).length).toBeLessThan(410_000);
});
