// What agents answer to leases, and what announced slices may do.
import { describe, expect, test } from "vitest";
import type { JobId, LeaseId, LeaseReply } from "@everycore/protocol";
import { times } from "@everycore/protocol";
import type { Lease } from "../../src/core/model.ts";
import { appended, CoreBench, nodeId, only } from "../support/core-bench.ts";

const a = nodeId("a");
const refusal = (reason: Extract<LeaseReply, { ok: false }>["reason"]) => (): LeaseReply => ({
  ok: false,
  reason,
  message: "no",
});

test("an unanswered lease is sent three times, asked for over the link, then dropped and queued again", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 1 });
  const sent = (): number => only(bench.effects, "sendLease").length;
  for (let sends = 1; sends < times.leaseSendsMax; sends += 1) {
    expect(sent()).toBe(sends);
    bench.answer("a", () => undefined);
  }
  const [lease] = [...bench.job(job).leases.keys()];
  const last = bench.answer("a", () => undefined);
  expect(only(last, "askLease")).toMatchObject([{ node: a, lease }]);
  expect(bench.tick(times.leaseAskMs - 1)).toEqual([]);
  const over = bench.tick(1);
  expect(only(over, "dropLeases").map((effect) => effect.leases)).toEqual([[lease]]);
  // Queued, and at once leased again under a new id.
  expect(only(over, "sendLease").map((effect) => effect.grant.id)).not.toContain(lease);
  expect(sent()).toBe(times.leaseSendsMax + 1);
});

test("a lease whose answers NATS lost is held, if its agent says so over its link: what runs there is not run again (P3)", () => {
  const unanswered = (): { bench: CoreBench; job: JobId; lease: LeaseId } => {
    const bench = new CoreBench();
    bench.report("a");
    bench.report("b");
    const { job } = bench.submit("j", { items: 1 });
    const [[lease, { grant }]] = [...bench.job(job).leases] as [[LeaseId, Lease]];
    expect(grant.node).toBe(a);
    for (let sends = 1; sends < times.leaseSendsMax; sends += 1) bench.answer("a", () => undefined);
    expect(
      only(
        bench.answer("a", () => undefined),
        "askLease",
      ),
    ).toHaveLength(1);
    return { bench, job, lease };
  };
  const found = unanswered();
  const { bench, job, lease } = found;
  // Another node's word does not count.
  const late = { ok: false, reason: "late", message: "it has not arrived" } as const;
  bench.feed({ kind: "leaseAnswered", job, lease, reply: late, from: nodeId("b") });
  bench.feed({ kind: "leaseAnswered", job, lease, reply: { ok: true, accepted: 1 }, from: a });
  expect(bench.tick(times.leaseAskMs + 1)).toEqual([]);
  expect(bench.job(job).leases.get(lease)).toMatchObject({ state: "held", accepted: 1 });

  const lost = unanswered();
  const effects = lost.bench.feed({
    kind: "leaseAnswered",
    job: lost.job,
    lease: lost.lease,
    reply: late,
    from: a,
  });
  expect(only(effects, "dropLeases")).toEqual([]);
  expect(only(effects, "sendLease")).toMatchObject([{ node: nodeId("b") }]);
});

test("an answer to a lease that is over changes nothing", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 1 });
  const [lease] = [...bench.job(job).leases.keys()];
  bench.answer("a");
  bench.commit("a", job, { start: 0, end: 1 });
  expect(bench.feed({ kind: "leaseAnswered", job, lease: lease!, reply: { ok: true, accepted: 9 } })).toEqual(
    [],
  );
  expect(bench.feed({ kind: "leaseAnswered", job, lease: lease!, reply: undefined })).toEqual([]);
});

test("a commit may overtake the answer to its own lease", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 1 });
  const { grant } = bench.node("a").arrived[0]!;
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
});

test("an agent whose worker dies for a job which is over is told so too", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 1 });
  bench.answer("a");
  const lease = bench.leaseOf("a", job, 0);
  bench.feed({ kind: "cancelAsked", job, message: "", ask: 1 });
  const strike = {
    kind: "strike",
    job,
    epoch: 1,
    cause: "crash",
    lease,
    ranges: [{ start: 0, end: 1 }],
    byLeader: false,
  } as const;
  expect(only(bench.append(strike), "sendJobEnded")).toEqual([
    { kind: "sendJobEnded", node: a, job, round: 0 },
  ]);
});

test("an agent that commits to a job which is over is told so: its lease came after the end", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 1 });
  bench.answer("a");
  bench.commit("a", job, { start: 0, end: 1 });
  const { record } = bench.log.at(-1)!;
  expect(only(bench.append(record), "sendJobEnded")).toEqual([
    { kind: "sendJobEnded", node: a, job, round: 0 },
  ]);
});

describe("a refused lease", () => {
  test.for(["full", "epoch", "malformed"] as const)(
    "for %s returns, and the node gets nothing for a moment",
    (reason) => {
      const bench = new CoreBench();
      bench.report("a");
      bench.submit("j", { items: 1 });
      expect(only(bench.answer("a", refusal(reason)), "sendLease")).toEqual([]);
      expect(only(bench.tick(100), "sendLease")).toEqual([]);
      expect(only(bench.tick(200), "sendLease").length).toBe(1);
    },
  );

  test("for a full disk waits for the node's next word about it", () => {
    const bench = new CoreBench();
    bench.report("a");
    bench.submit("j", { items: 1 });
    bench.answer("a", refusal("disk"));
    expect(only(bench.tick(1_000), "sendLease")).toEqual([]);
    const told = bench.feed({ kind: "nodeHeartbeat", node: a, busy: 0, diskFull: false });
    expect(only(told, "sendLease").length).toBe(1);
  });

  test("for draining goes elsewhere", () => {
    const bench = new CoreBench();
    bench.report("a");
    bench.submit("j", { items: 1 });
    bench.answer("a", refusal("draining"));
    bench.tick(1_000);
    expect(only(bench.report("b"), "sendLease").map((effect) => effect.node)).toEqual([nodeId("b")]);
  });

  test("for its runtime is not offered to that node again", () => {
    const bench = new CoreBench();
    bench.report("a");
    bench.submit("j", { items: 1 });
    bench.answer("a", refusal("runtime"));
    expect(only(bench.tick(10_000), "sendLease")).toEqual([]);
  });

  test("of a single item in trouble is not offered at once again either", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 1 });
    for (let loss = 0; loss < 2; loss += 1) {
      bench.answer("a");
      const lease = bench.leaseOf("a", job, 0).id;
      bench.feed({ kind: "sliceStarting", node: a, job, lease, range: { start: 0, end: 1 }, ask: loss });
      bench.report("a", { wiped: true });
    }
    expect(only(bench.effects, "sendLease").at(-1)?.mode).toBe("alone");
    expect(only(bench.answer("a", refusal("full")), "sendLease")).toEqual([]);
    expect(only(bench.tick(300), "sendLease").length).toBe(1);
    expect(bench.job(job).fold.mishaps.lostCount(0)).toBe(2);
  });
});

describe("announced slices", () => {
  const announced = (): { bench: CoreBench; job: ReturnType<CoreBench["submit"]>["job"] } => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 1 });
    bench.answer("a");
    bench.report("a", { wiped: true });
    bench.answer("a");
    return { bench, job };
  };

  test("are allowed to start, and a loss strikes only what had started", () => {
    const { bench, job } = announced();
    const lease = bench.leaseOf("a", job, 0).id;
    const may = bench.feed({
      kind: "sliceStarting",
      node: a,
      job,
      lease,
      range: { start: 0, end: 1 },
      ask: 4,
    });
    expect(only(may, "mayStart")).toEqual([{ kind: "mayStart", node: a, ask: 4 }]);
    expect(appended(bench.report("a", { wiped: true }), "strike").length).toBe(1);
    expect(bench.job(job).fold.mishaps.lostCount(0)).toBe(2);
  });

  test("that had not started are returned unstruck", () => {
    const { bench, job } = announced();
    expect(appended(bench.report("a", { wiped: true }), "strike")).toEqual([]);
    expect(bench.job(job).fold.mishaps.lostCount(0)).toBe(1);
  });

  test("of a lease that nobody knows may not start", () => {
    const { bench, job } = announced();
    const lease = "e".repeat(32) as ReturnType<CoreBench["leaseOf"]>["id"];
    const effects = bench.feed({
      kind: "sliceStarting",
      node: a,
      job,
      lease,
      range: { start: 0, end: 1 },
      ask: 4,
    });
    expect(effects).toEqual([{ kind: "dropLeases", node: a, leases: [lease] }]);
    bench.feed({ kind: "cancelAsked", job, message: "", ask: 1 });
    const late = bench.feed({
      kind: "sliceStarting",
      node: a,
      job,
      lease,
      range: { start: 0, end: 1 },
      ask: 5,
    });
    expect(late).toEqual([{ kind: "sendJobEnded", node: a, job, round: 0 }]);
  });
});

test("a suspect waits 5 s at most for outcomes on their way: what was cut instead has none, and waits behind it (P5)", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job } = bench.submit("j", { items: 2 });
  for (let deaths = 0; deaths < 2; deaths += 1) {
    bench.answer("a");
    for (const index of [0, 1]) start(bench, index, 1);
    bench.report("a", { wiped: true });
  }
  bench.answer("a");
  function start(on: CoreBench, index: number, ask: number): number[] {
    const { id } = on.leaseOf("a", job, index);
    const range = { start: index, end: index + 1 };
    const asked = on.feed({ kind: "sliceStarting", node: a, job, lease: id, range, ask });
    return only(asked, "mayStart").map((effect) => effect.ask);
  }
  expect(start(bench, 0, 7)).toEqual([7]);
  for (let asks = 0; asks < 5; asks += 1) {
    expect(start(bench, 1, 8)).toEqual([]);
    bench.now += 1_000;
    bench.feed({ kind: "nodeHeartbeat", node: a, busy: 0, diskFull: false });
  }
  expect(start(bench, 1, 8)).toEqual([8]);
});

test("the message of a lease names attempts and exactly the blocks that contain its items", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job } = bench.submit("j", { items: 9, block: 3, task: { retries: 2 } });
  for (const effect of only(bench.effects, "sendLease")) {
    const { start, end } = effect.grant;
    const firsts = effect.blocks?.map((block) => block.first) ?? [];
    const expected = [0, 3, 6].filter((first) => first < end && first + 3 > start);
    expect(firsts).toEqual(expected);
  }
  bench.answer("a");
  const again = bench.commit("a", job, { start: 0, end: 1 }, "again");
  const effects = [...again, ...bench.tick(200)];
  const lease = only(effects, "sendLease").find((effect) => effect.grant.start <= 0);
  expect(lease?.attempts).toEqual([{ start: 0, end: 1, level: 1 }]);
});
