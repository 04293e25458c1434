// A task that only crashes is stopped instead of burning through its input (DESIGN 5), under whichever leader.
import type { JobId } from "@everycore/protocol";
import { isEnded, limits } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { CoreBench } from "../support/core-bench.ts";

describe("verdicts of which all are crashes", () => {
  /** One item after the other dies twice, until so many have a verdict or the job has ended. */
  function dieUntil(bench: CoreBench, job: JobId, verdicts: number): void {
    const counts = (): number => bench.job(job).fold.counts().crash;
    for (let round = 0; round < 400 && counts() < verdicts; round += 1) {
      if (isEnded(bench.job(job).state)) return;
      bench.answer("a");
      const held = [...bench.node("a").held.values()].find((lease) => !lease.unfinished.isEmpty);
      if (held !== undefined) bench.strike("a", job, held.unfinished.first()!.start);
      bench.feed({ kind: "nodeHeartbeat", node: bench.node("a").id, busy: 0, diskFull: false });
      bench.tick(200);
    }
  }
  const most = limits.crashVerdictsToFailJob;

  test("are counted on by the next leader", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 60 });
    dieUntil(bench, job, most - 1);
    expect(bench.job(job).state).toBe("running");
    bench.lead();
    bench.report("a");
    dieUntil(bench, job, most);
    expect(bench.records.get(job)).toMatchObject({
      state: "failed",
      counts: { crash: most, cancelled: 60 - most },
    });
  });

  test("fail the job also when the old leader had read the last of them and died", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 60 });
    dieUntil(bench, job, most - 1);
    const before = bench.records.get(job)!;
    dieUntil(bench, job, most);
    // What it wrote after that was never stored.
    const seal = bench.log.findLastIndex(({ record }) => record.kind === "seal" && record.status === "crash");
    bench.log.length = seal + 1;
    bench.records.set(job, before);
    bench.lead();
    bench.report("a");
    expect(bench.records.get(job)).toMatchObject({ state: "failed" });
    expect(bench.records.get(job)?.reason).toBe(
      `task crashes: its first ${most} items all killed their worker twice`,
    );
  });

  test("do not fail a job that has had one value, or an item that lost its node", () => {
    for (const other of ["value", "lost"] as const) {
      const bench = new CoreBench();
      bench.report("a", { slots: 1 });
      const { job } = bench.submit("j", { items: 30 });
      bench.answer("a");
      const [held] = bench.node("a").held.values();
      const { start } = held!.unfinished.first()!;
      if (other === "value") bench.commit("a", job, { start, end: start + 1 });
      else
        bench.append({
          kind: "seal",
          job,
          epoch: bench.epoch,
          round: 0,
          ranges: [{ start, end: start + 1 }],
          status: "lost",
          message: "three times",
        });
      held!.unfinished.remove(start, start + 1);
      dieUntil(bench, job, 29);
      expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { crash: 29, [other]: 1 } });
    }
  });

  test("are counted anew in a round of their own", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: most - 1 });
    dieUntil(bench, job, most - 1);
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { crash: most - 1 } });
    bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
    dieUntil(bench, job, 5);
    expect(bench.job(job).state).toBe("running");
  });
});
