// An item that is late at the end of a job gets a second lease elsewhere, if the job asks for it: the first outcome
// counts (P2), the other try is ended, and whatever becomes of one of the two, the item keeps the other (P1).
import { beforeEach, describe, expect, test } from "vitest";
import type { JobId } from "@everycore/protocol";
import { times } from "@everycore/protocol";
import type { Effect } from "../../src/core/index.ts";
import { explainJob } from "../../src/core/index.ts";
import { CoreBench, nodeId, only } from "../support/core-bench.ts";

const items = 20;

let bench: CoreBench;
let job: JobId;
/** Index of the item that is late, on node a. */
let late: number;

function begin(options: { speculate?: boolean; retries?: number; machineOfB?: string } = {}): void {
  bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { speculate = true, retries = 0 } = options;
  ({ job } = bench.submit("j", { items, task: { retries }, speculate }));
  while (bench.job(job).fold.covered.size < items - 1) {
    bench.answer("a");
    const held = [...bench.node("a").held.values()].flatMap(({ unfinished }) => unfinished.toRanges())[0]!;
    late = held.start;
    const end =
      bench.job(job).fold.covered.size + (held.end - held.start) === items ? held.end - 1 : held.end;
    if (end > held.start) bench.commit("a", job, { start: held.start, end });
    late = end;
    if (end === held.end) bench.tick(1);
  }
  bench.report("b", {
    slots: 1,
    ...(options.machineOfB === undefined ? {} : { machine: options.machineOfB }),
  });
}

/** Seconds pass, and both nodes are heard of. */
function wait(seconds: number): Effect[] {
  const effects: Effect[] = [];
  for (let second = 0; second < seconds; second += 1) {
    for (const id of bench.nodes.keys())
      effects.push(...bench.feed({ kind: "nodeHeartbeat", node: id, busy: 1, diskFull: false }));
    effects.push(...bench.tick(1_000));
  }
  return effects;
}

const counts = (): object => ({ ...bench.records.get(job)?.counts });

test("nothing runs twice unasked", () => {
  begin({ speculate: false });
  expect(only(wait(60), "sendLease")).toEqual([]);
  expect(explainJob(bench.state, job)!.find(({ about }) => about === "late")?.text).toContain("--speculate");
});

test("a reduction, whose outcomes are of spans, is left alone", () => {
  bench = new CoreBench();
  bench.report("a", { slots: 1 });
  ({ job } = bench.submit("j", { items, task: { reduce: "combine" }, speculate: true }));
  bench.answer("a");
  bench.report("b", { slots: 1 });
  wait(10);
  expect(bench.job(job).doubled.given).toBe(0);
});

describe("an item that is late", () => {
  beforeEach(() => begin());

  test("gets one second lease, on another node, and not before it is late", () => {
    expect(only(bench.tick(500), "sendLease")).toEqual([]);
    const [lease, ...more] = only(wait(5), "sendLease");
    expect(lease).toMatchObject({ node: nodeId("b"), grant: { start: late, end: late + 1 }, mode: "normal" });
    expect(more).toEqual([]);
    bench.answer("b");
    expect(only(wait(30), "sendLease")).toEqual([]);
    expect(bench.job(job).held.total).toBe(1);
    expect(explainJob(bench.state, job)!.find(({ about }) => about === "late")?.text).toContain("as well");
  });

  test("ends with the second try if that is first: the other is stopped, its late commit is a duplicate", () => {
    const first = bench.leaseOf("a", job, late);
    wait(3);
    bench.answer("b");
    const effects = bench.commit("b", job, { start: late, end: late + 1 });
    expect(only(effects, "dropLeases")).toMatchObject([{ node: nodeId("a"), leases: [first.id] }]);
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: items } });
    const parts = [{ lease: 0, start: late, end: late + 1, status: "value" }] as const;
    bench.append({ kind: "commit", job, epoch: 1, leases: [first], parts, usage: [], bytes: 1 });
    expect(bench.job(job).fold.dropped.duplicate).toBe(1);
    expect(bench.job(job).doubled).toEqual({ given: 1, won: 1 });
  });

  test("ends with the first try if that is first: the second is stopped", () => {
    wait(3);
    bench.answer("b");
    const second = bench.leaseOf("b", job, late);
    const effects = bench.commit("a", job, { start: late, end: late + 1 });
    expect(only(effects, "dropLeases")).toMatchObject([{ node: nodeId("b"), leases: [second.id] }]);
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: items } });
    expect(bench.job(job).doubled).toEqual({ given: 1, won: 0 });
  });

  test("whose first node is lost keeps its second try: it is not queued", () => {
    wait(3);
    bench.answer("b");
    bench.nodes.delete(nodeId("a"));
    expect(only(wait(25), "sendLease")).toEqual([]);
    expect(bench.state.nodes.get(nodeId("a"))?.state).toBe("lost");
    expect(bench.job(job)).toMatchObject({ doubles: new Map(), held: { total: 1 } });
    bench.commit("b", job, { start: late, end: late + 1 });
    expect(counts()).toMatchObject({ value: items, lost: 0 });
  });

  test("that kills its worker on the first node is not queued while its second try runs, and is judged by both", () => {
    wait(3);
    bench.answer("b");
    expect(only(bench.strike("a", job, late), "sendLease")).toEqual([]);
    expect(bench.job(job).queues.crashed.size).toBe(0);
    bench.strike("b", job, late);
    expect(counts()).toMatchObject({ value: items - 1, crash: 1 });
  });

  test("whose second node is lost, refuses, gives back or never answers runs on where it was", () => {
    const ends: (() => void)[] = [
      () => void bench.answer("b", () => ({ ok: false, reason: "full", message: "no" })),
      () => {
        for (let send = 0; send < 3; send += 1) bench.answer("b", () => undefined);
        bench.tick(times.leaseAskMs);
      },
      () => {
        bench.answer("b");
        bench.giveBack("b", job, { start: late, end: late + 1 });
      },
      () => {
        bench.answer("b");
        bench.report("b", { slots: 1, restarted: true });
      },
      () => {
        bench.answer("b");
        bench.feed({ kind: "drained", node: nodeId("b"), acknowledged: new Map() });
      },
      () => {
        bench.answer("b");
        bench.strike("b", job, late);
      },
    ];
    for (const end of ends) {
      begin();
      wait(3);
      const [second] = bench.job(job).doubles.keys();
      end();
      // Late still, it may have another by now.
      expect(bench.job(job).doubles.has(second!)).toBe(false);
      expect(bench.job(job)).toMatchObject({ held: { total: 1 } });
      bench.commit("a", job, { start: late, end: late + 1 });
      expect(counts()).toMatchObject({ value: items });
    }
  });

  test("is cancelled in both places", () => {
    wait(3);
    bench.answer("b");
    const effects = bench.feed({ kind: "cancelAsked", job, message: "enough", ask: 1 });
    expect(only(effects, "sendCancel").map(({ node }) => node)).toEqual([nodeId("a"), nodeId("b")]);
    expect(counts()).toMatchObject({ value: items - 1, cancelled: 1 });
  });

  test("stays with whoever reports it first to a new leader; the other is told to stop", () => {
    wait(3);
    bench.answer("b");
    bench.lead();
    bench.report("b", { slots: 1 });
    const effects = bench.report("a", { slots: 1 });
    expect(only(effects, "dropLeases").map(({ node }) => node)).toEqual([nodeId("a")]);
    bench.commit("b", job, { start: late, end: late + 1 });
    expect(counts()).toMatchObject({ value: items });
  });
});

test("an error that is to be tried again leaves the item with its second try", () => {
  begin({ retries: 2 });
  wait(3);
  bench.answer("b");
  expect(only(bench.commit("a", job, { start: late, end: late + 1 }, "again"), "sendLease")).toEqual([]);
  expect(bench.job(job)).toMatchObject({ queues: { delayed: { size: 0 } }, held: { total: 1 } });
  bench.commit("b", job, { start: late, end: late + 1 });
  expect(counts()).toMatchObject({ value: items });
});

test("a give-back of what its lease does not hold is no sign of life of an item: it is late all the same", () => {
  begin();
  const grant = bench.leaseOf("a", job, late);
  const since = bench.job(job).leases.get(grant.id)!.movedAt;
  bench.tick(900);
  bench.feed({
    kind: "gaveBack",
    node: nodeId("a"),
    job,
    grant,
    ranges: [{ start: late + 1, end: late + 2 }],
  });
  expect(bench.job(job).leases.get(grant.id)!.movedAt).toBe(since);
  expect(only(wait(5), "sendLease")).toHaveLength(1);
});

test("another machine is preferred to another agent on the same one", () => {
  begin({ machineOfB: "a" });
  bench.report("c", { slots: 1 });
  expect(only(wait(5), "sendLease").map(({ node }) => node)).toEqual([nodeId("c")]);
});
