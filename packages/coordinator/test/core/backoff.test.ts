// Items that failed wait before they are tried again, and nothing else does.
import { describe, expect, test } from "vitest";
import { IntervalSet, times } from "@everycore/protocol";
import type { JobId } from "@everycore/protocol";
import { chance, fullDelayMs } from "../../src/core/backoff.ts";
import { explainJob, jobView } from "../../src/core/index.ts";
import { CoreBench, only } from "../support/core-bench.ts";

const seed = "0123456789abcdef";

describe("the wait", () => {
  const waits = (retryDelayMs: number | undefined): number[] =>
    [1, 2, 3, 4, 20].map((tries) => fullDelayMs(retryDelayMs === undefined ? {} : { retryDelayMs }, tries));

  test("doubles from what was asked for, up to a minute, or to what was asked for", () => {
    expect(waits(1_000)).toEqual([1_000, 2_000, 4_000, 8_000, 60_000]);
    expect(waits(300_000)).toEqual([300_000, 300_000, 300_000, 300_000, 300_000]);
    expect(waits(0)).toEqual([0, 0, 0, 0, 0]);
  });

  test("is none before the first retry, and short then, where nothing was asked for", () => {
    const { retryDelayMs: base, retryDelayMsMax: most } = times;
    expect(waits(undefined)).toEqual([0, base, 2 * base, 4 * base, most]);
  });

  test("chance is the same for the same job, item and try, and spread over items, tries and seeds", () => {
    expect(chance(seed, 7, 1)).toBe(chance(seed, 7, 1));
    for (const of of [
      (n: number) => chance(seed, n, 1),
      (n: number) => chance(seed, 5, n),
      (n: number) => chance(seed, n * 2 ** 32, 1),
      (n: number) => chance(n.toString(16).padStart(16, "0"), 5, 1),
      (n: number) => chance(n.toString(16).padEnd(16, "0"), 5, 1),
    ]) {
      const drawn = Array.from({ length: 1_000 }, (_, n) => of(n + 1));
      const tenths = Array.from({ length: 10 }, (_, tenth) =>
        drawn.filter((x) => Math.floor(x * 10) === tenth),
      );
      for (const tenth of tenths) expect(tenth.length).toBeGreaterThan(60);
      expect(Math.max(...drawn)).toBeLessThan(1);
    }
  });
});

function benchWith(retryDelayMs: number | undefined, items = 6): { bench: CoreBench; job: JobId } {
  const bench = new CoreBench();
  bench.report("a", { slots: 2 });
  const limits = retryDelayMs === undefined ? {} : { retryDelayMs };
  const { job } = bench.submit("j", { items, task: { retries: 10, seed }, limits });
  bench.answer("a");
  return { bench, job };
}

/** Ms until the item is leased again. */
function waitOf(bench: CoreBench, job: JobId, index: number): number {
  const before = bench.now;
  const isLeased = (): boolean =>
    [...bench.job(job).leases.values()].some(({ open }) => open.has(index)) || bench.now - before > 200_000;
  while (!isLeased()) bench.tick(10);
  return bench.now - before;
}

test("a failed item waits half of its time at least, its neighbours go on, and each try doubles it", () => {
  const { bench, job } = benchWith(1_000);
  bench.commit("a", job, { start: 1, end: 2 }, "again");
  expect(bench.job(job).queues.delayed.toRanges()).toEqual([{ start: 1, end: 2 }]);
  expect(jobView(bench.state, job)).toMatchObject({ counts: { value: 0 } });
  // The rest of the job does not wait for it.
  for (const index of [0, 2, 3, 4, 5]) {
    bench.answer("a");
    bench.commit("a", job, { start: index, end: index + 1 });
  }
  expect(explainJob(bench.state, job)).toContainEqual({
    about: "waits for",
    text: "the next try of 1 item that failed",
  });
  expect(jobView(bench.state, job)).toMatchObject({ queued: 1, leased: 0, reason: "" });
  const first = waitOf(bench, job, 1);
  expect(first).toBeGreaterThanOrEqual(500);
  expect(first).toBeLessThanOrEqual(1_060);
  bench.answer("a");
  bench.commit("a", job, { start: 1, end: 2 }, "again");
  const second = waitOf(bench, job, 1);
  expect(second).toBeGreaterThanOrEqual(1_000);
  expect(second).toBeLessThanOrEqual(2_060);
  bench.answer("a");
  bench.commit("a", job, { start: 1, end: 2 });
  expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 6 } });
});

test("without a word the first retry is at once, the second is not; 0 never waits", () => {
  const { bench, job } = benchWith(undefined, 1);
  expect(only(bench.commit("a", job, { start: 0, end: 1 }, "again"), "sendLease").length).toBe(1);
  bench.answer("a");
  expect(only(bench.commit("a", job, { start: 0, end: 1 }, "again"), "sendLease")).toEqual([]);
  expect(waitOf(bench, job, 0)).toBeGreaterThanOrEqual(times.retryDelayMs / 2);
  const never = benchWith(0, 1);
  for (let tries = 1; tries < 8; tries += 1) {
    const effects = never.bench.commit("a", never.job, { start: 0, end: 1 }, "again");
    expect(only(effects, "sendLease").length).toBe(1);
    never.bench.answer("a");
  }
});

test("neighbours that fail in one commit come back at several times, all of them", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 64 });
  const limits = { retryDelayMs: 10_000 };
  const { job } = bench.submit("j", { items: 4_000, task: { retries: 1, seed }, limits });
  bench.answer("a");
  const [held] = [...bench.node("a").held.values()];
  const run = held!.unfinished.toRanges()[0]!;
  bench.commit("a", job, run, "again");
  const { delayed, due } = bench.job(job).queues;
  expect(delayed.toRanges()).toEqual([run]);
  expect(due.size).toBeGreaterThan(8);
  expect(due.size).toBeLessThanOrEqual(17);
  const all = new IntervalSet();
  for (const items of due.values()) all.addAll(items.toRanges());
  expect(all.toRanges()).toEqual([run]);
  bench.runAll();
  for (let seconds = 0; seconds < 12; seconds += 1) bench.tick(1_000);
  bench.runAll();
  expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 4_000 } });
});

test("a cancel does not wait for them, a pause keeps them, a late outcome ends the wait", () => {
  const cancelled = benchWith(60_000, 1);
  cancelled.bench.commit("a", cancelled.job, { start: 0, end: 1 }, "again");
  cancelled.bench.feed({ kind: "cancelAsked", job: cancelled.job, message: "", ask: 90 });
  expect(cancelled.bench.records.get(cancelled.job)).toMatchObject({
    state: "cancelled",
    counts: { cancelled: 1 },
  });

  const { bench, job } = benchWith(1_000, 1);
  const grant = bench.leaseOf("a", job, 0);
  bench.commit("a", job, { start: 0, end: 1 }, "again");
  bench.feed({ kind: "pauseAsked", job, ask: 91 });
  for (let passed = 0; passed < 20; passed += 1) expect(only(bench.tick(200), "sendLease")).toEqual([]);
  expect(only(bench.feed({ kind: "resumeAsked", job, ask: 92 }), "sendLease").length).toBe(1);
  bench.answer("a");
  bench.commit("a", job, { start: 0, end: 1 }, "again");
  bench.append({
    ...{ kind: "commit", job, epoch: 1, leases: [grant], usage: [], bytes: 1 },
    parts: [{ lease: 0, start: 0, end: 1, status: "value" }],
  });
  expect(bench.job(job).queues.delayed.isEmpty).toBe(true);
  expect(bench.records.get(job)).toMatchObject({ state: "done" });
});

test("a new leader does not know since when they wait: it places them at once, with their tries", () => {
  const { bench, job } = benchWith(60_000, 1);
  bench.commit("a", job, { start: 0, end: 1 }, "again");
  bench.lead();
  const leased = only(bench.report("a", { slots: 2 }), "sendLease");
  expect(leased).toMatchObject([{ job, attempts: [{ start: 0, end: 1, level: 1 }] }]);
});
