// The fold (P2) held against its rules told item by item, and the properties that the whole system leans on:
// a replay decides alike, a record stored twice decides nothing, the first accepted part wins.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LeaseGrant, LeaseId, LogRecord, NodeId } from "../src/index.ts";
import { JobFold } from "../src/index.ts";
import { commands, itemsMax, job, logOf, verify } from "./support/log-story.ts";
import { NaiveFold } from "./support/naive-fold.ts";

const indices = Array.from({ length: itemsMax }, (_, index) => index);

function foldOf(log: readonly LogRecord[]): JobFold {
  const fold = new JobFold(job, verify);
  for (const [at, record] of log.entries()) fold.apply(at + 1, record);
  return fold;
}

const coverage = (fold: JobFold): unknown[] =>
  indices.map((index) => [fold.statusOf(index), fold.roundOf(index)]);

const strikes = (fold: JobFold): unknown[] =>
  indices.map((index) => [
    fold.mishaps.attempts(index),
    fold.mishaps.lostCount(index),
    fold.mishaps.crashes(index).map((crash) => crash.node),
  ]);

test("the fold decides as its rules do, told item by item", () => {
  fc.assert(
    fc.property(commands, (given) => {
      const log = logOf(given);
      const fold = new JobFold(job, verify);
      const naive = new NaiveFold((grant) => verify(job, grant));
      for (const [at, record] of log.entries()) {
        fold.apply(at + 1, record);
        naive.apply(at + 1, record);
      }
      expect(coverage(fold)).toEqual(
        indices.map((index) => [naive.item(index).outcome?.status, naive.item(index).round]),
      );
      expect(strikes(fold)).toEqual(
        indices.map((index) => {
          const { agains, lost, crashes } = naive.item(index);
          return [agains, lost, crashes];
        }),
      );
      expect(fold.dropped).toEqual(naive.dropped);
      expect(fold.fence).toBe(naive.fence);
      expect(fold.missing).toBe(naive.missing);
      const counts = fold.counts();
      const statuses = indices.map((index) => naive.item(index).outcome?.status);
      for (const status of Object.keys(counts) as (keyof typeof counts)[])
        expect(counts[status]).toBe(statuses.filter((known) => known === status).length);
    }),
    { numRuns: 2_000 },
  );
});

test("what a step says it changed is what changed", () => {
  fc.assert(
    fc.property(commands, (given) => {
      const fold = new JobFold(job, verify);
      for (const [at, record] of logOf(given).entries()) {
        const before = indices.map((index) => fold.statusOf(index));
        const delta = fold.apply(at + 1, record);
        const expected = [...before];
        for (const { start, end } of delta.reopened)
          for (let index = start; index < end; index += 1) expected[index] = undefined;
        for (const { start, end, status, seq } of delta.accepted) {
          expect(seq).toBe(at + 1);
          for (let index = start; index < end; index += 1) {
            expect(expected[index]).toBeUndefined();
            expected[index] = status;
          }
        }
        expect(indices.map((index) => fold.statusOf(index))).toEqual(expected);
      }
    }),
    { numRuns: 1_000 },
  );
});

test("a replay decides alike", () => {
  fc.assert(
    fc.property(commands, (given) => {
      const log = logOf(given);
      expect(coverage(foldOf(log))).toEqual(coverage(foldOf(log)));
      expect(strikes(foldOf(log))).toEqual(strikes(foldOf(log)));
    }),
    { numRuns: 200 },
  );
});

test("any record stored a second time, at once or later, changes no coverage, no round and no strike", () => {
  fc.assert(
    fc.property(commands, fc.nat(), fc.nat(), (given, which, later) => {
      const log = logOf(given);
      if (log.length === 0) return;
      const at = which % log.length;
      const to = at + 1 + (later % (log.length - at));
      const twice = [...log.slice(0, to), log[at]!, ...log.slice(to)];
      expect(coverage(foldOf(twice))).toEqual(coverage(foldOf(log)));
      expect(strikes(foldOf(twice))).toEqual(strikes(foldOf(log)));
    }),
    { numRuns: 3_000 },
  );
});

test("every record stored twice in a row changes nothing either", () => {
  fc.assert(
    fc.property(commands, (given) => {
      const log = logOf(given);
      const twice = log.flatMap((record) => [record, record]);
      expect(coverage(foldOf(twice))).toEqual(coverage(foldOf(log)));
      expect(strikes(foldOf(twice))).toEqual(strikes(foldOf(log)));
    }),
    { numRuns: 1_000 },
  );
});

const lease = (n: number, start: number, end: number, round = 0): LeaseGrant => ({
  id: `${"0".repeat(31)}${n}` as LeaseId,
  start,
  end,
  node: `${n}`.repeat(16) as NodeId,
  round,
  n,
});

const commit = (
  of: LeaseGrant,
  start: number,
  end: number,
  status: "value" | "error" | "again" = "value",
): LogRecord => ({
  kind: "commit",
  job,
  epoch: 1,
  leases: [of],
  parts: [{ lease: 0, start, end, status }],
  usage: [],
  bytes: 0,
});

const strike = (of: LeaseGrant, start: number, end: number, more: object = {}): LogRecord => ({
  kind: "strike",
  job,
  epoch: 1,
  cause: "crash",
  lease: of,
  ranges: [{ start, end }],
  byLeader: false,
  ...more,
});

const seal = (start: number, end: number, more: object = {}): LogRecord => ({
  kind: "seal",
  job,
  epoch: 1,
  round: 0,
  ranges: [{ start, end }],
  status: "cancelled",
  message: "",
  ...more,
});

const reopen = (start: number, end: number, round: number, epoch = 1): LogRecord => ({
  kind: "reopen",
  job,
  epoch,
  ranges: [{ start, end }],
  round,
});

describe("F1: the first accepted part that contains an item is its outcome", () => {
  test("the example of the design: A commits [0,50), then B, on a second lease, [0,100)", () => {
    const fold = foldOf([commit(lease(1, 0, 50), 0, 50), commit(lease(2, 0, 100), 0, 100, "error")]);
    expect(fold.statusOf(49)).toBe("value");
    expect(fold.statusOf(50)).toBe("error");
    expect(fold.dropped).toEqual({ stale: 0, duplicate: 50, invalid: 0 });
    expect(fold.counts()).toMatchObject({ value: 50, error: 50 });
  });

  test("a span is one part: one covered item of it drops it whole", () => {
    const span = { lease: 0, start: 0, end: 8, status: "value", missing: 0 } as const;
    const of = lease(2, 0, 8);
    const whole: LogRecord = {
      kind: "commit",
      job,
      epoch: 1,
      leases: [of],
      parts: [span],
      usage: [],
      bytes: 0,
    };
    const fold = foldOf([commit(lease(1, 3, 4), 3, 4), whole]);
    expect(fold.covered.toRanges()).toEqual([{ start: 3, end: 4 }]);
    expect(fold.dropped.duplicate).toBe(8);
  });

  test("the entry of an accepted piece points behind the pieces that were dropped", () => {
    const fold = new JobFold(job, verify);
    fold.apply(1, commit(lease(1, 2, 4), 2, 4));
    const { accepted } = fold.apply(2, commit(lease(2, 0, 6), 0, 6));
    expect(accepted.map(({ start, end, entry }) => [start, end, entry])).toEqual([
      [0, 2, 0],
      [4, 6, 4],
    ]);
  });
});

describe("F2: again and strike count once per lease and item", () => {
  test("a resend counts once, another lease counts again", () => {
    const of = lease(1, 0, 4);
    const fold = foldOf([
      commit(of, 0, 1, "again"),
      commit(of, 0, 1, "again"),
      strike(of, 0, 1),
      strike(of, 1, 2),
    ]);
    expect(fold.mishaps.attempts(0)).toBe(1);
    expect(fold.mishaps.crashes(0)).toEqual([]);
    expect(fold.mishaps.crashes(1).length).toBe(1);
    fold.apply(9, strike(lease(2, 0, 4), 1, 2));
    expect(fold.mishaps.crashes(1).map((crash) => crash.node)).toEqual(["1".repeat(16), "2".repeat(16)]);
  });

  test("a covered item cannot be struck", () => {
    const fold = foldOf([commit(lease(1, 0, 4), 0, 2), strike(lease(2, 0, 4), 0, 4, { cause: "lost" })]);
    expect([0, 1, 2, 3].map((index) => fold.mishaps.lostCount(index))).toEqual([0, 0, 1, 1]);
  });

  test("a strike under a forged lease is ignored", () => {
    const forged = { ...lease(1, 0, 4), id: `${"0".repeat(31)}f` as LeaseId };
    const fold = new JobFold(job, verify);
    expect(fold.apply(1, strike(forged, 0, 4)).ignored).toBe(true);
    expect(fold.strikeCount).toBe(0);
  });
});

test("F3: a seal covers what is uncovered and of its round, and skips the rest", () => {
  const fold = foldOf([
    commit(lease(1, 0, 2), 0, 2),
    seal(4, 6),
    reopen(4, 6, 1),
    seal(0, 8, { status: "crash" }),
  ]);
  expect([0, 2, 4, 6].map((index) => fold.statusOf(index))).toEqual(["value", "crash", undefined, "crash"]);
});

describe("F4: a reopen", () => {
  const of = lease(1, 0, 4);

  test("uncovers covered items only, and clears their agains and strikes", () => {
    const fold = foldOf([
      strike(of, 0, 1),
      commit(of, 1, 2, "again"),
      commit(lease(2, 0, 4), 0, 2, "error"),
      reopen(0, 4, 1),
    ]);
    expect(fold.covered.isEmpty).toBe(true);
    expect([0, 1, 2, 3].map((index) => fold.roundOf(index))).toEqual([1, 1, 0, 0]);
    expect(fold.mishaps.crashes(0)).toEqual([]);
    expect(fold.mishaps.attempts(1)).toBe(0);
  });

  test("makes commits of the former round stale", () => {
    const fold = foldOf([commit(of, 0, 4, "error"), reopen(0, 4, 1), commit(of, 0, 4)]);
    expect(fold.covered.isEmpty).toBe(true);
    expect(fold.dropped.stale).toBe(4);
  });

  test("that is stored twice does not take away the outcome of the new round", () => {
    const fold = foldOf([
      commit(of, 0, 4, "error"),
      reopen(0, 4, 1),
      commit(lease(2, 0, 4, 1), 0, 4),
      reopen(0, 4, 1),
    ]);
    expect(fold.counts()).toMatchObject({ value: 4, error: 0 });
  });

  test("of a lower round than the item's does nothing", () => {
    const fold = foldOf([
      commit(of, 0, 4, "error"),
      reopen(0, 4, 2),
      commit(lease(2, 0, 4, 2), 0, 4),
      reopen(0, 4, 1),
    ]);
    expect(fold.counts().value).toBe(4);
    expect(fold.roundOf(0)).toBe(2);
  });
});

test("F5: a fence stops the leader's records of lower epochs, and nobody else's", () => {
  const of = lease(1, 0, 4);
  const fold = new JobFold(job, verify);
  fold.apply(1, { kind: "fence", job, epoch: 3 });
  expect(fold.apply(2, seal(0, 4, { epoch: 2 })).ignored).toBe(true);
  expect(fold.apply(3, strike(of, 0, 4, { epoch: 2, byLeader: true, cause: "lost" })).ignored).toBe(true);
  expect(fold.apply(4, strike(of, 0, 1, { epoch: 2 })).struck.length).toBe(1);
  expect(fold.apply(5, commit(of, 1, 2)).accepted.length).toBe(1);
  expect(fold.apply(6, reopen(1, 2, 1, 2)).ignored).toBe(true);
  expect(fold.apply(7, { kind: "fence", job, epoch: 2 }).ignored).toBe(false);
  expect(fold.fence).toBe(3);
  expect(fold.apply(8, seal(0, 4, { epoch: 3 })).accepted.length).toBe(2);
});

test("input blocks count when their last piece continues the input; the first close is the one", () => {
  const fold = new JobFold(job, verify);
  const block = (first: number, piece: number): LogRecord => ({
    kind: "input",
    job,
    first,
    count: 10,
    codec: "json",
    piece,
    pieces: 2,
    bytes: 5,
  });
  for (const [at, record] of [block(0, 0), block(0, 1), block(0, 1), block(20, 1), block(10, 1)].entries())
    fold.apply(at + 1, record);
  expect(fold.appended).toBe(20);
  fold.apply(8, { kind: "close", job, total: 20 });
  fold.apply(9, { kind: "close", job, total: 7 });
  expect(fold.total).toBe(20);
});

test("a lost node strikes a million items as one run, and coverage of ten million is one interval", () => {
  const of = lease(1, 0, 10_000_000);
  const fold = foldOf([strike(of, 0, 1_000_000, { cause: "lost" }), commit(of, 0, 10_000_000)]);
  expect(fold.mishaps.lostRun(0, 2_000_000)).toEqual({ start: 0, end: 1_000_000, level: 1 });
  expect(fold.covered.intervalCount).toBe(1);
});
