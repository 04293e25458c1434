// A paused job: stored before it is answered, leased to nobody, asked back until nobody holds it, resumed where it
// stood; a leader that takes over keeps it paused.
import { describe, expect, test } from "vitest";
import { limits, times } from "@everycore/protocol";
import { explainJob, isHeldBack, jobView, takesInput } from "../../src/core/index.ts";
import { CoreBench, nodeId, only } from "../support/core-bench.ts";

function paused(bench: CoreBench, name = "j"): ReturnType<CoreBench["submit"]>["job"] {
  const { job } = bench.submit(name, { items: 100 });
  bench.answer("a");
  bench.feed({ kind: "pauseAsked", job, ask: bench.ask() });
  return job;
}

test("a pause is answered once it is stored, and not before", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 100 });
  bench.answer("a");
  bench.isHeld = true;
  // Another put is under way: its being stored says nothing of the pause.
  bench.feed({ kind: "cancelAsked", job: bench.submit("other", { items: 1 }).job, message: "", ask: 50 });
  const asked = bench.feed({ kind: "pauseAsked", job, ask: 77 });
  expect(only(asked, "answer")).toEqual([]);
  const answers = only(bench.release(), "answer").filter(({ ask }) => ask === 77);
  expect(answers).toEqual([{ kind: "answer", ask: 77, answer: { ok: true, job } }]);
  expect(bench.records.get(job)?.state).toBe("paused");
});

test("a put that was under way when the pause came does not answer it", () => {
  const bench = new CoreBench();
  bench.report("a");
  bench.isHeld = true;
  const { job } = bench.submit("j", { items: 100 });
  bench.release(1); // accepting is stored; running is under way
  expect(bench.job(job).putting).toBe(true);
  bench.feed({ kind: "pauseAsked", job, ask: 77 });
  expect(only(bench.release(1), "answer").some(({ ask }) => ask === 77)).toBe(false);
  expect(only(bench.release(), "answer").some(({ ask }) => ask === 77)).toBe(true);
});

test("all that does not run is asked back, again each second until nobody holds it; nothing new is leased", () => {
  const bench = new CoreBench();
  bench.report("a");
  const job = paused(bench);
  const asks = only(bench.effects, "sendGiveBack");
  expect(asks).toMatchObject([{ node: nodeId("a"), job, isAll: true }]);
  const leased = bench.effects.length;
  bench.giveBack("a", job, { start: 4, end: 32 });
  expect(only(bench.tick(500), "sendGiveBack")).toEqual([]);
  expect(only(bench.tick(600), "sendGiveBack")).toMatchObject([{ isAll: true }]);
  bench.report("b"); // a node that comes gets nothing of it
  bench.commit("a", job, { start: 0, end: 4 });
  for (const range of bench.node("a").held.values())
    for (const left of range.unfinished.toRanges()) bench.giveBack("a", job, left);
  expect(only(bench.tick(2_000), "sendGiveBack")).toEqual([]);
  expect(only(bench.effects.slice(leased), "sendLease")).toEqual([]);
  expect(jobView(bench.state, job)).toMatchObject({ state: "paused", leased: 0, queued: 96, reason: "" });
});

test("resumed, it runs to its end; pausing and resuming twice is answered twice", () => {
  const bench = new CoreBench();
  bench.report("a");
  const job = paused(bench);
  expect(only(bench.feed({ kind: "pauseAsked", job, ask: 8 }), "answer")[0]?.answer.ok).toBe(true);
  bench.giveBack("a", job, bench.leaseOf("a", job, 0));
  const resumed = bench.feed({ kind: "resumeAsked", job, ask: 9 });
  expect(only(resumed, "sendLease").length).toBeGreaterThan(0);
  expect(only(resumed, "answer")[0]?.answer.ok).toBe(true);
  expect(only(bench.feed({ kind: "resumeAsked", job, ask: 10 }), "answer")[0]?.answer.ok).toBe(true);
  bench.runAll();
  expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 100 } });
});

test("what ran when it was paused may be its end; a reduction waits for the resume", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 2 });
  const reduced = bench.submit("r", { items: 2, task: { reduce: "sum" } }).job;
  bench.answer("a");
  for (const id of [job, reduced]) bench.feed({ kind: "pauseAsked", job: id, ask: bench.ask() });
  bench.commit("a", job, { start: 0, end: 2 });
  bench.commit("a", reduced, { start: 0, end: 2 });
  expect(bench.job(job).state).toBe("done");
  expect(bench.job(reduced).state).toBe("paused");
  bench.feed({ kind: "resumeAsked", job: reduced, ask: bench.ask() });
  bench.runAll();
  expect(bench.job(reduced).state).toBe("done");
});

test("a leader that takes over keeps it paused, asks back what agents report, and resumes it when asked", () => {
  const bench = new CoreBench();
  bench.report("a");
  const job = paused(bench);
  bench.lead();
  const effects = [...bench.report("a"), ...bench.tick(1_200)];
  expect(bench.job(job)).toMatchObject({ state: "paused", phase: "open" });
  expect(only(effects, "sendLease")).toEqual([]);
  expect(only(effects, "sendGiveBack")).toMatchObject([{ job, isAll: true }]);
  bench.feed({ kind: "resumeAsked", job, ask: bench.ask() });
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});

test("a paused job is cancelled like any; an ended one can be neither paused nor resumed", () => {
  const bench = new CoreBench();
  bench.report("a");
  const job = paused(bench);
  bench.feed({ kind: "cancelAsked", job, message: "enough", ask: bench.ask() });
  expect(bench.job(job).state).toBe("cancelled");
  const refusals = [
    bench.feed({ kind: "pauseAsked", job, ask: 1 }),
    bench.feed({ kind: "resumeAsked", job, ask: 2 }),
  ].flatMap((effects) => only(effects, "answer"));
  expect(refusals.map(({ answer }) => (answer.ok ? "ok" : answer.code))).toEqual(
    Array.from({ length: 2 }, () => "conflict"),
  );
});

test("a paused job takes nothing from others: neither their share nor their idle slots' help", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const job = paused(bench);
  bench.report("b", { slots: 1 });
  const effects = [
    ...bench.feed({ kind: "starving", node: nodeId("b"), slots: 1 }),
    ...bench.submit("other", { items: 4 }).effects,
  ];
  expect(only(effects, "sendGiveBack").filter((effect) => effect.job === job)).toEqual([]);
  expect(only(effects, "sendLease").length).toBeGreaterThan(0);
});

test("a drain is taken back while its agent is there; a refusal on its way does not bring it back", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 4 });
  bench.feed({ kind: "drainAsked", node: nodeId("a"), ask: 1 });
  const effects = bench.feed({ kind: "undrainAsked", node: nodeId("a"), ask: 2 });
  expect(only(effects, "sendUndrain")).toEqual([{ kind: "sendUndrain", node: nodeId("a") }]);
  bench.answer("a", () => ({ ok: false, reason: "draining", message: "" }));
  bench.tick(300);
  bench.answer("a");
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
  bench.feed({ kind: "drained", node: nodeId("a"), acknowledged: new Map() });
  const late = only(bench.feed({ kind: "undrainAsked", node: nodeId("a"), ask: 3 }), "answer");
  expect(late).toMatchObject([{ answer: { ok: false, code: "conflict" } }]);
});

describe("a job whose input is still coming", () => {
  /** Eight items have come and are leased, more may come, the job is paused. */
  function pausedOpen(bench: CoreBench): ReturnType<typeof paused> {
    bench.report("a", { slots: 8 });
    const { job } = bench.submit("j", { items: 8, block: 4, open: true });
    bench.answer("a");
    const asked = bench.feed({ kind: "pauseAsked", job, ask: 77 });
    expect(only(asked, "answer")).toEqual([{ kind: "answer", ask: 77, answer: { ok: true, job } }]);
    expect(bench.records.get(job)?.state).toBe("paused");
    return job;
  }

  const giveAllBack = (bench: CoreBench, job: ReturnType<typeof paused>): void => {
    for (const { unfinished } of [...bench.node("a").held.values()])
      for (const range of unfinished.toRanges()) bench.giveBack("a", job, range);
  };

  test("takes input while it is paused, leases none of it, and goes on as it was: accepting", () => {
    const bench = new CoreBench();
    const job = pausedOpen(bench);
    const before = bench.effects.length;
    bench.input(job, 8, 4);
    bench.tick(2_000);
    giveAllBack(bench, job);
    bench.tick(2_000);
    expect(only(bench.effects.slice(before), "sendLease")).toEqual([]);
    expect(jobView(bench.state, job)).toMatchObject({ state: "paused", leased: 0, queued: 12 });
    const resumed = bench.feed({ kind: "resumeAsked", job, ask: 78 });
    expect(only(resumed, "answer")[0]?.answer.ok).toBe(true);
    expect(bench.records.get(job)?.state).toBe("accepting");
    expect(only(resumed, "sendLease").length).toBeGreaterThan(0);
    // Asked again because its answer was lost.
    expect(only(bench.feed({ kind: "resumeAsked", job, ask: 79 }), "answer")[0]?.answer.ok).toBe(true);
    bench.runAll();
    expect(bench.job(job).state).toBe("accepting");
    bench.append({ kind: "close", job, total: 12 });
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 12 } });
  });

  test("stays paused when its input ends, and is running once it is resumed", () => {
    const bench = new CoreBench();
    const job = pausedOpen(bench);
    expect(takesInput(bench.job(job))).toBe(true);
    bench.append({ kind: "close", job, total: 8 });
    expect(takesInput(bench.job(job))).toBe(false);
    expect(bench.records.get(job)).toMatchObject({ state: "paused", total: 8 });
    giveAllBack(bench, job);
    bench.feed({ kind: "resumeAsked", job, ask: bench.ask() });
    expect(bench.records.get(job)?.state).toBe("running");
    bench.runAll();
    expect(bench.job(job).state).toBe("done");
  });

  test("is done when its input ends behind what ran to its end while it was paused", () => {
    const bench = new CoreBench();
    const job = pausedOpen(bench);
    for (const { unfinished } of [...bench.node("a").held.values()])
      for (const range of unfinished.toRanges()) bench.commit("a", job, range);
    expect(bench.job(job)).toMatchObject({ state: "paused", held: { total: 0 } });
    bench.append({ kind: "close", job, total: 8 });
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 8 } });
  });

  test("is cancelled: what has come is sealed, what comes late is none of it", () => {
    const bench = new CoreBench();
    const job = pausedOpen(bench);
    bench.feed({ kind: "cancelAsked", job, message: "enough", ask: bench.ask() });
    bench.input(job, 8, 4);
    expect(bench.records.get(job)).toMatchObject({ state: "cancelled", total: 8, counts: { cancelled: 8 } });
  });

  test("keeps both under a new leader: paused, and its input open for the client that comes back", () => {
    const bench = new CoreBench();
    const job = pausedOpen(bench);
    bench.input(job, 8, 4);
    bench.lead();
    bench.report("a");
    bench.tick(1_200);
    giveAllBack(bench, job);
    bench.feed({ kind: "submitResumed", job });
    bench.tick(times.acceptingOrphanMs + 1);
    expect(bench.job(job)).toMatchObject({ state: "paused", phase: "open", orphan: undefined });
    expect(takesInput(bench.job(job))).toBe(true);
    const before = bench.effects.length;
    bench.input(job, 12, 4);
    expect(only(bench.effects.slice(before), "sendLease")).toEqual([]);
    bench.append({ kind: "close", job, total: 16 });
    bench.lead();
    expect(bench.job(job)).toMatchObject({ state: "paused", orphan: undefined });
    expect(takesInput(bench.job(job))).toBe(false);
    bench.report("a");
    bench.feed({ kind: "resumeAsked", job, ask: bench.ask() });
    bench.runAll();
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 16 } });
  });

  test("a resume that a new leader hears before it has read the log leaves the job as its log says", () => {
    for (const isClosed of [false, true]) {
      const bench = new CoreBench();
      const job = pausedOpen(bench);
      // The close is in the log, and the leader died before its record said so.
      bench.isHeld = true;
      if (isClosed) bench.append({ kind: "close", job, total: 8 });
      const log = bench.log.splice(0);
      bench.lead();
      bench.feed({ kind: "resumeAsked", job, ask: bench.ask() });
      expect(bench.job(job)).toMatchObject({ state: "accepting", phase: "folding" });
      for (const { record } of log) bench.append(record);
      bench.isHeld = false;
      bench.release();
      expect(bench.job(job).phase).toBe("reporting");
      expect(bench.records.get(job)?.state).toBe(isClosed ? "running" : "accepting");
    }
  });

  test("whose client is gone while it is paused ends as if it were not: cancelled, or closed if it was detached", () => {
    for (const detached of [false, true]) {
      const bench = new CoreBench();
      const job = pausedOpen(bench);
      giveAllBack(bench, job);
      bench.feed({ kind: "submitBroke", job, detached });
      bench.tick(times.acceptingOrphanMs - 1);
      expect(takesInput(bench.job(job))).toBe(true);
      bench.tick(1);
      if (!detached) expect(bench.job(job).state).toBe("cancelled");
      else expect(bench.records.get(job)).toMatchObject({ state: "paused", total: 8 });
    }
  });

  test("takes so much input while it is paused and no more, which is counted anew with each pause", () => {
    const bench = new CoreBench();
    const job = pausedOpen(bench);
    const mega = limits.pausedInputBytesMax / 4;
    const block = (first: number): void => {
      const sizes = { first, count: 1, piece: 0, pieces: 1, bytes: mega };
      bench.append({ kind: "input", job, codec: "json", ...sizes });
    };
    for (const first of [8, 9, 10]) block(first);
    expect(isHeldBack(bench.job(job))).toBe(false);
    block(11);
    expect(isHeldBack(bench.job(job))).toBe(true);
    const input = explainJob(bench.state, job)?.find(({ about }) => about === "input")?.text;
    expect(input).toBe("open: 12 items so far; much of it came since the pause, more waits for the resume");
    bench.feed({ kind: "resumeAsked", job, ask: bench.ask() });
    expect(isHeldBack(bench.job(job))).toBe(false);
    bench.feed({ kind: "pauseAsked", job, ask: bench.ask() });
    expect(isHeldBack(bench.job(job))).toBe(false);
  });
});
