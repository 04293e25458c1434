// Limits that end a job, judged by whoever leads: items that failed, time that it ran. A takeover changes neither.
import { describe, expect, test } from "vitest";
import { decodeJobRecord, encodeJobRecord, times } from "@everycore/protocol";
import type { BundleDigest, CommitPart, JobId, JobRecord, Range } from "@everycore/protocol";
import { CoreBench, nodeId, only } from "../support/core-bench.ts";

const second = 1_000;
/** So that its record can be read back. */
const task = { bundle: "0".repeat(64) as BundleDigest };

function benchWith(options: Parameters<CoreBench["submit"]>[1]): { bench: CoreBench; job: JobId } {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job } = bench.submit("j", options);
  bench.answer("a");
  return { bench, job };
}

/** Items end one by one, as they are leased. */
function end(bench: CoreBench, job: JobId, range: Range, status: CommitPart["status"] = "value"): void {
  for (let index = range.start; index < range.end; index += 1) {
    bench.answer("a");
    bench.commit("a", job, { start: index, end: index + 1 }, status);
  }
}

/** Seconds pass, with an agent that is alive. */
function wait(bench: CoreBench, seconds: number): void {
  for (let left = seconds; left > 0; left -= 1) {
    bench.feed({ kind: "nodeHeartbeat", node: nodeId("a"), busy: 1, diskFull: false });
    bench.tick(second);
  }
}

const recordOf = (bench: CoreBench, job: JobId): JobRecord => bench.records.get(job)!;

describe("max failures", () => {
  const limits = { maxFailures: { most: 2, isShare: false } };

  test("so many items may fail; one more fails the job, kills what runs and seals the rest", () => {
    const { bench, job } = benchWith({ items: 10, limits });
    end(bench, job, { start: 0, end: 1 });
    end(bench, job, { start: 1, end: 3 }, "error");
    expect(bench.job(job).state).toBe("running");
    bench.answer("a");
    const effects = bench.commit("a", job, { start: 3, end: 4 }, "timeout");
    expect(only(effects, "sendCancel").length).toBe(1);
    expect(recordOf(bench, job)).toMatchObject({
      state: "failed",
      reason: "3 of 10 items failed, more than --max-failures 2; the first is item 1 (error)",
      counts: { value: 1, error: 2, timeout: 1, cancelled: 6 },
    });
  });

  test("0 ends it at the first failure, and a failure that is tried again is none yet", () => {
    const { bench, job } = benchWith({
      items: 4,
      task: { retries: 1 },
      limits: { maxFailures: { most: 0, isShare: false } },
    });
    bench.commit("a", job, { start: 1, end: 2 }, "again");
    expect(bench.job(job).state).toBe("running");
    bench.answer("a");
    bench.commit("a", job, { start: 1, end: 2 }, "error");
    expect(recordOf(bench, job)).toMatchObject({ state: "failed", counts: { error: 1, cancelled: 3 } });
  });

  test("the last item's failure fails the job too: which items fail last must not decide", () => {
    const { bench, job } = benchWith({ items: 3, limits });
    end(bench, job, { start: 0, end: 3 }, "error");
    expect(recordOf(bench, job)).toMatchObject({ state: "failed", counts: { error: 3 } });
  });

  test("of a reduction an item over its time counts once, though its part says it twice", () => {
    const { bench, job } = benchWith({ items: 8, task: { reduce: "sum" }, limits });
    for (const start of [0, 1]) {
      bench.answer("a");
      bench.commit("a", job, { start, end: start + 1 }, "timeout", 1);
    }
    expect(bench.job(job).state).toBe("running");
    bench.answer("a");
    bench.commit("a", job, { start: 2, end: 3 }, "timeout", 1);
    expect(recordOf(bench, job)).toMatchObject({
      state: "failed",
      reason: expect.stringMatching(/^3 of 8 items failed/) as string,
    });
  });

  test("crashes count, and items without a value inside spans of a reduction", () => {
    const { bench, job } = benchWith({ items: 8, task: { reduce: "sum" }, limits });
    bench.commit("a", job, { start: 0, end: 2 }, "value", 2);
    expect(bench.job(job).state).toBe("running");
    bench.answer("a");
    bench.commit("a", job, { start: 2, end: 3 }, "value", 1);
    expect(recordOf(bench, job)).toMatchObject({
      state: "failed",
      reason: "3 of 8 items failed, more than --max-failures 2",
    });
  });

  test("a share is of all items: it is judged once the input is complete", () => {
    const share = { maxFailures: { most: 50, isShare: true } };
    const { bench, job } = benchWith({ items: 4, block: 2, open: true, limits: share });
    bench.commit("a", job, { start: 0, end: 2 }, "error");
    bench.answer("a");
    bench.commit("a", job, { start: 2, end: 3 }, "error");
    expect(bench.job(job).state).toBe("accepting");
    bench.append({ kind: "close", job, total: 4 });
    expect(recordOf(bench, job)).toMatchObject({ state: "failed", counts: { error: 3, cancelled: 1 } });
  });

  test("half of them is not more than half", () => {
    const { bench, job } = benchWith({ items: 4, limits: { maxFailures: { most: 50, isShare: true } } });
    end(bench, job, { start: 0, end: 2 }, "error");
    end(bench, job, { start: 2, end: 4 });
    expect(recordOf(bench, job)).toMatchObject({ state: "done", counts: { error: 2, value: 2 } });
  });

  test("a leader that takes over between the failure and its consequence ends the job", () => {
    const { bench, job } = benchWith({ items: 10, limits });
    end(bench, job, { start: 0, end: 2 }, "error");
    bench.answer("a");
    bench.isHeld = true;
    bench.commit("a", job, { start: 2, end: 3 }, "error");
    expect(recordOf(bench, job).intent).toBeUndefined();
    bench.isHeld = false;
    bench.lead();
    bench.report("a", { slots: 1 });
    expect(recordOf(bench, job)).toMatchObject({ state: "failed", counts: { error: 3, cancelled: 7 } });
  });

  test("a retry begins with none, and is held to the limit again", () => {
    const { bench, job } = benchWith({ items: 4, limits });
    end(bench, job, { start: 0, end: 3 }, "error");
    bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
    expect(bench.job(job).state).toBe("running");
    bench.answer("a");
    end(bench, job, { start: 0, end: 2 }, "error");
    expect(bench.job(job).state).toBe("running");
    end(bench, job, { start: 2, end: 3 }, "error");
    expect(recordOf(bench, job)).toMatchObject({ state: "failed", round: 1 });
  });

  test("a takeover during a retry does not count what is about to be opened again", () => {
    const { bench, job } = benchWith({ items: 4, limits });
    end(bench, job, { start: 0, end: 3 }, "error");
    bench.isHeld = true;
    bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
    bench.release(1); // the intent is stored; its reopen is not in the log
    bench.isHeld = false;
    bench.lead();
    bench.report("a", { slots: 1 });
    bench.runAll();
    expect(recordOf(bench, job)).toMatchObject({ state: "done", round: 1, counts: { value: 4 } });
  });
});

describe("job timeout", () => {
  const limits = { jobTimeoutMs: 10 * second };

  test("a job that has run for so long expires: what has ended stays, the rest expires", () => {
    const { bench, job } = benchWith({ items: 5, limits });
    bench.commit("a", job, { start: 0, end: 1 });
    wait(bench, 9);
    expect(bench.job(job).state).toBe("running");
    wait(bench, 2);
    expect(recordOf(bench, job)).toMatchObject({
      state: "cancelled",
      reason: "its time is over: it ran for 10000 ms, --job-timeout is 10000 ms",
      counts: { value: 1, expired: 4 },
    });
  });

  test("it begins to run with its first lease, not with its submit", () => {
    const bench = new CoreBench();
    const { job } = bench.submit("j", { limits });
    for (let passed = 0; passed < 60; passed += 1) bench.tick(second);
    expect(bench.job(job).state).toBe("running");
    bench.report("a");
    bench.answer("a");
    wait(bench, 12);
    expect(bench.job(job).state).toBe("cancelled");
  });

  test("paused time is not counted", () => {
    const { bench, job } = benchWith({ items: 5, limits });
    wait(bench, 6);
    bench.feed({ kind: "pauseAsked", job, ask: bench.ask() });
    wait(bench, 100);
    expect(bench.job(job)).toMatchObject({ state: "paused", clock: { ranMs: 5 * second } });
    bench.feed({ kind: "resumeAsked", job, ask: bench.ask() });
    wait(bench, 5);
    expect(bench.job(job).state).toBe("running");
    wait(bench, 2);
    expect(bench.job(job).state).toBe("cancelled");
  });

  test("takeovers neither shorten nor double it: at most what was not stored is given again", () => {
    const { bench, job } = benchWith({ items: 5, limits: { jobTimeoutMs: 60 * second } });
    let ran = 0;
    const takeOver = (): void => {
      bench.lead();
      bench.report("a", { slots: 1 });
    };
    while (bench.job(job).state === "running" && ran < 1_000) {
      wait(bench, 1);
      ran += 1;
      if (ran % 13 === 0) takeOver();
    }
    expect(bench.job(job).state).toBe("cancelled");
    // Never early; each of the takeovers costs one interval at most, and the tick that begins to count.
    expect(ran).toBeGreaterThanOrEqual(60);
    const takeovers = Math.floor(ran / 13);
    expect(ran).toBeLessThanOrEqual(61 + takeovers * (times.ranStoredMs / second + 1));
  });

  test("a retry has its whole time", () => {
    const { bench, job } = benchWith({ items: 5, limits });
    wait(bench, 12);
    bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
    bench.answer("a");
    wait(bench, 9);
    expect(bench.job(job)).toMatchObject({ state: "running", round: 1 });
    wait(bench, 3);
    expect(bench.job(job).state).toBe("cancelled");
  });

  test("how long it ran stands in its record, whose bytes keep it; other jobs write none", () => {
    const { bench, job } = benchWith({ items: 5, task, limits });
    const puts = only(bench.effects, "putJob").length;
    wait(bench, 7);
    expect(only(bench.effects, "putJob").length - puts).toBe(1);
    expect(decodeJobRecord(encodeJobRecord(recordOf(bench, job)))).toMatchObject({
      ranMs: 5 * second,
      spec: limits,
    });
    const other = benchWith({ items: 5 });
    wait(other.bench, 60);
    expect(recordOf(other.bench, other.job).ranMs).toBeUndefined();
  });
});

test("a record with a limit that cannot be meant is refused as malformed", () => {
  const { bench, job } = benchWith({ items: 5, task, limits: { jobTimeoutMs: 5 } });
  const record = recordOf(bench, job);
  for (const bad of [
    { jobTimeoutMs: 0 },
    { jobTimeoutMs: -1 },
    { maxFailures: { most: 100, isShare: true } },
    { maxFailures: { most: 1.5, isShare: false } },
    { maxFailures: { most: 1 } },
    { audit: 0 },
    { audit: 1.01 },
    { speculate: 1 },
  ]) {
    const spec = { ...record.spec, ...bad } as unknown as JobRecord["spec"];
    expect(() => decodeJobRecord(encodeJobRecord({ ...record, spec }))).toThrow(
      /jobTimeoutMs|most|isShare|maxFailures|audit|speculate/,
    );
  }
});
