// A retry of failed items as a new round: its intent, its reopen, and a cancel that crosses them.
import type { JobId } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { appended, CoreBench, only } from "../support/core-bench.ts";

describe("retry", () => {
  const failedJob = (bench: CoreBench): JobId => {
    bench.report("a");
    const { job } = bench.submit("j", { items: 4 });
    bench.answer("a");
    bench.commit("a", job, { start: 0, end: 2 });
    bench.commit("a", job, { start: 2, end: 4 }, "error");
    return job;
  };

  test("opens the failed items as a new round, after its intent is stored", () => {
    const bench = new CoreBench();
    const job = failedJob(bench);
    bench.isHeld = true;
    const asked = bench.feed({ kind: "retryAsked", job, ask: 5 });
    expect(appended(asked, "reopen")).toEqual([]);
    expect(only(asked, "putJob").map(({ record }) => record.intent?.kind)).toEqual(["reopen"]);
    bench.isHeld = false;
    const acted = bench.release();
    expect(appended(acted, "reopen")).toMatchObject([{ round: 1, ranges: [{ start: 2, end: 4 }] }]);
    expect(only(acted, "sendLease").every(({ grant }) => grant.round === 1 && grant.start >= 2)).toBe(true);
    bench.runAll();
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 4, error: 0 } });
  });

  test("is refused while the job runs, and when nothing has failed", () => {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 4 });
    const refusal = (): unknown => only(bench.feed({ kind: "retryAsked", job, ask: 1 }), "answer")[0]?.answer;
    expect(refusal()).toMatchObject({ ok: false, code: "conflict" });
    bench.runAll();
    expect(refusal()).toMatchObject({ ok: false, code: "conflict" });
  });

  test("asked and cancelled before it was stored ends cancelled, with the old outcomes", () => {
    const bench = new CoreBench();
    const job = failedJob(bench);
    bench.isHeld = true;
    bench.feed({ kind: "retryAsked", job, ask: 5 });
    bench.feed({ kind: "cancelAsked", job, message: "no", ask: 6 });
    bench.isHeld = false;
    bench.release();
    expect(bench.records.get(job)).toMatchObject({ state: "cancelled", counts: { value: 2, error: 2 } });
  });

  test("cancelled while its reopen is on its way ends its items once the cancel is stored", () => {
    const bench = new CoreBench();
    const job = failedJob(bench);
    bench.isHeld = true;
    bench.feed({ kind: "retryAsked", job, ask: 5 });
    bench.release(1);
    bench.feed({ kind: "cancelAsked", job, message: "no", ask: 6 });
    const reopened = bench.release(1);
    expect(bench.log.at(-1)?.record.kind).toBe("reopen");
    expect(appended(reopened, "seal")).toEqual([]);
    bench.isHeld = false;
    bench.release();
    expect(bench.records.get(job)).toMatchObject({ state: "cancelled", counts: { value: 2, cancelled: 2 } });
  });

  test("whose reopen needs several records is completed by the next leader, whatever the first one got done", () => {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 2_400 });
    while (bench.job(job).state === "running") {
      bench.answer("a");
      for (const { grant, unfinished } of [...bench.node("a").held.values()]) {
        for (let index = grant.start; index < grant.end; index += 1)
          if (unfinished.has(index))
            bench.commit("a", job, { start: index, end: index + 1 }, index % 2 === 0 ? "error" : "value");
      }
      bench.tick(200);
    }
    bench.isHeld = true;
    bench.feed({ kind: "retryAsked", job, ask: 1 });
    bench.release(1);
    // One of three reopens is in the log when the leader dies.
    bench.release(1);
    bench.isHeld = false;
    bench.lead();
    bench.report("a");
    bench.runAll();
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 2_400, error: 0 } });
  });
});
