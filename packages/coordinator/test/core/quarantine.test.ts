// Host, then: a node that crashes items which end well elsewhere gets no more of them (P4), and nobody waits for it in
// vain (P5). Each rule of DESIGN 5 and of decision 0090; what lasts of it is in standing.test.ts.
import { times } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { explainJob, jobView, loadOf, nodeView } from "../../src/core/index.ts";
import {
  answerAll,
  benchOf,
  crash,
  dies,
  ends,
  isIn,
  pass,
  reasons,
  undrain,
  x,
  y,
} from "../support/bad-host.ts";
import { CoreBench, nodeId, only } from "../support/core-bench.ts";

const minute = 60_000;

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
    expect(bench.state.placed.slots).toBe(2);
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

  test("and is not sent again what it has not answered", () => {
    const bench = benchOf("a", "b", "c");
    crash(bench, "a", x, y);
    const index = dies(bench, x, "a");
    bench.submit("z", { items: 30 });
    const [unanswered] = bench.node("a").arrived;
    expect(unanswered).toBeDefined();
    const arrived = bench.node("a").arrived.splice(0);
    ends(bench, x, index);
    expect(isIn(bench, "a")).toBe(true);
    const since = bench.effects.length;
    for (const { job, grant } of arrived)
      bench.feed({ kind: "leaseAnswered", job, lease: grant.id, reply: undefined });
    const sent = only(bench.effects.slice(since), "sendLease");
    expect(sent.filter(({ node }) => node === nodeId("a"))).toEqual([]);
    bench.tick(times.leaseAskMs);
    bench.runAll();
    expect([...bench.records.values()].map(({ state }) => state)).toEqual(["done", "done", "done"]);
  });

  test("and items that crash elsewhere do not wait for it", () => {
    const bench = benchOf("a", "b");
    crash(bench, "a", x, x, y);
    expect(isIn(bench, "a")).toBe(true);
    answerAll(bench);
    const held = [...bench.node("b").held.values()].find((lease) => !lease.unfinished.isEmpty)!;
    const again = only(bench.strike("b", held.job, held.unfinished.first()!.start), "sendLease");
    expect(again.map(({ node }) => node)).toContain(nodeId("b"));
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
      "by crashes that far apart, between two ticks",
      (bench) => {
        crash(bench, "a", x, x);
        bench.now += times.crashCountsMs + 1;
        crash(bench, "a", y);
      },
    ],
    [
      "by items that ended well on it in the end",
      (bench) => {
        for (const name of ["b", "c"])
          bench.feed({ kind: "drainAsked", node: nodeId(name), ask: bench.ask() });
        for (const job of [x, y, x, y]) expect(ends(bench, job, dies(bench, job, "a"))).toBe("a");
        for (const name of ["b", "c"]) undrain(bench, name);
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

test("a node is not quarantined by items of reductions that had no value elsewhere", () => {
  for (const [missing, isBad] of [
    [1, false],
    [0, true],
  ] as const) {
    const bench = new CoreBench();
    for (const name of ["a", "b", "c"]) bench.report(name, { slots: 1 });
    for (const name of ["x", "y"]) bench.submit(name, { items: 400, task: { reduce: "add" } });
    for (const job of [x, y, x, y]) ends(bench, job, dies(bench, job, "a"), "value", missing);
    expect(isIn(bench, "a")).toBe(isBad);
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
      text: "a node that can run it: those that are here are in quarantine, and one is let out if the others are lost",
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
