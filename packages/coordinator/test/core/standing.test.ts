// What stands against a node, for how long, and over changes of leaders and lives of the node (P4, P7).
import { limits, times } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { nodeView } from "../../src/core/index.ts";
import { queuedItems } from "../../src/core/queues.ts";
import {
  benchOf,
  crash,
  dies,
  ends,
  isIn,
  pass,
  reasons,
  standing,
  takeOver,
  undrain,
  x,
  y,
} from "../support/bad-host.ts";
import { CoreBench, jobId, nodeId, only } from "../support/core-bench.ts";

const minute = 60_000;

test("what is remembered of a node is bounded, and one noisy job does not push the others out", () => {
  const bench = new CoreBench();
  for (const name of ["a", "b", "c"]) bench.report(name, { slots: 1 });
  bench.submit("y", { items: 400 });
  crash(bench, "a", y);
  bench.submit("x", { items: 400 });
  crash(bench, "a", x);
  const crashes = standing(bench, "a").crashes;
  for (let n = 0; n < 50; n += 1) {
    // Forgiven at once, so that they go on being counted.
    undrain(bench, "a");
    crash(bench, "a", x);
    expect(crashes.filter(({ job }) => job === x).length).toBeLessThanOrEqual(limits.standingCrashesPerJob);
    expect(crashes.some(({ job }) => job === y)).toBe(true);
  }
});

describe("a quarantine is over", () => {
  test("after half an hour, then after twice as long, and what was before counts no more", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    const late = bench.node("a").held.size > 0;
    expect(late).toBe(true);
    pass(bench, times.quarantineMs - minute);
    expect(isIn(bench, "a")).toBe(true);
    pass(bench, minute + 2_000);
    expect(isIn(bench, "a")).toBe(false);
    expect(reasons(bench).at(-1)).toBe("its time is over");
    crash(bench, "a", x, y);
    expect(isIn(bench, "a")).toBe(false);
    crash(bench, "a", x);
    expect(isIn(bench, "a")).toBe(true);
    const { since, until } = standing(bench, "a").quarantine!;
    expect(until - since).toBe(2 * times.quarantineMs);
  });

  test("the eighth in a row lasts eight hours, and a day without one makes the next one short again", () => {
    const bench = benchOf("a", "b", "c");
    standing(bench, "a").times = 7;
    standing(bench, "a").countsFrom = bench.now - 1;
    crash(bench, "a", x, x, y);
    const { since, until } = standing(bench, "a").quarantine!;
    expect(until - since).toBe(times.quarantineMsMax);
    bench.now = until;
    for (const name of ["a", "b", "c"]) bench.report(name);
    bench.tick(200);
    expect(bench.nodeRecords.get(nodeId("a"))?.standing?.times).toBe(8);
    bench.now += times.quarantineForgottenMs;
    for (const name of ["a", "b", "c"]) bench.report(name);
    bench.tick(200);
    expect(standing(bench, "a").times).toBe(0);
    expect(bench.nodeRecords.get(nodeId("a"))).toEqual({
      id: nodeId("a"),
      host: "host-a",
      epoch: bench.state.epoch,
      draining: false,
      isGone: false,
    });
  });

  test("by undrain, of a node that is there and of one that is lost; its crashes are forgiven", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    expect(only(undrain(bench, "a"), "answer")).toMatchObject([{ answer: { ok: true } }]);
    expect(reasons(bench).at(-1)).toBe("an operator has lifted it");
    expect(standing(bench, "a").times).toBe(0);
    pass(bench, 2_000);
    expect(isIn(bench, "a")).toBe(false);
    crash(bench, "a", x, x, y);
    bench.breakLink("a");
    pass(bench, times.lostMs + 2_000, ["b", "c"]);
    expect(nodeView(bench.state, nodeId("a"))).toMatchObject({ state: "lost" });
    expect(nodeView(bench.state, nodeId("a"))!.reason).toMatch(/^lost: link broken; quarantined for/);
    expect(only(undrain(bench, "a"), "answer")).toMatchObject([{ answer: { ok: true } }]);
    expect(isIn(bench, "a")).toBe(false);
    // It is lost, and there is nothing more to take back.
    expect(only(undrain(bench, "a"), "answer")).toMatchObject([{ answer: { ok: false, code: "conflict" } }]);
  });

  test("a crash before the end of a quarantine does not count, whenever its item ends well", () => {
    const bench = benchOf("a", "b", "c");
    const early = [x, y, x].map((job) => ({ job, index: dies(bench, job, "a") }));
    crash(bench, "a", x, x, y);
    undrain(bench, "a");
    for (const { job, index } of early) ends(bench, job, index);
    pass(bench, 2_000);
    expect(isIn(bench, "a")).toBe(false);
  });
});

describe("a new leader", () => {
  test("knows who is in quarantine, until when and why, and leases nothing to them", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    const before = structuredClone(standing(bench, "a").quarantine);
    const since = bench.effects.length;
    takeOver(bench, "a", "b", "c");
    expect(standing(bench, "a").quarantine).toEqual(before);
    bench.runAll();
    const leases = only(bench.effects.slice(since), "sendLease");
    expect(leases.filter(({ node }) => node === nodeId("a"))).toEqual([]);
    expect([...bench.records.values()].map(({ state }) => state)).toEqual(["done", "done"]);
    bench.now = before!.until;
    for (const name of ["a", "b", "c"]) bench.report(name);
    bench.tick(200);
    expect(isIn(bench, "a")).toBe(false);
  });

  test("lets nobody out before the others have reported", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    // Most of it was never reserved, and may be leased before the reports.
    bench.submit("z", { items: 200_000 });
    takeOver(bench, "a");
    expect(queuedItems(bench.job(jobId("z")))).toBeGreaterThan(0);
    pass(bench, times.takeoverReportMs - 2_000, ["a"]);
    expect(isIn(bench, "a")).toBe(true);
    for (const name of ["b", "c"]) bench.report(name);
    pass(bench, 4_000);
    expect(isIn(bench, "a")).toBe(true);
    bench.runAll();
    expect([...bench.records.values()].map(({ state }) => state)).toEqual(["done", "done", "done"]);
  });

  test("counts on where the old one was: crashes, and deaths whose items had not ended", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, y);
    const index = dies(bench, x, "a");
    takeOver(bench, "a", "b", "c");
    expect(isIn(bench, "a")).toBe(false);
    ends(bench, x, index);
    expect(isIn(bench, "a")).toBe(true);
  });

  test("counts crashes of jobs that were deleted meanwhile, and those of others once", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, y);
    takeOver(bench, "a", "b", "c");
    expect(standing(bench, "a").crashes.length).toBe(2);
    bench.runAll();
    bench.feed({ kind: "deleteAsked", job: x, ask: bench.ask() });
    bench.records.delete(x);
    takeOver(bench, "a", "b", "c");
    expect(standing(bench, "a").crashes.map(({ job }) => job)).toEqual([x, y]);
    const { job: z } = bench.submit("z", { items: 400 });
    const index = dies(bench, z, "a");
    expect(isIn(bench, "a")).toBe(false);
    ends(bench, z, index);
    expect(isIn(bench, "a")).toBe(true);
  });

  test("hears no more of what counts no more, nor of what was forgiven", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, y);
    const kept = (): readonly unknown[] => bench.nodeRecords.get(nodeId("a"))?.standing?.crashes ?? [];
    expect(kept().length).toBe(2);
    pass(bench, times.crashCountsMs + 2_000);
    bench.log.length = 0;
    takeOver(bench, "a", "b", "c");
    bench.tick(200);
    expect(standing(bench, "a").crashes).toEqual([]);
    crash(bench, "a", x, y);
    crash(bench, "a", x);
    expect(isIn(bench, "a")).toBe(true);
    undrain(bench, "a");
    expect(kept()).toEqual([]);
  });

  test("waits for a node that has not reported yet, whatever stands against it", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    const { until } = standing(bench, "a").quarantine!;
    bench.now = until - 1_000;
    takeOver(bench, "b", "c");
    bench.tick(1_200); // its quarantine ends meanwhile
    expect(isIn(bench, "a")).toBe(false);
    expect(bench.nodeRecords.get(nodeId("a"))).toMatchObject({ isGone: false, epoch: bench.epoch });
  });

  test("knows what ended jobs have against a node without reading their logs", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, y);
    bench.runAll();
    const before = structuredClone(standing(bench, "a").crashes);
    expect(before).toHaveLength(2);
    takeOver(bench, "a", "b", "c");
    expect([...bench.state.jobs.values()].map(({ phase }) => phase)).toEqual(["unread", "unread"]);
    expect(standing(bench, "a").crashes).toEqual(before);
    // Read for somebody, it says nothing new.
    bench.feed({ kind: "logWanted", job: x });
    expect(standing(bench, "a").crashes).toEqual(before);
    bench.submit("z", { items: 400 });
    crash(bench, "a", jobId("z"));
    expect(isIn(bench, "a")).toBe(true);
  });

  test("judges what the old one had read and not acted upon", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    // Its record was never written.
    const { standing: _unwritten, ...record } = bench.nodeRecords.get(nodeId("a"))!;
    bench.nodeRecords.set(record.id, record);
    takeOver(bench, "a", "b", "c");
    bench.tick(200);
    expect(isIn(bench, "a")).toBe(true);
  });

  test("does not count what is long ago by the times of the log, nor what was forgiven", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    undrain(bench, "a");
    takeOver(bench, "a", "b", "c");
    pass(bench, 2_000);
    expect(isIn(bench, "a")).toBe(false);
    bench.now += times.crashCountsMs;
    bench.nodeRecords.clear();
    takeOver(bench, "a", "b", "c");
    pass(bench, 2_000);
    expect(isIn(bench, "a")).toBe(false);
  });

  test("keeps the record of a node that has not reported yet: a third leader waits for it too", () => {
    const bench = benchOf("a", "b", "c");
    takeOver(bench, "a", "b");
    pass(bench, 2_000, ["a", "b"]);
    expect(bench.nodeRecords.has(nodeId("c"))).toBe(true);
    takeOver(bench, "a", "b");
    expect([...bench.state.awaited]).toEqual([nodeId("c")]);
  });

  test("does not forget a node that went away in quarantine, and waits for none that is gone", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    bench.feed({ kind: "drained", node: nodeId("a"), acknowledged: new Map() });
    expect(bench.nodeRecords.get(nodeId("a"))).toMatchObject({ isGone: true });
    takeOver(bench, "b", "c");
    expect(bench.state.awaited.size).toBe(0);
    bench.report("a", { restarted: true });
    expect(nodeView(bench.state, nodeId("a"))).toMatchObject({ state: "quarantined" });
    expect(bench.nodeRecords.get(nodeId("a"))).toMatchObject({ isGone: false });
    bench.feed({ kind: "drained", node: nodeId("a"), acknowledged: new Map() });
    const { until } = standing(bench, "a").quarantine!;
    const later = (to: number): void => {
      bench.now = to;
      for (const name of ["b", "c"]) bench.report(name);
      pass(bench, 4_000, ["b", "c"]);
    };
    later(until);
    expect(bench.nodeRecords.get(nodeId("a"))?.standing).toMatchObject({ times: 1 });
    later(until + times.quarantineForgottenMs + minute);
    expect(bench.nodeRecords.has(nodeId("a"))).toBe(false);
  });
});
