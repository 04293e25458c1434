// `--audit`: a sample of the values is computed again on other nodes and compared. What is found follows from the log:
// any later leader finds the same. The job ends only when its audit is over, and never waits for ever for it (P5).
import { describe, expect, test } from "vitest";
import type { JobId } from "@everycore/protocol";
import { limits, times } from "@everycore/protocol";
import type { Effect } from "../../src/core/index.ts";
import { jobView } from "../../src/core/index.ts";
import type { SubmitOptions } from "../support/core-bench.ts";
import { CoreBench, nodeId, only } from "../support/core-bench.ts";

const items = 12;

function begin(
  nodes: readonly (readonly [string, string])[] = [
    ["a", "one"],
    ["b", "two"],
  ],
  options: SubmitOptions = {},
): { bench: CoreBench; job: JobId } {
  const bench = new CoreBench();
  for (const [name, machine] of nodes) bench.report(name, { machine });
  const { job } = bench.submit("j", { items, audit: 1, ...options });
  return { bench, job };
}

/** One node has run everything; while storage is short nothing is leased to those that `join`. */
function beginOn(first: string): { bench: CoreBench; job: JobId } {
  const { bench, job } = begin([[first, first]]);
  while (bench.job(job).fold.covered.size < items) {
    bench.answer(first);
    const held = [...bench.node(first).held.values()].flatMap(({ unfinished }) => unfinished.toRanges());
    for (const range of held) {
      if (range.end === items) bench.feed({ kind: "storageLevel", level: "pause" });
      bench.commit(first, job, range);
    }
    bench.tick(1);
  }
  return { bench, job };
}

function join(bench: CoreBench, name: string, options: { slots?: number; machine?: string } = {}): void {
  bench.report(name, options);
  bench.feed({ kind: "storageLevel", level: "ok" });
}

const audit = (bench: CoreBench, job: JobId) => bench.records.get(job)?.audit;
const stateOf = (bench: CoreBench, job: JobId) => bench.job(job).state;

/** Time goes by, and all nodes are heard of. */
function wait(bench: CoreBench, seconds: number): Effect[] {
  const effects: Effect[] = [];
  for (let second = 0; second < seconds; second += 1) {
    for (const id of bench.nodes.keys())
      effects.push(...bench.feed({ kind: "nodeHeartbeat", node: id, busy: 0, diskFull: false }));
    effects.push(...bench.tick(1_000));
  }
  return effects;
}

/** What was leased to `name` and has arrived there is answered; the indices. */
function taken(bench: CoreBench, name: string): number[] {
  bench.answer(name);
  const held = [...bench.node(name).held.values()].filter(({ unfinished }) => !unfinished.isEmpty);
  return held.map(({ grant }) => grant.start).sort((x, y) => x - y);
}

describe("two nodes that agree", () => {
  test("every item is compared once, with another node, and counts once", () => {
    const { bench, job } = begin();
    bench.runAll();
    expect(stateOf(bench, job)).toBe("done");
    expect(audit(bench, job)).toEqual({ checked: items, differing: 0, unchecked: 0, items: [] });
    expect(bench.records.get(job)?.counts).toMatchObject({ value: items, error: 0 });
    expect(bench.job(job).fold.dropped.duplicate).toBe(items);
    const compared = only(bench.effects, "compare");
    expect(compared.map(({ index }) => index).sort((a, b) => a - b)).toEqual([...Array(items).keys()]);
    for (const { first, second } of compared) expect(first.node).not.toBe(second.node);
    expect(bench.state.totals.checks).toEqual({ equal: items, differing: 0, unchecked: 0 });
  });

  test("only the sample runs twice, and nothing where no audit is asked for", () => {
    const { bench, job } = begin(undefined, { items: 2_000, audit: 0.01 });
    bench.runAll();
    const { checked, differing, unchecked } = audit(bench, job)!;
    expect({ differing, unchecked }).toEqual({ differing: 0, unchecked: 0 });
    expect(checked).toBeGreaterThan(3);
    expect(checked).toBeLessThan(60);
    expect(bench.job(job).fold.dropped.duplicate).toBe(checked);
    const other = begin(undefined, { audit: undefined as never });
    other.bench.runAll();
    expect(other.bench.job(other.job).fold.dropped.duplicate).toBe(0);
    expect(other.bench.records.get(other.job)).not.toHaveProperty("audit");
  });

  test("nothing is compared before the last item of the queue is leased, and the job waits for its audit", () => {
    const { bench, job } = beginOn("a");
    expect(stateOf(bench, job)).toBe("running");
    expect(only(bench.effects, "compare")).toEqual([]);
    expect(jobView(bench.state, job)!.audit).toMatchObject({ open: items, checked: 0 });
    join(bench, "b");
    expect(jobView(bench.state, job)!.reason).toMatch(/^audit: 0 of 12 items are compared/);
    bench.runAll();
    expect(stateOf(bench, job)).toBe("done");
  });

  test("a node gets a few at a time, for its slots", () => {
    const { bench, job } = beginOn("a");
    bench.job(job).itemMs = 10_000;
    join(bench, "b", { slots: 2 });
    expect(taken(bench, "b")).toHaveLength(2 * limits.spotChecksPerSlot);
    expect(taken(bench, "a")).toEqual([]);
  });
});

describe("nodes that differ", () => {
  test("the first few items are named with both nodes; the value that was first stays", () => {
    const { bench, job } = beginOn("a");
    join(bench, "b");
    bench.isEqual = ({ index }) => index % 6 !== 4;
    bench.runAll();
    const second = nodeId("b");
    const differing = [4, 10].map((index) => ({ index, first: nodeId("a"), second, how: "value" }));
    expect(audit(bench, job)).toEqual({ checked: items, differing: 2, unchecked: 0, items: differing });
    expect(only(bench.effects, "itemDiffers").map(({ item }) => item)).toEqual(
      expect.arrayContaining(differing),
    );
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: items } });
  });

  test("one try without a value proves nothing, two of them do", () => {
    for (const how of ["error", "timeout", "crash"] as const) {
      const { bench, job } = beginOn("a");
      join(bench, "b", { slots: 8 });
      const fail = (index: number): void => {
        bench.answer("b");
        if (how === "crash") bench.strike("b", job, index);
        else bench.commit("b", job, { start: index, end: index + 1 }, how);
      };
      taken(bench, "b");
      fail(3);
      fail(7);
      // Not again at once on the node where it failed.
      expect(taken(bench, "b")).not.toContain(3);
      wait(bench, 2);
      expect(taken(bench, "b")).toContain(3);
      fail(3);
      bench.runAll();
      wait(bench, 2);
      bench.runAll();
      const item = { index: 3, first: nodeId("a"), second: nodeId("b"), how };
      expect(audit(bench, job)).toEqual({ checked: items, differing: 1, unchecked: 0, items: [item] });
    }
  });

  test("a commit that is stored twice is one failure", () => {
    const { bench, job } = beginOn("a");
    join(bench, "b", { slots: 8 });
    taken(bench, "b");
    bench.commit("b", job, { start: 3, end: 4 }, "error");
    bench.append(bench.log.at(-1)!.record);
    wait(bench, 2);
    bench.runAll();
    expect(audit(bench, job)).toMatchObject({ checked: items, differing: 0 });
  });
});

describe("whom the second try goes to", () => {
  test("another machine, as long as there is one", () => {
    const { bench, job } = beginOn("a");
    join(bench, "beside", { machine: "a" });
    expect(taken(bench, "beside")).toEqual(expect.arrayContaining([0]));
    const other = beginOn("a");
    other.bench.report("beside", { machine: "a" });
    join(other.bench, "far");
    expect(taken(other.bench, "beside")).toEqual([]);
    expect(taken(other.bench, "far").length).toBeGreaterThan(0);
    other.bench.runAll();
    expect(audit(other.bench, other.job)).toMatchObject({ checked: items });
    bench.runAll();
    expect(audit(bench, job)).toMatchObject({ checked: items });
  });

  test("one that is lost, restarted, or gives back: the item is tried again, three times in all", () => {
    const { bench, job } = beginOn("a");
    join(bench, "b", { slots: 8 });
    for (let tries = 0; tries < limits.spotCheckTriesMax; tries += 1) {
      expect(taken(bench, "b")).toContain(5);
      bench.giveBack("b", job, { start: 5, end: 6 });
      wait(bench, 2);
    }
    bench.runAll();
    expect(audit(bench, job)).toEqual({ checked: items - 1, differing: 0, unchecked: 1, items: [] });
    expect(stateOf(bench, job)).toBe("done");
  });

  test("a node that dies with its tries leaves them to the next", () => {
    const { bench, job } = beginOn("a");
    join(bench, "b", { slots: 8 });
    expect(taken(bench, "b").length).toBeGreaterThan(0);
    bench.report("c", { slots: 8 });
    bench.breakLink("b");
    for (let second = 0; second < 20; second += 1) {
      for (const name of ["a", "c"])
        bench.feed({ kind: "nodeHeartbeat", node: nodeId(name), busy: 0, diskFull: false });
      bench.tick(1_000);
    }
    bench.nodes.delete(nodeId("b"));
    bench.runAll();
    expect(audit(bench, job)).toEqual({ checked: items, differing: 0, unchecked: 0, items: [] });
    expect(bench.job(job).fold.strikeCount).toBe(0);
  });
});

describe("an audit that cannot be made (P5)", () => {
  test("without any other node it is given up at once, and said", () => {
    const { bench, job } = beginOn("a");
    bench.feed({ kind: "storageLevel", level: "ok" });
    expect(stateOf(bench, job)).toBe("done");
    expect(audit(bench, job)).toEqual({ checked: 0, differing: 0, unchecked: items, items: [] });
  });

  test("another node that is away is waited for, but not for ever", () => {
    const { bench, job } = begin([
      ["a", "one"],
      ["b", "two"],
    ]);
    bench.feed({ kind: "drainAsked", node: nodeId("b"), ask: bench.ask() });
    bench.answer("b", () => ({ ok: false, reason: "draining", message: "" }));
    while (bench.job(job).fold.covered.size < items) {
      wait(bench, 1);
      bench.answer("a");
      const held = [...bench.node("a").held.values()].flatMap(({ unfinished }) => unfinished.toRanges());
      for (const range of held) bench.commit("a", job, range);
    }
    wait(bench, times.spotCheckElsewhereMs / 1_000 - 2);
    expect(stateOf(bench, job)).toBe("running");
    wait(bench, 4);
    expect(bench.records.get(job)).toMatchObject({ state: "done", audit: { unchecked: items } });
  });

  test("a second try that never ends does not hold the job", () => {
    const { bench, job } = beginOn("a");
    join(bench, "b", { slots: 8 });
    taken(bench, "b");
    wait(bench, times.spotCheckMs / 1_000 - 5);
    expect(stateOf(bench, job)).toBe("running");
    wait(bench, 10);
    expect(bench.records.get(job)).toMatchObject({ state: "done", audit: { unchecked: items } });
    expect(bench.node("b").held.size).toBe(0);
  });

  test("a job whose time is over while it is compared has all its values, and is done", () => {
    const { bench, job } = begin(undefined, { limits: { jobTimeoutMs: 5_000 } });
    bench.isEqual = ({ index }) => index !== 4;
    while (bench.job(job).fold.covered.size < items) {
      for (const name of ["a", "b"]) {
        bench.answer(name);
        for (const { unfinished, grant } of [...bench.node(name).held.values()])
          if (grant.end - grant.start > 1 || !bench.job(job).fold.covered.has(grant.start))
            for (const range of unfinished.toRanges()) bench.commit(name, job, range);
      }
      bench.tick(1);
    }
    expect(stateOf(bench, job)).toBe("running");
    wait(bench, 6);
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: items, expired: 0 } });
    expect(audit(bench, job)!.unchecked).toBe(items);
  });

  test("what cannot be read is unchecked", () => {
    const { bench, job } = begin();
    bench.isEqual = () => undefined;
    bench.runAll();
    expect(audit(bench, job)).toEqual({ checked: 0, differing: 0, unchecked: items, items: [] });
  });

  test("a cancel ends it at once, and the values stay", () => {
    const { bench, job } = beginOn("a");
    join(bench, "b", { slots: 8 });
    const index = taken(bench, "b")[0]!;
    bench.commit("b", job, { start: index, end: index + 1 });
    bench.feed({ kind: "cancelAsked", job, message: "enough", ask: bench.ask() });
    expect(bench.records.get(job)).toMatchObject({
      state: "cancelled",
      counts: { value: items, cancelled: 0 },
      audit: { checked: 1, unchecked: items - 1 },
    });
    expect(bench.node("b").held.size).toBe(0);
  });
});

describe("another leader", () => {
  /** The leader dies after each record in turn: what is found in the end is the same. */
  test("finds the same, whenever it takes over", () => {
    for (let dies = 1; dies < 60; dies += 1) {
      const { bench, job } = begin();
      bench.isEqual = ({ index }) => index !== 4;
      let isDead = false;
      for (let round = 0; round < 40 && !["done"].includes(bench.records.get(job)?.state ?? ""); round += 1) {
        for (const name of ["a", "b"]) {
          bench.feed({ kind: "nodeHeartbeat", node: nodeId(name), busy: 0, diskFull: false });
          bench.answer(name);
          for (const { unfinished, grant } of [...bench.node(name).held.values()]) {
            if (!bench.node(name).held.has(grant.id)) continue;
            for (const range of unfinished.toRanges()) bench.commit(name, job, range);
            if (isDead || bench.log.length < dies) continue;
            isDead = true;
            bench.lead();
            for (const each of ["a", "b"]) bench.report(each);
          }
        }
        bench.tick(1_000);
      }
      expect(bench.records.get(job)?.state, `dies after ${dies}`).toBe("done");
      expect(audit(bench, job), `dies after ${dies}`).toMatchObject({
        checked: items,
        differing: 1,
        unchecked: 0,
        items: [{ index: 4 }],
      });
    }
  });

  test("knows what an ended job's audit has found, and adds to it after a retry", () => {
    const { bench, job } = begin();
    bench.isEqual = ({ index }) => index !== 4;
    bench.answer("a");
    bench.answer("b");
    const name = bench.node("a").held.values().next().value!.unfinished.has(0) ? "a" : "b";
    bench.commit(name, job, { start: 0, end: 1 }, "error");
    bench.runAll();
    expect(audit(bench, job)).toMatchObject({ checked: items - 1, differing: 1 });
    bench.lead();
    expect(jobView(bench.state, job)!.audit).toMatchObject({ checked: items - 1, differing: 1, open: 0 });
    for (const each of ["a", "b"]) bench.report(each);
    bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
    bench.lead();
    for (const each of ["a", "b"]) bench.report(each);
    bench.runAll();
    expect(bench.records.get(job)).toMatchObject({ state: "done", round: 1, counts: { value: items } });
    expect(audit(bench, job)).toMatchObject({ checked: items, differing: 1, items: [{ index: 4 }] });
  });
});
