// A new leader rebuilds everything from records and log, runs at once what was never leased, waits for the rest,
// and starts nothing again that runs (P3).
import { describe, expect, test } from "vitest";
import { times } from "@everycore/protocol";
import { jobView, waitingReasons } from "../../src/core/index.ts";
import { appended, CoreBench, nodeId, only } from "../support/core-bench.ts";

const a = nodeId("a");
const b = nodeId("b");

function running(items = 8): { bench: CoreBench; job: ReturnType<CoreBench["submit"]>["job"] } {
  const bench = new CoreBench();
  bench.report("a");
  bench.report("b");
  const { job } = bench.submit("j", { items });
  bench.answer("a");
  bench.answer("b");
  return { bench, job };
}

test("nothing below `reserved` is leased before every known node has reported", () => {
  const { bench, job } = running();
  const sent = (): number => only(bench.effects, "sendLease").length;
  const before = sent();
  bench.lead();
  bench.report("a");
  bench.tick(1_000);
  expect(sent()).toBe(before);
  expect(waitingReasons(bench.state)[0]).toContain("1 known agents");
  bench.report("b");
  expect(bench.job(job).phase).toBe("open");
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});

test("a node that cannot load a task fails no job of which the log is not read: it may have run elsewhere", () => {
  const { bench, job } = running();
  const [first] = bench.node("a").held.values();
  bench.commit("a", job, { start: first!.grant.start, end: first!.grant.start + 1 });
  bench.lead();
  bench.report("a");
  const word = { kind: "taskFailed", node: b, job, round: 0, message: "no python", died: false } as const;
  bench.feed(word);
  expect(bench.job(job)).toMatchObject({ state: "running", phase: "reporting" });
  bench.report("b");
  expect(bench.job(job)).toMatchObject({ state: "running", phase: "open" });
  bench.node("b").held.clear();
  bench.report("b");
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});

test("what nodes said while the log was read counts once it is", () => {
  const { bench, job } = running();
  bench.lead();
  bench.report("a");
  bench.feed({ kind: "taskFailed", node: b, job, round: 0, message: "no python", died: false });
  expect(bench.job(job).state).toBe("running");
  bench.report("b");
  bench.runAll();
  expect(bench.job(job)).toMatchObject({ state: "failed", reason: "no python" });
});

test("reported leases are adopted as they are: no item is leased a second time", () => {
  const { bench, job } = running();
  const held = [...bench.node("a").held.keys(), ...bench.node("b").held.keys()].sort();
  bench.lead();
  bench.report("a");
  bench.report("b");
  expect([...bench.job(job).leases.keys()].sort()).toEqual(held);
  expect(bench.job(job).queues.awaiting.size).toBe(0);
});

test("what nobody reported is queued unstruck when all known nodes have reported with their files", () => {
  const { bench, job } = running();
  bench.node("a").held.clear();
  bench.lead();
  bench.report("a", { restarted: true });
  const effects = bench.report("b");
  expect(appended(effects, "strike")).toEqual([]);
  expect(only(effects, "sendLease").length).toBeGreaterThan(0);
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});

test("a known node that does not report is waited for 15 s; then what it may have held runs with care", () => {
  const { bench, job } = running();
  const missed = [...bench.node("b").held.values()].flatMap((lease) => lease.unfinished.toRanges());
  bench.lead();
  bench.report("a");
  for (let waited = 1_000; waited < times.takeoverReportMs; waited += 1_000) {
    bench.feed({ kind: "nodeHeartbeat", node: a, busy: 0, diskFull: false });
    expect(appended(bench.tick(1_000), "strike")).toEqual([]);
  }
  const effects = bench.tick(1_000);
  const suspicions = appended(effects, "strike");
  expect(suspicions.every(({ cause }) => cause === "suspected")).toBe(true);
  expect(suspicions.flatMap(({ ranges }) => ranges)).toEqual(missed);
  expect(missed.every(({ start, end }) => bench.job(job).queues.announced.covers(start, end))).toBe(true);
  const before = only(bench.effects, "sendLease").length;
  bench.nodes.delete(b);
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
  const careful = only(bench.effects, "sendLease").slice(before);
  expect(careful.length).toBeGreaterThan(0);
  expect(careful.every(({ mode }) => mode === "announced")).toBe(true);
});

test("a known node that comes back without its files has lost what nobody reports", () => {
  const { bench, job } = running();
  bench.lead();
  bench.report("a");
  const effects = bench.report("b", { wiped: true });
  expect(appended(effects, "strike").length).toBeGreaterThan(0);
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});

test("what was never leased is not lost, however many takeovers miss a node (P1, P4)", () => {
  const { bench, job } = running(1_000);
  const missed = bench.leaseOf("b", job, [...bench.node("b").held.values()][0]!.grant.start).start;
  for (let takeover = 0; takeover < 5; takeover += 1) {
    bench.lead([a, b]);
    bench.report("a", { leases: [] });
    bench.tick(times.takeoverReportMs + 1);
  }
  expect(bench.job(job).fold.strikeCount).toBe(0);
  expect(bench.job(job).fold.mishaps.careRun(missed, missed + 1).level).toBe(1);
  bench.node("a").held.clear();
  bench.nodes.delete(b);
  bench.report("a");
  bench.runAll();
  expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 1_000, lost: 0 } });
});

test("a report waits until the logs are read: outcomes acknowledged to it are not run again", () => {
  const { bench, job } = running(2);
  const grant = bench.leaseOf("a", job, 0);
  bench.commit("a", job, { start: grant.start, end: grant.end });
  const starts = only(bench.effects, "sendLease").length;
  bench.lead();
  bench.report("a");
  bench.report("b");
  expect(only(bench.effects, "sendLease").length).toBe(starts);
});

test("a report waits for the log that its agent has seen, also after the takeover: nothing of it is leased again", () => {
  const { bench, job } = running(2);
  const grant = bench.leaseOf("a", job, 0);
  bench.lead();
  bench.report("b");
  // Stored, acknowledged, and not yet read by the new leader.
  const seq = bench.log.length + 1;
  bench.report("a", { leases: [], acknowledged: new Map([[job, seq]]) });
  const early = only(bench.effects, "sendLease").length;
  bench.tick(1_000);
  expect(only(bench.effects, "sendLease").length).toBe(early);
  const parts = [{ lease: 0, start: grant.start, end: grant.end, status: "value" }] as const;
  bench.append({ kind: "commit", job, epoch: 1, leases: [grant], parts, usage: [], bytes: 1 });
  const again = only(bench.effects, "sendLease").slice(early);
  expect(again.every(({ grant: { start, end } }) => end <= grant.start || start >= grant.end)).toBe(true);
});

test("an item that was struck in the old leader's time is not adopted with its lease", () => {
  const { bench, job } = running(4);
  const grant = bench.leaseOf("a", job, 0);
  const held = bench.node("a").held.get(grant.id)!;
  bench.append({
    kind: "strike",
    job,
    epoch: 1,
    cause: "crash",
    lease: grant,
    ranges: [{ start: grant.start, end: grant.start + 1 }],
    byLeader: false,
  });
  // The agent's report still lists it: it had not heard of the acknowledgement.
  bench.lead();
  bench.report("a");
  expect(held.unfinished.has(grant.start)).toBe(true);
  expect(bench.job(job).leases.get(grant.id)?.open.has(grant.start) ?? false).toBe(false);
});

describe("an act that the old leader had announced", () => {
  test("and not begun is completed: cancel", () => {
    const { bench, job } = running();
    bench.isHeld = true;
    bench.feed({ kind: "cancelAsked", job, message: "enough", ask: 1 });
    const put = only(bench.effects, "putJob").at(-1)!;
    bench.records.set(job, put.record);
    bench.isHeld = false;
    bench.lead();
    expect(bench.records.get(job)).toMatchObject({
      state: "cancelled",
      reason: "enough",
      counts: { cancelled: 8 },
    });
  });

  test("is not acted upon before our own fence is read: a reopen of the old leader may still arrive", () => {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 2 });
    bench.answer("a");
    while (bench.job(job).state === "running") {
      bench.answer("a");
      for (const { unfinished } of [...bench.node("a").held.values()])
        for (const range of unfinished.toRanges()) bench.commit("a", job, range, "error");
    }
    bench.isHeld = true;
    bench.feed({ kind: "retryAsked", job, ask: 1 });
    bench.release(1);
    // The reopen is on its way when the job is cancelled, that is stored, and the leader dies.
    const reopen = appended(bench.effects, "reopen")[0]!;
    bench.feed({ kind: "cancelAsked", job, message: "no", ask: 2 });
    bench.records.set(job, only(bench.effects, "putJob").at(-1)!.record);
    bench.lead();
    bench.release(1);
    expect(bench.records.get(job)?.state).toBe("cancelling");
    bench.append(reopen);
    bench.isHeld = false;
    bench.release();
    expect(bench.records.get(job)).toMatchObject({ state: "cancelled" });
    expect(bench.job(job).fold.covered.covers(0, 2)).toBe(true);
  });

  test("is not acted upon before it is stored, if it came while the log was read", () => {
    const { bench, job } = running();
    bench.isHeld = true;
    bench.lead();
    bench.feed({ kind: "cancelAsked", job, message: "enough", ask: 1 });
    // The record of the takeover is stored, the fence is read; the intent is not stored yet.
    const effects = bench.release(1);
    effects.push(...bench.release(1));
    expect(appended(effects, "seal")).toEqual([]);
    bench.isHeld = false;
    bench.release();
    expect(bench.records.get(job)?.state).toBe("cancelled");
  });
});

test("a retry asked while the log is read waits for it, and is whole", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 4 });
  while (bench.job(job).state === "running") {
    bench.answer("a");
    for (const { unfinished } of [...bench.node("a").held.values()])
      for (const range of unfinished.toRanges()) bench.commit("a", job, range, "error");
  }
  bench.lead();
  bench.isHeld = true;
  const asked = bench.feed({ kind: "retryAsked", job, ask: 1 });
  expect(asked.map(({ kind }) => kind)).toEqual(["readLog"]);
  expect(bench.job(job).phase).toBe("unread");
  // Asked again while it is read.
  const { segment } = bench.records.get(job)!;
  bench.feed({ kind: "logOpened", job, lastSeq: bench.log.length });
  expect(only(bench.feed({ kind: "retryAsked", job, ask: 2 }), "readLog")).toEqual([]);
  for (const entry of bench.log) bench.feed({ kind: "logRecord", job, segment, ...entry });
  expect(only(bench.effects, "putJob").at(-1)?.record.intent).toMatchObject({
    kind: "reopen",
    ranges: [{ start: 0, end: 4 }],
  });
});

test("a verdict that the old leader did not live to seal is sealed, not tried a third time (P4)", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job } = bench.submit("j", { items: 1 });
  bench.answer("a");
  bench.report("b");
  bench.strike("a", job, 0);
  bench.answer("b");
  bench.isHeld = true;
  bench.strike("b", job, 0);
  bench.isHeld = false;
  const leases = only(bench.effects, "sendLease").length;
  bench.lead();
  bench.report("a");
  bench.report("b");
  expect(only(bench.effects, "sendLease").length).toBe(leases);
  expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { crash: 1 } });
});

test("items beyond `reserved` were never leased: they are placed at once", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job } = bench.submit("j", { items: 1_000_000 });
  bench.answer("a");
  const { reserved } = bench.job(job);
  bench.node("a").held.clear();
  bench.lead([a, b]);
  const effects = bench.report("a");
  expect(bench.job(job).phase).toBe("reporting");
  const leases = only([...effects, ...bench.tick(200)], "sendLease");
  expect(leases.length).toBeGreaterThan(0);
  for (const { grant } of leases) expect(grant.start).toBeGreaterThanOrEqual(reserved);
});

describe("a job that had ended", () => {
  function ended(): { bench: CoreBench; job: ReturnType<CoreBench["submit"]>["job"] } {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 3 });
    bench.runAll();
    bench.lead();
    return { bench, job };
  }

  test("keeps its counts, and its log is not read, also where it is read for others", () => {
    const { bench, job } = ended();
    expect(bench.job(job)).toMatchObject({ state: "done", phase: "unread", finalCounts: { value: 3 } });
    expect(jobView(bench.state, job)).toMatchObject({ total: 3, counts: { value: 3 } });
    expect(bench.job(job).fold.seq).toBe(0);
    expect(bench.state.folding.size).toBe(0);
  });

  test("is read once somebody asks for what only its log says", () => {
    const { bench, job } = ended();
    const effects = bench.feed({ kind: "logWanted", job });
    expect(only(effects, "readLog")).toHaveLength(1);
    expect(bench.job(job).phase).toBe("open");
    expect(bench.job(job).fold.counts().value).toBe(3);
    expect(bench.state.folding.size).toBe(0);
    expect(only(bench.feed({ kind: "logWanted", job }), "readLog")).toEqual([]);
  });

  test("holds nobody up while its log is read: reports are taken, other jobs run", () => {
    const { bench, job } = ended();
    bench.isHeld = true;
    bench.feed({ kind: "logWanted", job });
    bench.feed({ kind: "logOpened", job, lastSeq: bench.log.length });
    bench.isHeld = false;
    expect(bench.job(job).phase).toBe("folding");
    bench.report("a", { acknowledged: new Map([[job, bench.log.length]]) });
    const other = bench.submit("k", { items: 3 }).job;
    bench.runAll();
    expect(bench.job(other).state).toBe("done");
  });

  test("whose log is empty is read at once", () => {
    const { bench, job } = ended();
    bench.log.length = 0;
    const effects = bench.feed({ kind: "logWanted", job });
    expect(bench.job(job).phase).toBe("open");
    expect(only(effects, "jobChanged")).toHaveLength(1);
  });

  test("may be deleted unread, and while it is read", () => {
    const { bench, job } = ended();
    bench.isHeld = true;
    bench.feed({ kind: "logWanted", job });
    bench.feed({ kind: "logOpened", job, lastSeq: 1_000 });
    bench.feed({ kind: "deleteAsked", job, ask: 1 });
    expect(bench.state.folding.size + bench.state.jobs.size).toBe(0);
  });
});

test("a leader that is deposed forgets everything", () => {
  const { bench } = running();
  bench.feed({ kind: "leadershipLost" });
  expect(bench.state.jobs.size + bench.state.nodes.size + bench.state.active.size).toBe(0);
  expect(bench.feed({ kind: "tick" })).toEqual([]);
});

describe("a leader that another was elected after steps down", () => {
  const epoch = 2;

  test("when it finds the other's fence in a log", () => {
    const { bench, job } = running();
    expect(only(bench.append({ kind: "fence", job, epoch }), "stepDown")).toHaveLength(1);
  });

  test("when it finds a record of the other's, which it may not write over", () => {
    const { bench, job } = running();
    const effects = bench.feed({
      kind: "jobRecovered",
      record: { ...bench.records.get(job)!, epoch },
      lastSeq: 0,
    });
    expect(only(effects, "stepDown")).toHaveLength(1);
    expect(only(effects, "putJob")).toEqual([]);
  });
});

test("a retry that a former leader began after the takeover is taken up by taking over anew", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 3 });
  bench.runAll();
  bench.lead();
  const ranges = [{ start: 0, end: 1 }];
  const effects = bench.append({ kind: "reopen", job, epoch: 1, ranges, round: 1 });
  expect(only(effects, "stepDown")).toHaveLength(1);
  expect(bench.job(job).queues.normal.isEmpty).toBe(true);
});

test("a job that is cancelled while reports are awaited waits for none of them when it is tried again", () => {
  const { bench, job } = running();
  bench.lead();
  bench.report("a");
  bench.feed({ kind: "cancelAsked", job, message: "", ask: bench.ask() });
  expect(bench.job(job)).toMatchObject({ state: "cancelled", phase: "open" });
  bench.report("b");
  bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
  expect(bench.job(job)).toMatchObject({ state: "running", phase: "open" });
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});
