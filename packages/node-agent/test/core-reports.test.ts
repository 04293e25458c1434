// What an agent's hello says of its leases: the next leader decides by it what runs, what has ended and is on its
// way to the log, and what nobody has (DESIGN 9, "Hello and report").
import { IntervalSet } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { AgentBench as Bench, grantOf, job, only } from "./support/agent-bench.ts";

test("an outcome is unacknowledged until the log has it, then it is the leader's to know", () => {
  const bench = new Bench();
  const grant = grantOf(1, 0, 40);
  const [slice] = only(bench.lease(grant), "sendSlice");
  expect(bench.hello().leases).toMatchObject([{ unfinished: [{ start: 0, end: 40 }], unacknowledged: [] }]);
  const { worker } = slice!;
  const run = { file: 1, from: 0, to: 300_000, start: 0, end: slice!.end, status: 0, missing: undefined };
  const seen = [{ slice: slice!.slice, job, lease: grant.id, runs: [run] }];
  const [commit] = only(bench.feed({ kind: "outcomesSeen", worker, seen }), "publishCommit");
  expect(commit).toBeDefined();
  // The file is all that a killed agent leaves: it stays until the log has what is in it (P1).
  expect(only(bench.effects, "freeOutcomes")).toEqual([]);
  const rest = slice!.end < 40 ? [{ start: slice!.end, end: 40 }] : [];
  expect(bench.hello().leases).toMatchObject([
    { unfinished: rest, unacknowledged: [{ start: 0, end: slice!.end }], acknowledgedSeq: 0 },
  ]);
  const acked = bench.feed({ kind: "commitAcked", commit: commit!.commit, seq: 17 });
  expect(only(acked, "freeOutcomes")).toMatchObject([{ runs: [run] }]);
  const { leases, acknowledged } = bench.hello();
  expect(leases[0]?.unacknowledged ?? []).toEqual([]);
  expect(acknowledged.get(job)).toBe(17);
});

test("a struck item is unacknowledged until its strike stands in the log", () => {
  const bench = new Bench();
  const grant = grantOf(1, 0, 4);
  const [slice] = only(bench.lease(grant), "sendSlice");
  const sights = [{ slice: slice!.slice, cursor: 0 }];
  const died = { kind: "workerDied", worker: slice!.worker, phase: "item", sights, detail: {} } as const;
  const [strike] = only(bench.feed(died), "publishStrike");
  expect(strike?.record.ranges).toEqual([{ start: 0, end: 1 }]);
  expect(bench.hello().leases).toMatchObject([
    { unacknowledged: [{ start: 0, end: 1 }], unfinished: [{ start: 1, end: 4 }] },
  ]);
  bench.feed({ kind: "strikeAcked", strike: strike!.strike, seq: 5 });
  expect(bench.hello().leases).toMatchObject([{ unacknowledged: [], unfinished: [{ start: 1, end: 4 }] }]);
});

test("what was given back is told with each hello until it is confirmed", () => {
  const bench = new Bench();
  const grant = grantOf(1, 0, 400);
  bench.lease(grant);
  const [gave] = only(bench.feed({ kind: "giveBackAsked", job, wantMs: 50, isAll: false }), "gaveBack");
  const { ranges } = gave!;
  expect(ranges.length).toBeGreaterThan(0);
  expect(bench.hello().leases).toMatchObject([{ gaveBack: ranges }]);
  expect(bench.hello().leases).toMatchObject([{ gaveBack: ranges }]);
  bench.feed({ kind: "giveBackConfirmed", job, lease: grant.id, ranges });
  expect(bench.hello().leases).toMatchObject([{ gaveBack: [] }]);
});

test("a job is named even when its only lease was dropped: the leader tells whether it is over", () => {
  const bench = new Bench();
  const grant = grantOf(1, 0, 4);
  bench.lease(grant);
  bench.feed({ kind: "leasesDropped", leases: [grant.id] });
  const { leases, acknowledged } = bench.hello();
  expect(leases).toEqual([]);
  expect([...acknowledged.keys()]).toEqual([job]);
  bench.feed({ kind: "jobEnded", job });
  expect([...bench.hello().acknowledged.keys()]).toEqual([]);
  expect(bench.state.jobs.size).toBe(0);
});

test("asked for a lease that has arrived an agent says so; one that has not is refused when it comes after all", () => {
  const bench = new Bench();
  const there = grantOf(1, 0, 4);
  bench.lease(there);
  const missing = grantOf(2, 4, 8);
  const asked = (id: typeof there.id): unknown =>
    only(bench.feed({ kind: "leaseAsked", job, lease: id }), "leaseFound")[0]?.accepted;
  expect(asked(there.id)).toBe(1);
  expect(asked(missing.id)).toBeUndefined();
  expect(only(bench.lease(missing), "answerLease")[0]?.reply).toMatchObject({ ok: false, reason: "late" });
  expect(bench.hello().leases.map(({ grant }) => grant.id)).toEqual([there.id]);
});

test("the end of a round that comes after a lease of the next one leaves that alone: it would be nowhere (P5)", () => {
  for (const kind of ["jobEnded", "cancelled"] as const) {
    const bench = new Bench();
    const old = grantOf(1, 0, 4);
    bench.lease(old);
    const grant = { ...grantOf(2, 4, 8), round: 1 };
    bench.lease(grant);
    bench.feed({ kind, job, round: 0 });
    expect(bench.hello().leases.map((lease) => lease.grant.id)).toEqual([grant.id]);
    bench.feed({ kind, job, round: 1 });
    expect(bench.hello().leases).toEqual([]);
    expect(bench.state.jobs.size).toBe(0);
  }
});

test("a lease of a bygone epoch is refused, and a resent one is answered alike and run once", () => {
  const bench = new Bench();
  bench.feed({ kind: "welcomed", epoch: 3, nodes: 1, drop: [] });
  const [refused] = only(bench.lease(grantOf(1, 0, 4)), "answerLease");
  expect(refused?.reply).toMatchObject({ ok: false, reason: "epoch" });
  const fresh = new Bench();
  const first = fresh.lease(grantOf(1, 0, 4));
  const again = fresh.lease(grantOf(1, 0, 4));
  expect(only(again, "answerLease")[0]?.reply).toEqual(only(first, "answerLease")[0]?.reply);
  expect(only(again, "sendSlice")).toEqual([]);
});

test("a paused job's items come back but for what runs; asked again there is nothing, and it is said", () => {
  const bench = new Bench();
  const leased = bench.lease(grantOf(1, 0, 400));
  const asked = { kind: "giveBackAsked", job, wantMs: 1e12, isAll: true } as const;
  const given = only(bench.feed(asked), "gaveBack").flatMap(({ ranges }) => ranges);
  const sent = only(leased, "sendSlice").map(({ start, end }) => ({ start, end }));
  const all = IntervalSet.of([...given, ...sent]);
  expect(all.covers(0, 400)).toBe(true);
  expect(given.length).toBeGreaterThan(0);
  expect(only(bench.feed(asked), "gaveBack")).toMatchObject([{ grant: undefined, ranges: [] }]);
});

test("a drain by the leader can be taken back, one by a signal cannot", () => {
  const bench = new Bench();
  bench.lease(grantOf(1, 0, 400));
  bench.feed({ kind: "drainAsked", deadlineMs: Number.POSITIVE_INFINITY });
  bench.feed({ kind: "undrainAsked" });
  expect(bench.state.drain).toBe("working");
  bench.feed({ kind: "drainAsked", deadlineMs: 5_000 });
  bench.feed({ kind: "undrainAsked" });
  expect(bench.state.drain).toBe("draining");
});

describe("drained while nobody leads", () => {
  const ask = { kind: "drainAsked", deadlineMs: Number.POSITIVE_INFINITY } as const;
  const linked = (): Bench => {
    const bench = new Bench();
    bench.feed({ kind: "welcomed", epoch: 3, nodes: 1, drop: [] });
    return bench;
  };

  test("it waits for the next leader to say goodbye, which would else wait for it", () => {
    const bench = linked();
    bench.feed({ kind: "linkDown" });
    expect(only(bench.feed(ask), "drained")).toEqual([]);
    bench.now += 3_000;
    expect(only(bench.feed({ kind: "tick" }), "drained")).toEqual([]);
    expect(only(bench.feed({ kind: "welcomed", epoch: 4, nodes: 1, drop: [] }), "drained")).toHaveLength(1);
  });

  test("and goes without, after five seconds, or at once where nobody ever led", () => {
    const bench = linked();
    bench.feed({ kind: "linkDown" });
    bench.feed(ask);
    bench.now += 5_000;
    expect(only(bench.feed({ kind: "tick" }), "drained")).toHaveLength(1);
    expect(only(new Bench().feed(ask), "drained")).toHaveLength(1);
  });

  test("with a leader it goes at once", () => {
    expect(only(linked().feed(ask), "drained")).toHaveLength(1);
  });
});
