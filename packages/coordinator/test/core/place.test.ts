// Which range goes to which node: reserve, credit, taper, shares, give-back. Policy only; C1 is checked throughout.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Effect } from "../../src/core/index.ts";
import type { Node } from "../../src/core/model.ts";
import { CoreBench, nodeId, only } from "../support/core-bench.ts";

const a = nodeId("a");
const b = nodeId("b");
const items = (effects: readonly Effect[]): number =>
  only(effects, "sendLease").reduce((sum, { grant }) => sum + grant.end - grant.start, 0);

test("no lease passes what the stored record reserves, whatever waits to be stored (C3)", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 4 });
  bench.isHeld = true;
  const { job } = bench.submit("j", { items: 100_000 });
  for (let round = 0; round < 60; round += 1) {
    bench.release(1);
    bench.answer("a");
    for (const { unfinished } of [...bench.node("a").held.values()])
      for (const range of unfinished.toRanges()) bench.commit("a", job, range);
    bench.tick(200);
    for (const { grant } of only(bench.effects, "sendLease"))
      expect(grant.end).toBeLessThanOrEqual(
        Math.max(...[...bench.records.values()].map((record) => record.reserved)),
      );
  }
  expect(only(bench.effects, "putJob").length).toBeGreaterThan(1);
});

test("unknown costs are guessed small, known ones fill about ten seconds of each slot", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 2 });
  bench.report("b", { slots: 2 });
  const { job, effects } = bench.submit("j", { items: 1_000_000 });
  expect(items(effects)).toBeLessThanOrEqual(4 * 32 + 1_000);
  bench.answer("a");
  bench.answer("b");
  // 10 ms an item, as the bench's commits say: ten seconds of two slots are 2,000 items.
  for (let round = 0; round < 10; round += 1) {
    for (const name of ["a", "b"]) {
      bench.answer(name);
      for (const { unfinished } of [...bench.node(name).held.values()].slice(0, 1))
        for (const range of unfinished.toRanges()) bench.commit(name, job, range);
    }
    bench.tick(200);
  }
  for (const node of bench.state.nodes.values()) {
    const held = [...node.leases.keys()].reduce(
      (sum, id) => sum + (bench.job(job).leases.get(id)?.open.size ?? 0),
      0,
    );
    expect(held).toBeGreaterThan(500);
    expect(held).toBeLessThan(4_000);
  }
});

test("jobs share a slot's credit: ten of them are not ten times as far ahead", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 2 });
  const jobs = Array.from({ length: 10 }, (_, at) => bench.submit(`j${at}`, { items: 1_000_000 }).job);
  for (let round = 0; round < 20; round += 1) {
    bench.answer("a");
    for (const job of jobs) {
      const [lease] = [...bench.node("a").held.values()].filter((held) => held.job === job);
      for (const range of lease?.unfinished.toRanges() ?? []) bench.commit("a", job, range);
    }
    bench.tick(200);
  }
  // 10 ms an item: ten seconds of two slots are 2,000 items, of which each job has its tenth, and what was blindly
  // guessed before its cost was known.
  for (const job of jobs) {
    const held = bench.job(job).held.total;
    expect(held).toBeGreaterThan(50);
    expect(held).toBeLessThan(400);
  }
});

test("towards the end leases taper: no node holds the rest while others idle", () => {
  const bench = new CoreBench();
  for (const name of ["a", "b", "c", "d"]) bench.report(name, { slots: 1 });
  const { job } = bench.submit("j", { items: 400 });
  bench.runAll();
  const sizes = only(bench.effects, "sendLease").map(({ grant }) => grant.end - grant.start);
  expect(bench.job(job).state).toBe("done");
  expect(Math.max(...sizes)).toBeLessThanOrEqual(100);
  expect(sizes.length).toBeGreaterThan(8);
});

test("a higher priority is served first, and equal ones share", () => {
  const bench = new CoreBench();
  bench.submit("low", { items: 1_000 });
  const { job: high } = bench.submit("high", { items: 1_000, priority: 5 });
  const effects = bench.report("a", { slots: 2 });
  expect(only(effects, "sendLease")[0]?.job).toBe(high);
});

test("small jobs that never cease do not go before an older one's last items for ever (P5)", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job: old } = bench.submit("old", { items: 200 });
  bench.answer("a");
  bench.commit("a", old, { start: 0, end: 1 }); // 10 ms: its cost is known, that of each small job is not
  bench.answer("a");
  const last = Math.max(...[...bench.job(old).leases.values()].map(({ tag }) => tag));
  // Two of them at any time, each in turn served before what was leased to the old one.
  let tag = 0;
  let before = bench.submit("small-0", { items: 1 }).job;
  let count = 1;
  for (; count < 500 && tag < last; count += 1) {
    bench.answer("a");
    const { job } = bench.submit(`small-${count}`, { items: 1 });
    bench.answer("a");
    tag = [...bench.job(job).leases.values()][0]!.tag;
    bench.commit("a", before, { start: 0, end: 1 });
    before = job;
  }
  expect(tag).toBeGreaterThanOrEqual(last); // of equal ones the older goes first
  expect(count).toBeLessThan(200);
});

test("a job without a node that can run it says why", () => {
  const bench = new CoreBench();
  bench.report("a", { runtimes: ["exec"] });
  const { effects } = bench.submit("j", { items: 5 });
  expect(only(effects, "sendLease")).toEqual([]);
});

describe("give-back", () => {
  const uneven = (): { bench: CoreBench; job: ReturnType<CoreBench["submit"]>["job"] } => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 30 });
    // With its cost known, all that is left fits the one node's credit.
    for (let index = 0; bench.job(job).queues.normal.size > 0; index += 1) {
      bench.answer("a");
      bench.commit("a", job, { start: index, end: index + 1 });
    }
    bench.answer("a");
    expect(bench.job(job).queues.normal.size).toBe(0);
    return { bench, job };
  };

  test("is asked of the node with most work when slots idle, once a second while it is not answered", () => {
    const { bench } = uneven();
    const effects = bench.report("b", { slots: 1 });
    const all = [...effects, ...bench.tick(100), ...bench.tick(100)];
    expect(only(all, "sendGiveBack").map((effect) => effect.node)).toEqual([a]);
    expect(only(bench.tick(1_000), "sendGiveBack").length).toBe(1);
  });

  test("what is given back is confirmed and leased to the idle node, not before", () => {
    const { bench, job } = uneven();
    bench.report("b", { slots: 1 });
    expect(only(bench.effects, "sendLease").filter((effect) => effect.node === b)).toEqual([]);
    const [held] = [...bench.node("a").held.values()].reverse();
    const last = held!.unfinished.last()!;
    const given = { start: Math.max(last.start, last.end - 5), end: last.end };
    const effects = bench.giveBack("a", job, given);
    expect(only(effects, "confirmGaveBack")).toMatchObject([{ node: a, ranges: [given] }]);
    const leases = only(effects, "sendLease");
    expect(leases.map((effect) => effect.node)).toContain(b);
    for (const { grant } of leases) expect(grant.start >= given.start && grant.end <= given.end).toBe(true);
  });

  test("repeated by a heartbeat is confirmed again and changes nothing", () => {
    const { bench, job } = uneven();
    bench.report("b", { slots: 1 });
    const grant = bench.leaseOf("a", job, 29);
    const event = { kind: "gaveBack", node: a, job, grant, ranges: [{ start: 29, end: 30 }] } as const;
    bench.feed(event);
    const before = bench.job(job).leases.size;
    expect(only(bench.feed(event), "confirmGaveBack").length).toBe(1);
    expect(bench.job(job).leases.size).toBe(before);
  });

  test("in several answers is not asked again by each of them", () => {
    const { bench, job } = uneven();
    bench.report("b", { slots: 8 });
    const effects: Effect[] = [];
    for (let index = 29; index > 20; index -= 1) {
      const held = [...bench.node("a").held.values()].find((lease) => lease.unfinished.has(index));
      if (held === undefined) continue;
      effects.push(...bench.giveBack("a", job, { start: index, end: index + 1 }));
      // The slots that are still idle say so again.
      effects.push(...bench.feed({ kind: "starving", node: b, slots: 7 }));
    }
    expect(only(effects, "sendGiveBack").length).toBeLessThanOrEqual(1);
  });

  test("with nothing to give is not asked again for a moment", () => {
    const { bench, job } = uneven();
    bench.report("b", { slots: 1 });
    const empty = bench.feed({ kind: "gaveBack", node: a, job, grant: undefined, ranges: [] });
    expect(only(empty, "sendGiveBack")).toEqual([]);
    expect(only(bench.tick(150), "sendGiveBack").length).toBe(1);
  });

  test("is remembered of a node no longer than its job is", () => {
    const { bench, job } = uneven();
    bench.report("b", { slots: 1 });
    const asked = (): number =>
      [...bench.state.nodes.values()].reduce((sum, node) => sum + node.asked.size, 0);
    expect(asked()).toBeGreaterThan(0);
    bench.runAll();
    bench.feed({ kind: "deleteAsked", job, ask: 1 });
    bench.feed({ kind: "gaveBack", node: a, job, grant: undefined, ranges: [] }); // it was on its way
    expect(asked()).toBe(0);
  });
});

/** Counts how often somebody walks over all nodes. */
class WalkedMap<Key, Value> extends Map<Key, Value> {
  walks = 0;

  override values(): MapIterator<Value> {
    this.walks += 1;
    return super.values();
  }
}

test("the last item of a job that stands behind another job's long one is asked for by an idle node", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const long = bench.submit("long", { items: 1 }).job;
  bench.answer("a");
  const short = bench.submit("short", { items: 1 }).job;
  bench.answer("a");
  const all = bench.report("b", { slots: 1 });
  all.push(...bench.tick(200), ...bench.tick(200));
  const asked = only(all, "sendGiveBack").filter(({ node }) => node === a);
  // Which of the two runs there the leader does not know: the node gives what it has not begun.
  expect(new Set(asked.map(({ job }) => job))).toEqual(new Set([long, short]));
  expect(asked.every(({ isAll }) => isAll)).toBe(true);
  const given = bench.giveBack("a", short, { start: 0, end: 1 });
  expect(only(given, "sendLease").map(({ grant }) => grant.node)).toEqual([b]);
});

test("a commit makes room on its own node, and no other is looked at for it", () => {
  const bench = new CoreBench();
  const nodes = new WalkedMap<Node["id"], Node>();
  Object.assign(bench.state, { nodes });
  for (const name of ["a", "b", "c"]) bench.report(name, { slots: 2 });
  const { job } = bench.submit("j", { items: 100_000 });
  for (const name of ["a", "b", "c"]) bench.answer(name);
  const [first] = bench.node("a").held.values();
  // The first commit tells what was guessed for all of them.
  bench.commit("a", job, { start: first!.grant.start, end: first!.grant.start + 1 });
  bench.tick(200);
  for (const name of ["a", "b", "c"]) bench.answer(name);
  nodes.walks = 0;
  let sent = 0;
  let commits = 0;
  for (; sent === 0; commits += 1) {
    const [range] = [...bench.node("a").held.values()].flatMap(({ unfinished }) => unfinished.toRanges());
    sent += only(bench.commit("a", job, range!), "sendLease").filter(({ node }) => node === a).length;
  }
  // After every step the bench checks the invariants, which walks once.
  expect(nodes.walks).toBe(commits);
});

test("any order of reports, losses, commits, give-backs and takeovers keeps C1 to C6, and the job ends", () => {
  const name = fc.constantFrom("a", "b", "c");
  const act = fc.record({
    act: fc.constantFrom(
      "answer",
      "answer",
      "commit",
      "commit",
      "again",
      "crash",
      "lost",
      "giveBack",
      "break",
      "report",
      "restart",
      "wipe",
      "tick",
      "lead",
      "starving",
      "refuse",
      "noAnswer",
    ),
    name,
    pick: fc.nat(1_000),
    size: fc.integer({ min: 1, max: 40 }),
  });
  const endedAndTakenOver = (["answer", "commit", "lead"] as const).map((of) => ({
    act: of,
    name: "a" as const,
    pick: 0,
    size: 1,
  }));
  fc.assert(
    fc.property(
      fc.array(act, { maxLength: 60 }),
      fc.integer({ min: 1, max: 200 }),
      fc.boolean(),
      (acts, count, blocks) => {
        const bench = new CoreBench();
        for (const node of ["a", "b", "c"])
          bench.report(node, { slots: 2, machine: node === "c" ? "b" : node });
        const { job } = bench.submit("j", { items: count, block: blocks ? 7 : 0, task: { retries: 100 } });
        for (const { act: what, name: node, pick, size } of acts) {
          const held = [...bench.node(node).held.values()].filter((lease) => !lease.unfinished.isEmpty);
          const lease = held[pick % Math.max(1, held.length)];
          const first = lease?.unfinished.first();
          const range =
            first === undefined
              ? undefined
              : { start: first.start, end: Math.min(first.end, first.start + size) };
          if (what === "answer") bench.answer(node);
          if (what === "refuse") bench.answer(node, () => ({ ok: false, reason: "full", message: "" }));
          if (what === "noAnswer") bench.answer(node, () => undefined);
          if (what === "break") bench.breakLink(node);
          if (what === "report") bench.report(node);
          if (what === "restart") bench.report(node, { restarted: true });
          if (what === "wipe") bench.report(node, { wiped: true });
          if (what === "tick") bench.tick(size * 100);
          if (what === "lead") bench.lead();
          if (what === "starving") bench.feed({ kind: "starving", node: nodeId(node), slots: 1 });
          if (range === undefined || bench.state.jobs.get(job)?.phase === "folding") continue;
          if (what === "commit") bench.commit(node, job, range);
          if (what === "again") bench.commit(node, job, range, "again");
          if (what === "giveBack") bench.giveBack(node, job, range);
          if (what === "crash") bench.strike(node, job, range.start);
          if (what === "lost") bench.strike(node, job, range.start, "lost");
        }
        for (const node of ["a", "b", "c"]) bench.report(node, { restarted: true });
        bench.runAll();
        bench.tick(31_000);
        for (const node of ["a", "b", "c"]) bench.report(node, { restarted: true });
        bench.runAll();
        expect(bench.records.get(job)?.state).toMatch(/done|failed/);
        // One that ended before the last takeover is read when somebody asks.
        bench.feed({ kind: "logWanted", job });
        expect(bench.job(job).fold.covered.covers(0, count)).toBe(true);
      },
    ),
    { numRuns: 300, examples: [[endedAndTakenOver, 1, false]] },
  );
});

describe("rounds", () => {
  /** Some of its items were opened again while the others still wait: neighbours of two rounds. */
  function twoRounds(): { bench: CoreBench; job: ReturnType<CoreBench["submit"]>["job"] } {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 10 });
    bench.answer("a");
    bench.commit("a", job, { start: 0, end: 1 }, "error");
    bench.feed({ kind: "storageLevel", level: "pause" });
    bench.report("a", { restarted: true });
    bench.append({ kind: "reopen", job, epoch: 1, ranges: [{ start: 0, end: 1 }], round: 1 });
    return { bench, job };
  }

  test("a lease holds items of one round only, though their neighbours wait too", () => {
    const { bench, job } = twoRounds();
    expect(bench.job(job).fold.roundRuns({ start: 0, end: 10 })).toHaveLength(2);
    const before = bench.effects.length;
    bench.feed({ kind: "storageLevel", level: "ok" });
    bench.runAll();
    const grants = only(bench.effects.slice(before), "sendLease").map(({ grant }) => grant);
    expect(grants.length).toBeGreaterThan(1);
    for (const { start, end, round } of grants) expect(round).toBe(start === 0 && end === 1 ? 1 : 0);
  });

  test("a lease of a former round is not adopted for items that were opened again since", () => {
    const { bench, job } = twoRounds();
    const [old] = only(bench.effects, "sendLease").filter(({ grant }) => grant.start === 0);
    const range = { start: 0, end: 1 };
    const told = { job, grant: old!.grant, unfinished: [range], unacknowledged: [], gaveBack: [] };
    bench.report("a", { leases: [{ ...told, acknowledgedSeq: 0 }] });
    expect(bench.job(job).leases.has(old!.grant.id)).toBe(false);
  });
});
