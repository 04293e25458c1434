// A paused job: stored before it is answered, leased to nobody, asked back until nobody holds it, resumed where it
// stood; a leader that takes over keeps it paused.
import { expect, test } from "vitest";
import { jobView } from "../../src/core/index.ts";
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

test("a paused job is cancelled like any; an ended one, and one whose input comes, cannot be paused", () => {
  const bench = new CoreBench();
  bench.report("a");
  const job = paused(bench);
  bench.feed({ kind: "cancelAsked", job, message: "enough", ask: bench.ask() });
  expect(bench.job(job).state).toBe("cancelled");
  const refusals = [
    bench.feed({ kind: "pauseAsked", job, ask: 1 }),
    bench.feed({ kind: "resumeAsked", job, ask: 2 }),
    bench.feed({ kind: "pauseAsked", job: bench.submit("open", { open: true }).job, ask: 3 }),
  ].flatMap((effects) => only(effects, "answer"));
  expect(refusals.map(({ answer }) => (answer.ok ? "ok" : answer.code))).toEqual(
    Array.from({ length: 3 }, () => "conflict"),
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
  bench.feed({ kind: "drained", node: nodeId("a") });
  const late = only(bench.feed({ kind: "undrainAsked", node: nodeId("a"), ask: 3 }), "answer");
  expect(late).toMatchObject([{ answer: { ok: false, code: "conflict" } }]);
});
