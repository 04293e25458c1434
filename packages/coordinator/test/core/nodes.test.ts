// A node's life at the leader: silence, suspicion, loss, return, drain; and what becomes of its leases (P3, P5).
import { describe, expect, test } from "vitest";
import { times } from "@everycore/protocol";
import { nodeView } from "../../src/core/index.ts";
import { appended, CoreBench, nodeId, only } from "../support/core-bench.ts";

const a = nodeId("a");
const b = nodeId("b");

function leased(items = 4): { bench: CoreBench; job: ReturnType<CoreBench["submit"]>["job"] } {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items });
  bench.answer("a");
  return { bench, job };
}

/** The node has gone in order; what it committed last is stored, and not read yet. */
function leaving(): ReturnType<typeof leased> & { commit: Parameters<CoreBench["append"]>[0] } {
  const { bench, job } = leased(1);
  const grant = bench.leaseOf("a", job, 0);
  bench.node("a").held.clear();
  bench.feed({ kind: "drained", node: a, acknowledged: new Map([[job, bench.log.length + 1]]) });
  const parts = [{ lease: 0, start: 0, end: 1, status: "value" }] as const;
  return {
    bench,
    job,
    commit: { kind: "commit", job, epoch: 1, leases: [grant], parts, usage: [], bytes: 0 },
  };
}

const stateOf = (bench: CoreBench, id = a): string | undefined => bench.state.nodes.get(id)?.state;
const beat = (bench: CoreBench, node = a, diskFull = false): unknown =>
  bench.feed({ kind: "nodeHeartbeat", node, busy: 1, diskFull });

/** Time passes, and the other node lives. */
function pass(bench: CoreBench, ms: number, alive: readonly string[] = ["b"]): ReturnType<CoreBench["tick"]> {
  const effects = [];
  for (let left = ms; left > 0; left -= 1_000) {
    for (const name of alive)
      effects.push(...bench.feed({ kind: "nodeHeartbeat", node: nodeId(name), busy: 0, diskFull: false }));
    effects.push(...bench.tick(Math.min(left, 1_000)));
  }
  return effects;
}

test("silence becomes suspicion after 5 s and loss 15 s later: the leases are struck and placed elsewhere", () => {
  const { bench, job } = leased();
  pass(bench, times.suspectMs, []);
  expect(stateOf(bench)).toBe("connected");
  bench.tick(1);
  expect(stateOf(bench)).toBe("suspected");
  bench.report("b");
  const before = pass(bench, times.lostMs - 1);
  expect(appended(before, "strike")).toEqual([]);
  const after = pass(bench, 2_000);
  expect(stateOf(bench)).toBe("lost");
  expect(appended(after, "strike")).toMatchObject([
    { cause: "lost", byLeader: true, ranges: [{ start: 0, end: 4 }] },
  ]);
  expect(only(after, "sendLease").every((effect) => effect.node === b && effect.mode === "announced")).toBe(
    true,
  );
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});

test("a broken link suspects at once, keeps the leases, sends nothing new", () => {
  const { bench } = leased(500);
  bench.breakLink("a");
  expect(stateOf(bench)).toBe("suspected");
  expect(only(bench.tick(100), "sendLease")).toEqual([]);
  expect(bench.state.nodes.get(a)?.leases.size).toBeGreaterThan(0);
  bench.report("a");
  expect(stateOf(bench)).toBe("connected");
});

test("the break of a link that was replaced by another process's says nothing", () => {
  const { bench } = leased();
  bench.feed({ kind: "linkBroke", node: a, incarnation: "another" });
  expect(stateOf(bench)).toBe("connected");
});

describe("a node that was only silent", () => {
  test.for([1_000, 4_000, 9_000, 14_000])(
    "comes back with its next heartbeat, %d ms after the suspicion",
    (ms) => {
      const { bench } = leased();
      bench.tick(times.suspectMs + 1);
      expect(stateOf(bench)).toBe("suspected");
      bench.tick(ms);
      beat(bench);
      expect(stateOf(bench)).toBe("connected");
    },
  );

  test("for so long that it is lost is made to report: its link is closed, and a hello brings it back", () => {
    const { bench } = leased();
    bench.tick(times.suspectMs + 1);
    bench.tick(times.lostMs + 1);
    expect(stateOf(bench)).toBe("lost");
    const effects = bench.feed({ kind: "nodeHeartbeat", node: a, busy: 0, diskFull: false });
    expect(only(effects, "closeLink").map((effect) => effect.node)).toEqual([a]);
    bench.report("a");
    expect(stateOf(bench)).toBe("connected");
  });

  test("by a broken link does not come back with a heartbeat: only a report says what it holds", () => {
    const { bench } = leased();
    bench.breakLink("a");
    beat(bench);
    expect(stateOf(bench)).toBe("suspected");
  });
});

test("an accepted commit is a sign of life", () => {
  const { bench, job } = leased();
  bench.tick(times.suspectMs - 100);
  bench.commit("a", job, { start: 0, end: 1 });
  bench.tick(1_000);
  expect(stateOf(bench)).toBe("connected");
});

test("a late commit of a lost node still counts if it is first (P3)", () => {
  const { bench, job } = leased(1);
  const grant = bench.leaseOf("a", job, 0);
  bench.tick(times.suspectMs + 1);
  bench.report("b");
  pass(bench, times.lostMs + 1_000);
  expect(stateOf(bench)).toBe("lost");
  bench.append({
    kind: "commit",
    job,
    epoch: 1,
    leases: [grant],
    parts: [{ lease: 0, start: 0, end: 1, status: "value" }],
    usage: [],
    bytes: 0,
  });
  expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 1 } });
});

describe("a report", () => {
  test("that lists what the leader believes changes nothing", () => {
    const { bench, job } = leased();
    bench.breakLink("a");
    const effects = bench.report("a");
    expect(only(effects, "dropLeases")).toEqual([]);
    expect(only(effects, "sendLease")).toEqual([]);
    expect(bench.job(job).leases.size).toBeGreaterThan(0);
  });

  test("of a restarted agent with its files returns its leases unstruck", () => {
    const { bench } = leased();
    const effects = bench.report("a", { restarted: true });
    expect(appended(effects, "strike")).toEqual([]);
    expect(only(effects, "sendLease").every((effect) => effect.mode === "normal")).toBe(true);
    expect(only(effects, "sendLease").length).toBeGreaterThan(0);
  });

  test("of a restarted agent without its files strikes its leases", () => {
    const { bench } = leased();
    const effects = bench.report("a", { wiped: true });
    expect(appended(effects, "strike")).toMatchObject([{ cause: "lost", ranges: [{ start: 0, end: 4 }] }]);
    expect(only(effects, "sendLease").every((effect) => effect.mode === "announced")).toBe(true);
  });

  test("is silent about a lease only up to its counter: one that crossed it stays", () => {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 1 });
    bench.answer("a");
    const [lease] = [...bench.job(job).leases.keys()];
    bench.node("a").held.clear();
    bench.report("a", { accepted: 0 });
    expect([...bench.job(job).leases.keys()]).toEqual([lease]);
    // It was there, and is not any more: queued, and leased under a new id.
    bench.report("a", { accepted: 1 });
    expect([...bench.job(job).leases.keys()]).not.toContain(lease);
    expect(bench.job(job).leases.size).toBe(1);
  });

  test("waits until the log is folded as far as its agent was acknowledged", () => {
    const { bench, job } = leased(1);
    const grant = bench.leaseOf("a", job, 0);
    const seq = bench.log.length + 1;
    bench.node("a").held.clear();
    bench.report("a", { acknowledged: new Map([[job, seq]]) });
    // Nothing is returned and leased again: the lease ended in a commit that is still on its way here.
    expect([...bench.job(job).leases.keys()]).toEqual([grant.id]);
    bench.append({
      kind: "commit",
      job,
      epoch: 1,
      leases: [grant],
      parts: [{ lease: 0, start: 0, end: 1, status: "value" }],
      usage: [],
      bytes: 0,
    });
    expect(bench.job(job).state).toBe("done");
    expect(bench.state.nodes.get(a)?.deferred).toBeUndefined();
  });

  test("of a lease of a cancelled or ended job is answered with a cancel", () => {
    const { bench, job } = leased();
    const { grant } = [...bench.node("a").held.values()][0]!;
    bench.feed({ kind: "cancelAsked", job, message: "", ask: 1 });
    const lease = { job, grant, unfinished: [], unacknowledged: [], gaveBack: [], acknowledgedSeq: 0 };
    const effects = bench.report("a", { leases: [lease] });
    expect(only(effects, "sendCancel").map((effect) => effect.job)).toEqual([job]);
  });

  test("that names a job which ended while its link was broken is told of the end", () => {
    const { bench, job } = leased(1);
    bench.report("b");
    bench.breakLink("a");
    bench.commit("a", job, { start: 0, end: 1 });
    expect(bench.job(job).state).toBe("done");
    const effects = bench.report("a", { acknowledged: new Map([[job, 1]]) });
    expect(only(effects, "sendJobEnded")).toEqual([{ kind: "sendJobEnded", node: a, job, round: 0 }]);
  });

  test("of a lease with a forged id is answered with a drop", () => {
    const { bench, job } = leased();
    const { grant } = [...bench.node("a").held.values()][0]!;
    const forged = { ...grant, id: "f".repeat(32) as typeof grant.id };
    const lease = {
      job,
      grant: forged,
      unfinished: [{ start: 0, end: 4 }],
      unacknowledged: [],
      gaveBack: [],
      acknowledgedSeq: 0,
    };
    expect(only(bench.report("a", { leases: [lease] }), "dropLeases")).toMatchObject([
      { leases: [forged.id] },
    ]);
  });
});

test("what an agent gives back between its report and its being taken is not adopted from that report", () => {
  const { bench, job } = leased(4);
  const [held] = [...bench.node("a").held.values()];
  bench.lead();
  // Its report names a record that this leader has not read.
  bench.report("a", { acknowledged: new Map([[job, bench.log.length + 1]]) });
  bench.feed({ kind: "gaveBack", node: a, job, grant: held!.grant, ranges: [{ start: 0, end: 4 }] });
  bench.node("a").held.clear();
  bench.append({ kind: "fence", job, epoch: 1 });
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});

describe("drain", () => {
  test("is told, gets no more leases, and is forgotten when it is through", () => {
    const { bench, job } = leased(400);
    const effects = bench.feed({ kind: "drainAsked", node: a, ask: 3 });
    expect(effects.map((effect) => effect.kind)).toEqual(
      expect.arrayContaining(["sendDrain", "putNode", "answer"]),
    );
    expect(only(bench.tick(100), "sendLease")).toEqual([]);
    expect(nodeView(bench.state, a)?.state).toBe("draining");
    bench.report("b");
    bench.feed({ kind: "nodeHeartbeat", node: a, busy: 1, diskFull: false });
    const gone = bench.feed({ kind: "drained", node: a, acknowledged: new Map() });
    expect(nodeView(bench.state, a)).toMatchObject({ state: "drained", busy: 0 });
    expect(only(gone, "deleteNode").length).toBe(1);
    expect(appended(gone, "strike")).toEqual([]);
    expect(only(gone, "sendLease").every((effect) => effect.node === b)).toBe(true);
    bench.runAll();
    expect(bench.job(job).state).toBe("done");
  });

  test("is over once what the agent committed last is folded: before, it would run again elsewhere (P3)", () => {
    const { bench, job, commit } = leaving();
    expect(nodeView(bench.state, a)?.state).toBe("draining");
    expect(bench.job(job).leases.size).toBe(1);
    expect(only(bench.tick(1_000), "sendLease")).toEqual([]);
    bench.report("b");
    bench.append(commit);
    expect(nodeView(bench.state, a)?.state).toBe("drained");
    expect(bench.job(job).state).toBe("done");
    expect(only(bench.effects, "sendLease").length).toBe(1);
  });

  test("does not wait for ever for commits that never come (P5)", () => {
    const { bench, job } = leaving();
    bench.report("b");
    bench.breakLink("a");
    bench.nodes.delete(a);
    pass(bench, times.lostMs + 1_000);
    expect(nodeView(bench.state, a)?.state).toBe("lost");
    bench.runAll();
    expect(bench.job(job).state).toBe("done");
  });

  test("is remembered by the report of its next life, which does not know what was committed before", () => {
    const { bench, job, commit } = leaving();
    bench.report("a", { restarted: true });
    expect(bench.job(job).leases.size).toBe(1);
    bench.append(commit);
    expect(bench.job(job).state).toBe("done");
    expect(only(bench.effects, "sendLease").length).toBe(1);
  });

  test("of an unknown node is refused with its id", () => {
    const [effect] = only(new CoreBench().feed({ kind: "drainAsked", node: b, ask: 1 }), "answer");
    expect(effect?.answer).toMatchObject({ ok: false, code: "not-found" });
  });

  test("is over when the agent comes back as a new process", () => {
    const { bench } = leased(100);
    bench.feed({ kind: "drainAsked", node: a, ask: 3 });
    bench.feed({ kind: "drained", node: a, acknowledged: new Map() });
    expect(only(bench.report("a", { restarted: true }), "sendLease").length).toBeGreaterThan(0);
  });
});

test("a lost node is forgotten after ten minutes: no new leader waits for it", () => {
  const { bench } = leased();
  bench.tick(times.suspectMs + 1);
  bench.tick(times.lostMs + 1);
  const effects = bench.tick(times.forgetNodeMs + 1);
  expect(only(effects, "deleteNode").map((effect) => effect.node)).toEqual([a]);
  expect(bench.state.nodes.size).toBe(0);
  // It was there all the while, over a link that nobody has seen broken: it comes back by a new one (P5).
  expect(beat(bench)).toMatchObject([{ kind: "closeLink", node: a }]);
  bench.report("a");
  expect(stateOf(bench)).toBe("connected");
});

test("a node whose disk is full gets nothing until it says otherwise", () => {
  const { bench } = leased(1);
  beat(bench, a, true);
  expect(only(bench.submit("k", { items: 10 }).effects, "sendLease")).toEqual([]);
  expect(
    only(bench.feed({ kind: "nodeHeartbeat", node: a, busy: 0, diskFull: false }), "sendLease").length,
  ).toBeGreaterThan(0);
});
