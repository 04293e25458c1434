// Item or host? What crashes and losses lead to (P4): the table of DESIGN 5 "Strikes", rule by rule.
import { describe, expect, test } from "vitest";
import { type DeathDetail, times } from "@everycore/protocol";
import type { Effect } from "../../src/core/index.ts";
import { verdictOf } from "../../src/core/strikes.ts";
import { appended, CoreBench, nodeId, only } from "../support/core-bench.ts";

const a = nodeId("a");
const b = nodeId("b");

test("two crashes are a crash, three losses are lost, four of any kind end it", () => {
  const table = [
    // losses: 0, 1, 2, 3
    [undefined, undefined, undefined, "lost"],
    [undefined, undefined, undefined, "lost"],
    ["crash", "crash", "crash", "crash"],
  ];
  for (const [crashes, row] of table.entries())
    for (const [lost, verdict] of row.entries()) expect(verdictOf(crashes, lost)).toBe(verdict);
});

describe("a crash", () => {
  test("is tried alone in its slice on another machine; its neighbours keep their outcomes", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1, machine: "one" });
    const { job } = bench.submit("j", { items: 3 });
    bench.answer("a");
    bench.report("c", { machine: "one" });
    bench.report("b", { machine: "two" });
    bench.commit("a", job, { start: 0, end: 1 });
    const effects = bench.strike("a", job, 1);
    expect(appended(effects, "seal")).toEqual([]);
    const [lease] = only(effects, "sendLease").filter((effect) => effect.grant.start === 1);
    expect(lease).toMatchObject({ node: b, grant: { start: 1, end: 2 } });
    expect(bench.job(job).fold.statusOf(0)).toBe("value");
  });

  test("and a second one on another node is the verdict, with what is known of the death", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 1 });
    bench.answer("a");
    bench.report("b");
    bench.strike("a", job, 0);
    bench.answer("b");
    const lease = bench.leaseOf("b", job, 0);
    const effects = bench.append({
      kind: "strike",
      job,
      epoch: 1,
      cause: "crash",
      lease,
      ranges: [{ start: 0, end: 1 }],
      byLeader: false,
      detail: { signal: "SIGSEGV", peakBytes: 5, stderrTail: "boom" },
    });
    expect(appended(effects, "seal")).toMatchObject([
      { status: "crash", node: b, detail: { signal: "SIGSEGV", peakBytes: 5, stderrTail: "boom" } },
    ]);
    expect(appended(effects, "seal")[0]?.message).toContain("SIGSEGV");
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { crash: 1 } });
  });

  test("on the only node is tried there again at once", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 1 });
    bench.answer("a");
    expect(only(bench.strike("a", job, 0), "sendLease").map((effect) => effect.node)).toEqual([a]);
    bench.answer("a");
    bench.strike("a", job, 0);
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { crash: 1 } });
  });

  test("waits 30 s at most for a node that may come back", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 1 });
    bench.answer("a");
    bench.report("b");
    bench.breakLink("b");
    expect(only(bench.strike("a", job, 0), "sendLease")).toEqual([]);
    let sent: string[] = [];
    let waited = 0;
    while (sent.length === 0 && waited < 60_000) {
      waited += 1_000;
      bench.feed({ kind: "nodeHeartbeat", node: a, busy: 0, diskFull: false });
      sent = only(bench.tick(1_000), "sendLease").map((effect) => effect.node);
    }
    expect(sent).toEqual([a]);
    expect(waited).toBeLessThanOrEqual(times.crashElsewhereMs);
  });

  test("of a memory limit is tried once more with twice that limit, whoever leads then; a second one names both figures", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job, effects } = bench.submit("j", { items: 3 });
    expect(only(effects, "sendLease").map((effect) => effect.memoryBytes)).toEqual(
      only(effects, "sendLease").map(() => undefined),
    );
    bench.answer("a");
    const MB = 2 ** 20;
    const died = (limit: number): DeathDetail => ({
      reason: "out of memory",
      signal: "SIGKILL",
      limitBytes: limit * MB,
      peakBytes: (limit + 7) * MB,
    });
    const again = only(bench.strike("a", job, 1, "crash", died(100)), "sendLease");
    expect(again).toMatchObject([{ grant: { start: 1, end: 2 }, memoryBytes: 200 * MB }]);
    // The lease is lost with its leader before the agent has it: the next leader knows of the strike by the log.
    bench.report("a", { restarted: true });
    const after = [...bench.lead(), ...bench.report("a", { restarted: true })];
    const leases = only(after, "sendLease");
    expect(leases.filter((lease) => lease.memoryBytes !== undefined)).toMatchObject([
      { grant: { start: 1, end: 2 }, memoryBytes: 200 * MB },
    ]);
    bench.answer("a");
    const seals = appended(bench.strike("a", job, 1, "crash", died(200)), "seal");
    expect(seals).toMatchObject([{ status: "crash", ranges: [{ start: 1, end: 2 }] }]);
    expect(seals[0]?.message).toMatch(/out of memory \(limit 200 MB, peak 207 MB\), killed by SIGKILL/);
  });

  test("that ends well elsewhere is an outcome like any other", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 1 });
    bench.answer("a");
    bench.report("b");
    bench.strike("a", job, 0);
    bench.answer("b");
    bench.commit("b", job, { start: 0, end: 1 });
    expect(bench.records.get(job)).toMatchObject({ counts: { value: 1, crash: 0 } });
  });

  test("reported twice under one lease is one crash", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 1 });
    bench.answer("a");
    bench.strike("a", job, 0);
    const { record } = bench.log.at(-1)!;
    bench.append(record);
    expect(bench.job(job).fold.mishaps.crashes(0).length).toBe(1);
    expect(bench.job(job).state).toBe("running");
  });
});

describe("a loss", () => {
  /** The node loses its files so often while it holds the one item, which has started. */
  const lost = (
    bench: CoreBench,
    job: ReturnType<CoreBench["submit"]>["job"],
  ): ReturnType<CoreBench["report"]> => {
    bench.answer("a");
    const { id } = bench.leaseOf("a", job, 0);
    bench.feed({ kind: "sliceStarting", node: a, job, lease: id, range: { start: 0, end: 1 }, ask: 1 });
    return bench.report("a", { wiped: true });
  };

  test("makes the next try announced, a second one alone, a third one the verdict", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job, effects } = bench.submit("j", { items: 1 });
    const modes = [only(effects, "sendLease")[0]?.mode];
    modes.push(only(lost(bench, job), "sendLease")[0]?.mode);
    modes.push(only(lost(bench, job), "sendLease")[0]?.mode);
    expect(modes).toEqual(["normal", "announced", "alone"]);
    const last = lost(bench, job);
    expect(appended(last, "seal")).toMatchObject([
      {
        status: "lost",
        ranges: [{ start: 0, end: 1 }],
        node: a,
        message:
          "lost its agent or node three times while it ran: host-a 61000000, host-a 61000000, host-a 61000000",
      },
    ]);
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { lost: 1 } });
  });

  test("of a lease strikes everything that it still held, and nothing that had ended", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 6 });
    bench.answer("a");
    const { start } = bench.leaseOf("a", job, 0);
    bench.commit("a", job, { start, end: start + 1 });
    bench.report("a", { wiped: true });
    expect(bench.job(job).fold.mishaps.lostCount(0)).toBe(0);
    expect(bench.job(job).fold.mishaps.lostCount(1)).toBe(1);
  });
});

test("an item that took two nodes starts only when what ran there before it is in the log", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job } = bench.submit("j", { items: 2 });
  const start = (index: number, ask: number): ReturnType<CoreBench["feed"]> => {
    const { id } = bench.leaseOf("a", job, index);
    const range = { start: index, end: index + 1 };
    return bench.feed({ kind: "sliceStarting", node: a, job, lease: id, range, ask });
  };
  const asked = (effects: readonly Effect[]): number[] => only(effects, "mayStart").map(({ ask }) => ask);
  for (let deaths = 0; deaths < 2; deaths += 1) {
    bench.answer("a");
    for (const index of [0, 1]) start(index, 1);
    bench.report("a", { wiped: true });
  }
  bench.answer("a");
  expect([0, 1].map((index) => bench.job(job).leases.get(bench.leaseOf("a", job, index).id)?.mode)).toEqual([
    "alone",
    "alone",
  ]);
  expect(asked(start(0, 7))).toEqual([7]);
  // It has run, and its outcome is on its way; asked again, it still may run.
  expect(asked(start(1, 8))).toEqual([]);
  expect(asked(start(0, 9))).toEqual([9]);
  expect(asked(start(1, 10))).toEqual([]);
  expect(asked(bench.commit("a", job, { start: 0, end: 1 }))).toEqual([10]);
  bench.report("a", { wiped: true });
  expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 1, lost: 1 } });
});

test("a verdict waits for the second node of an item that was leased twice: the fold decides who is first", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job } = bench.submit("j", { items: 1 });
  bench.answer("a");
  const old = bench.leaseOf("a", job, 0);
  bench.report("b");
  bench.strike("a", job, 0);
  bench.answer("b");
  // The first node's agent was restarted and strikes `lost` for a lease of its own, late.
  const strike = {
    kind: "strike",
    job,
    epoch: 1,
    cause: "lost",
    ranges: [{ start: 0, end: 1 }],
    byLeader: false,
  } as const;
  bench.append({ ...strike, lease: old });
  bench.commit("b", job, { start: 0, end: 1 });
  expect(bench.records.get(job)).toMatchObject({ counts: { value: 1 } });
});
