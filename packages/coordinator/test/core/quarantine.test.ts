// Host, then: a node that crashes items which end well elsewhere gets no more of them (P4), and nobody waits for it in
// vain (P5). Each rule of DESIGN 5 and of decision 0090, alone and across leaders.
import type { JobId } from "@everycore/protocol";
import { limits, times } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { explainJob, jobView, loadOf, nodeView } from "../../src/core/index.ts";
import type { Standing } from "../../src/core/model.ts";
import { CoreBench, jobId, nodeId, only } from "../support/core-bench.ts";

const minute = 60_000;

/** Nodes of one slot each, and two jobs that all of them can run. */
function benchOf(...names: string[]): CoreBench {
  const bench = new CoreBench();
  for (const name of names) bench.report(name, { slots: 1 });
  bench.submit("x", { items: 400 });
  bench.submit("y", { items: 400 });
  return bench;
}
const x = jobId("x");
const y = jobId("y");

const nameOf = (id: string): string => Buffer.from(id, "hex").toString().replaceAll("\0", "");
const answerAll = (bench: CoreBench): void => {
  for (const id of bench.nodes.keys()) bench.answer(nameOf(id));
};

/** An item of the job dies on the node; gives its index. */
function dies(bench: CoreBench, job: JobId, on: string): number {
  answerAll(bench);
  const held = [...bench.node(on).held.values()].find(
    (lease) => lease.job === job && !lease.unfinished.isEmpty,
  );
  if (held === undefined) throw new Error(`${on} has nothing of it`);
  const index = held.unfinished.first()!.start;
  bench.strike(on, job, index);
  answerAll(bench);
  return index;
}

/** Whoever has the item commits it; gives its name. */
function ends(bench: CoreBench, job: JobId, index: number, status: "value" | "error" = "value"): string {
  answerAll(bench);
  for (const [id, node] of bench.nodes) {
    if (![...node.held.values()].some((held) => held.job === job && held.unfinished.has(index))) continue;
    bench.commit(nameOf(id), job, { start: index, end: index + 1 }, status);
    return nameOf(id);
  }
  throw new Error(`nobody holds item ${index}`);
}

/** Items of these jobs die on the node and end well elsewhere. */
function crash(bench: CoreBench, on: string, ...jobs: JobId[]): void {
  for (const job of jobs) expect(ends(bench, job, dies(bench, job, on))).not.toBe(on);
}

/** Time goes on, and these nodes are heard. */
function pass(bench: CoreBench, ms: number, heard = [...bench.nodes.keys()].map(nameOf)): void {
  for (let left = ms; left > 0; left -= 2_000) {
    for (const name of heard)
      bench.feed({ kind: "nodeHeartbeat", node: nodeId(name), busy: 0, diskFull: false });
    bench.tick(Math.min(left, 2_000));
  }
}

const standing = (bench: CoreBench, name: string): Standing => bench.state.standings.get(nodeId(name))!;
const isIn = (bench: CoreBench, name: string): boolean => standing(bench, name).state === "quarantined";
const undrain = (bench: CoreBench, name: string): ReturnType<CoreBench["feed"]> =>
  bench.feed({ kind: "undrainAsked", node: nodeId(name), ask: bench.ask() });
const reasons = (bench: CoreBench): string[] =>
  only(bench.effects, "standingChanged").map(({ reason }) => reason);

/** A new leader, to whom these nodes report. */
function takeOver(bench: CoreBench, ...reporting: string[]): void {
  bench.lead([...bench.nodeRecords.values()].filter(({ isGone }) => !isGone).map(({ id }) => id));
  for (const name of reporting) bench.report(name);
}

describe("a node is quarantined", () => {
  test("by three items of two jobs that ended well elsewhere, and gets no new lease", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x);
    expect(isIn(bench, "a")).toBe(false);
    crash(bench, "a", y);
    expect(isIn(bench, "a")).toBe(true);
    const since = bench.effects.length;
    bench.submit("later", { items: 200 });
    bench.runAll();
    const leases = only(bench.effects.slice(since), "sendLease");
    expect(leases.length).toBeGreaterThan(5);
    expect(leases.filter(({ node }) => node === nodeId("a"))).toEqual([]);
    expect([...bench.records.values()].map(({ state }) => state)).toEqual(["done", "done", "done"]);
  });

  test("finishes what it runs, whose outcomes count, and is asked for the rest", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    for (const job of [x, y]) {
      expect(only(bench.effects, "sendGiveBack")).toContainEqual(
        expect.objectContaining({ node: nodeId("a"), job, isAll: true }),
      );
    }
    const [held] = bench.node("a").held.values();
    const { start, end } = held!.unfinished.first()!;
    bench.commit("a", held!.job, { start, end: start + 1 });
    expect(bench.job(held!.job).fold.statusOf(start)).toBe("value");
    bench.giveBack("a", held!.job, { start: start + 1, end });
    bench.runAll();
    expect(bench.records.get(x)).toMatchObject({ state: "done", counts: { value: 400 } });
  });

  test("and says why, wherever people look", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    const view = nodeView(bench.state, nodeId("a"))!;
    expect(view.state).toBe("quarantined");
    expect(view.reason).toMatch(
      /^quarantined for 30 min more: workers died here on items \d+, \d+ of job 78000000 and item \d+ of job 79000000, which ended well elsewhere$/,
    );
    expect(loadOf(bench.state).nodes).toEqual({ quarantined: 1, connected: 2 });
    expect(bench.state.totals.quarantines).toBe(1);
    expect(explainJob(bench.state, x)).toContainEqual({
      about: "nodes",
      text: `not host-a 61000000: ${view.reason}`,
    });
    expect(only(bench.effects, "standingChanged")).toEqual([
      { kind: "standingChanged", node: nodeId("a"), isQuarantined: true, reason: view.reason },
    ]);
  });

  test("while it is drained or away it is judged when it is back", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, y);
    const index = dies(bench, x, "a");
    bench.breakLink("a");
    ends(bench, x, index);
    expect(isIn(bench, "a")).toBe(false);
    bench.report("a");
    bench.tick(200);
    expect(isIn(bench, "a")).toBe(true);
  });
});

describe("a node is not quarantined", () => {
  const innocent: [string, (bench: CoreBench) => void][] = [
    ["by one job alone, however many of its items die there", (bench) => crash(bench, "a", x, x, x, x, x, x)],
    ["by two items", (bench) => crash(bench, "a", x, y)],
    [
      "by items that failed elsewhere too",
      (bench) => {
        for (const job of [x, y, x, y]) ends(bench, job, dies(bench, job, "a"), "error");
      },
    ],
    [
      "by crashes more than ten minutes apart",
      (bench) => {
        crash(bench, "a", x, x);
        pass(bench, times.crashCountsMs + minute);
        crash(bench, "a", y);
      },
    ],
    [
      "by jobs whose items die on every node: the cause is in them",
      (bench) => {
        crash(bench, "b", x, y);
        crash(bench, "c", x, y);
        crash(bench, "a", x, y, x, y);
        crash(bench, "b", x, y, x, y);
      },
    ],
    [
      "by workers that were over their memory limit: the next try has more",
      (bench) => {
        for (const job of [x, y, x]) {
          answerAll(bench);
          const held = [...bench.node("a").held.values()].find((lease) => lease.job === job)!;
          const index = held.unfinished.first()!.start;
          bench.strike("a", job, index, "crash", { reason: "out of memory", limitBytes: 1_000 });
          ends(bench, job, index);
        }
      },
    ],
  ];
  test.for(innocent)("%s", ([, act]) => {
    const bench = benchOf("a", "b", "c");
    act(bench);
    pass(bench, 2_000);
    expect(bench.state.quarantined.size).toBe(0);
    bench.runAll();
    expect([...bench.records.values()].map(({ state }) => state)).toEqual(["done", "done"]);
  });
});

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

describe("the last usable node is not quarantined", () => {
  test("of a cluster: while the others drain; once one of them is back, it is", () => {
    const bench = benchOf("a", "b");
    crash(bench, "a", x, y);
    const index = dies(bench, x, "a");
    bench.feed({ kind: "drainAsked", node: nodeId("b"), ask: bench.ask() });
    expect(ends(bench, x, index)).toBe("b");
    pass(bench, 2_000);
    expect(isIn(bench, "a")).toBe(false);
    undrain(bench, "b");
    pass(bench, 2_000);
    expect(isIn(bench, "a")).toBe(true);
  });

  test("of a job: as long as the only one with its label is needed", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1, labels: ["gpu=yes"] });
    for (const name of ["b", "c"]) bench.report(name, { slots: 1 });
    bench.submit("x", { items: 400 });
    bench.submit("y", { items: 400 });
    const { job } = bench.submit("g", { items: 1, task: { require: ["gpu"] } });
    crash(bench, "a", x, x, y);
    pass(bench, 2_000);
    expect(isIn(bench, "a")).toBe(false);
    expect(ends(bench, job, 0)).toBe("a");
    expect(bench.records.get(job)?.state).toBe("done");
    bench.tick(200);
    expect(isIn(bench, "a")).toBe(true);
  });

  test("and when the others are lost it is let out: a job waits for them, not for a quarantine", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    for (const name of ["b", "c"]) bench.breakLink(name);
    for (const { job, unfinished } of [...bench.node("a").held.values()])
      for (const range of unfinished.toRanges()) bench.commit("a", job, range);
    pass(bench, 2_000, ["a"]);
    expect(isIn(bench, "a")).toBe(true);
    const { job } = bench.submit("z", { items: 3 });
    expect(jobView(bench.state, job)?.reason).toBe("blocked: quarantine (host-a 61000000)");
    expect(explainJob(bench.state, job)).toContainEqual({
      about: "waits for",
      text: "a node that can run it",
    });
    pass(bench, times.lostMs + 1_000, ["a"]);
    expect(isIn(bench, "a")).toBe(false);
    expect(reasons(bench).at(-1)).toMatch(/^job [0-9a-f]{8} has no other node$/);
    expect(ends(bench, job, 0)).toBe("a");
  });

  test("and a job that only it can run is run at once", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1, labels: ["gpu=yes"] });
    for (const name of ["b", "c"]) bench.report(name, { slots: 1 });
    bench.submit("x", { items: 400 });
    bench.submit("y", { items: 400 });
    crash(bench, "a", x, x, y);
    expect(isIn(bench, "a")).toBe(true);
    const { job } = bench.submit("g", { items: 1, task: { require: ["gpu"] } });
    expect(reasons(bench).at(-1)).toBe(`job ${job.slice(0, 8)} has no other node`);
    expect(ends(bench, job, 0)).toBe("a");
  });
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
    takeOver(bench, "a");
    pass(bench, times.takeoverReportMs - 2_000, ["a"]);
    expect(isIn(bench, "a")).toBe(true);
    for (const name of ["b", "c"]) bench.report(name);
    pass(bench, 4_000);
    expect(isIn(bench, "a")).toBe(true);
    bench.runAll();
    expect([...bench.records.values()].map(({ state }) => state)).toEqual(["done", "done"]);
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

  test("judges what the old one had read and not acted upon", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    // Its record was never written.
    const { id, host, draining, isGone } = bench.nodeRecords.get(nodeId("a"))!;
    bench.nodeRecords.set(id, { id, host, draining, isGone });
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

  test("does not forget a node that went away in quarantine, and waits for none that is gone", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, x, y);
    bench.feed({ kind: "drained", node: nodeId("a") });
    expect(bench.nodeRecords.get(nodeId("a"))).toMatchObject({ isGone: true });
    takeOver(bench, "b", "c");
    expect(bench.state.awaited.size).toBe(0);
    bench.report("a", { restarted: true });
    expect(nodeView(bench.state, nodeId("a"))).toMatchObject({ state: "quarantined" });
    expect(bench.nodeRecords.get(nodeId("a"))).toMatchObject({ isGone: false });
    bench.feed({ kind: "drained", node: nodeId("a") });
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
