// A job's life at the leader: nothing is leased before its record is stored, acts are announced before they are
// done, an end is recorded once every item has its outcome.
import { describe, expect, test } from "vitest";
import { limits, times } from "@everycore/protocol";
import { jobView } from "../../src/core/index.ts";
import { appended, CoreBench, jobId, only } from "../support/core-bench.ts";

const hour = 3_600_000;

test("a job is answered and leased once its record is stored, and not before (P1)", () => {
  const bench = new CoreBench();
  bench.report("a");
  bench.isHeld = true;
  const { effects } = bench.submit("j", { items: 4, open: true });
  expect(only(effects, "answer")).toEqual([]);
  expect(only(effects, "sendLease")).toEqual([]);
  const after = bench.release();
  expect(only(after, "answer").map((effect) => effect.answer.ok)).toEqual([true]);
  expect(only(after, "sendLease").length).toBeGreaterThan(0);
});

test("a repeated request is the same job, answered once its record is stored", () => {
  const bench = new CoreBench();
  bench.isHeld = true;
  bench.submit("j", { open: true });
  const again = bench.submit("j", { open: true }).effects;
  expect(only(again, "answer")).toEqual([]);
  expect(only(again, "putJob")).toEqual([]);
  expect(only(bench.release(), "answer").length).toBe(2);
  expect(only(bench.submit("j", { open: true }).effects, "answer").length).toBe(1);
});

test("a record that a later leader has overwritten ends the term", () => {
  const bench = new CoreBench();
  bench.isHeld = true;
  const { job } = bench.submit("j");
  const effects = bench.feed({ kind: "jobStoreFailed", job, message: "epoch 9 has written it" });
  expect(only(effects, "stepDown").length).toBe(1);
});

test("a job is done when every item is covered, and its record says how they ended", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 3, block: 2 });
  bench.answer("a");
  bench.commit("a", job, { start: 0, end: 2 });
  bench.answer("a");
  expect(bench.job(job).state).toBe("running");
  bench.commit("a", job, { start: 2, end: 3 }, "error");
  expect(bench.records.get(job)).toMatchObject({ state: "done", total: 3, counts: { value: 2, error: 1 } });
});

test("an empty job is done when it is closed", () => {
  const bench = new CoreBench();
  const { job } = bench.submit("j", { items: 0, block: 1 });
  expect(bench.records.get(job)).toMatchObject({ state: "done", total: 0 });
});

describe("cancel", () => {
  test("stores its intent before it acts, seals the rest, keeps what has ended", () => {
    const bench = new CoreBench();
    bench.report("a", { slots: 1 });
    const { job } = bench.submit("j", { items: 5 });
    bench.answer("a");
    bench.commit("a", job, { start: 0, end: 1 });
    bench.isHeld = true;
    const asked = bench.feed({ kind: "cancelAsked", job, message: "enough", ask: bench.ask() });
    expect(only(asked, "sendCancel")).toEqual([]);
    expect(appended(asked, "seal")).toEqual([]);
    expect(only(asked, "putJob").map(({ record }) => record.intent?.kind)).toEqual(["cancel"]);
    bench.isHeld = false;
    const acted = bench.release();
    expect(only(acted, "sendCancel").length).toBe(1);
    expect(only(acted, "answer").length).toBe(1);
    expect(bench.records.get(job)).toMatchObject({
      state: "cancelled",
      reason: "enough",
      counts: { value: 1, cancelled: 4 },
    });
  });

  test("of a job that has ended, or that is being cancelled, changes nothing and is answered", () => {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 2 });
    bench.runAll();
    const effects = bench.feed({ kind: "cancelAsked", job, message: "late", ask: 77 });
    expect(effects).toEqual([{ kind: "answer", ask: 77, answer: { ok: true, job } }]);
    expect(bench.job(job).state).toBe("done");
  });

  test("while the input still comes closes it where it stands", () => {
    const bench = new CoreBench();
    const { job } = bench.submit("j", { items: 4, block: 2, open: true });
    bench.feed({ kind: "cancelAsked", job, message: "enough", ask: bench.ask() });
    expect(bench.records.get(job)).toMatchObject({ state: "cancelled", total: 4, counts: { cancelled: 4 } });
    bench.input(job, 4, 2);
    expect(bench.job(job).state).toBe("cancelled");
  });

  test("of an unknown job is refused with its id", () => {
    const bench = new CoreBench();
    const [effect] = only(
      bench.feed({ kind: "cancelAsked", job: jobId("x"), message: "", ask: 1 }),
      "answer",
    );
    expect(effect?.answer).toMatchObject({ ok: false, code: "not-found" });
  });
});

test("a job whose partials are too many to combine fails with those words, and ends", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 4, task: { reduce: "sum" } });
  const message = "the partials of job j are more than 1";
  bench.feed({ kind: "reductionRefused", job, message });
  bench.runAll();
  expect(bench.records.get(job)).toMatchObject({ state: "failed", reason: message });
});

test("what its client appended and closed before the cancel's own close is sealed too: the job ends (P5)", () => {
  const bench = new CoreBench();
  const { job } = bench.submit("j", { items: 4, block: 2, open: true });
  bench.isHeld = true;
  bench.feed({ kind: "cancelAsked", job, message: "enough", ask: bench.ask() });
  bench.release(1);
  bench.input(job, 4, 2);
  bench.append({ kind: "close", job, total: 6 });
  bench.isHeld = false;
  bench.release();
  expect(bench.records.get(job)).toMatchObject({ state: "cancelled", total: 6, counts: { cancelled: 6 } });
});

test("input that arrives while a cancel is under way is none of the job's items, and is sealed by nobody", () => {
  const bench = new CoreBench();
  const { job } = bench.submit("j", { items: 4, block: 2, open: true, task: { reduce: "sum" } });
  bench.isHeld = true;
  bench.feed({ kind: "cancelAsked", job, message: "enough", ask: bench.ask() });
  bench.release(1);
  const late = bench.input(job, 4, 2);
  expect(appended(late, "seal")).toEqual([]);
  expect(appended(late, "close")).toEqual([]);
  bench.isHeld = false;
  bench.release();
  expect(bench.records.get(job)).toMatchObject({ state: "cancelled", total: 4, counts: { cancelled: 4 } });
  expect(jobView(bench.state, job)?.counts.cancelled).toBe(4);
});

test("a job whose first verdicts are all crashes fails as a whole; the rest is cancelled", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 4 });
  bench.report("b", { slots: 4 });
  const { job } = bench.submit("j", { items: 60 });
  for (let round = 0; round < 40 && bench.job(job).state === "running"; round += 1) {
    for (const name of ["a", "b"]) {
      bench.answer(name);
      for (const { unfinished } of [...bench.node(name).held.values()])
        for (const range of unfinished.toRanges())
          for (let index = range.start; index < range.end; index += 1) {
            if (bench.job(job).state === "running" && bench.node(name).held.size > 0)
              bench.strike(name, job, index);
          }
    }
    bench.tick(200);
  }
  const record = bench.records.get(job);
  expect(record).toMatchObject({ state: "failed" });
  expect(record?.reason).toContain("task crashes");
  const { crash, cancelled } = record!.counts!;
  expect(crash).toBeGreaterThanOrEqual(limits.crashVerdictsToFailJob);
  expect(crash + cancelled).toBe(60);
});

test("a task that cannot be loaded fails its job with the node's words", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 4 });
  bench.answer("a");
  bench.feed({
    kind: "taskFailed",
    node: bench.node("a").id,
    job,
    round: 0,
    message: "SyntaxError: no",
    died: false,
  });
  expect(bench.records.get(job)).toMatchObject({ state: "failed", reason: "SyntaxError: no" });
});

test("a task that has run elsewhere is sound: only that node gets no more of it", () => {
  const bench = new CoreBench();
  bench.report("a");
  bench.report("b");
  const { job } = bench.submit("j", { items: 200 });
  bench.answer("a");
  bench.answer("b");
  const [first] = bench.node("a").held.values();
  bench.commit("a", job, { start: first!.grant.start, end: first!.grant.start + 1 });
  const { id, held } = bench.node("b");
  const [lease] = held.values();
  const { start, end } = lease!.grant;
  const failed = bench.feed({
    kind: "taskFailed",
    node: id,
    job,
    round: 0,
    message: "no python",
    died: false,
  });
  expect(bench.job(job).state).toBe("running");
  // What it has run is on its way: nothing of its lease is anybody else's by that word alone.
  const leased = only(failed, "sendLease").map(({ grant }) => grant);
  expect(leased.filter((grant) => grant.start < end && start < grant.end)).toEqual([]);
  bench.commit("b", job, { start, end: start + 1 });
  const returned = bench.giveBack("b", job, { start: start + 1, end });
  expect(only(returned, "sendLease").map(({ node }) => node)).not.toContain(id);
  bench.runAll();
  expect(bench.job(job).state).toBe("done");
});

test("what a node says of a round that is over fails nobody", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 4 });
  const word = { kind: "taskFailed", node: bench.node("a").id, job, message: "no", died: false } as const;
  bench.feed({ ...word, round: 0 });
  bench.runAll();
  expect(bench.job(job).state).toBe("failed");
  bench.feed({ kind: "retryAsked", job, ask: 7 });
  bench.feed({ ...word, round: 0 });
  expect(bench.job(job).state).toBe("running");
  bench.feed({ ...word, round: 1 });
  bench.runAll();
  expect(bench.job(job)).toMatchObject({ state: "failed", reason: "no" });
});

describe("a submit whose stream breaks", () => {
  const broken = (detached: boolean): { bench: CoreBench; job: ReturnType<typeof jobId> } => {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 4, block: 2, open: true });
    bench.feed({ kind: "submitBroke", job, detached });
    return { bench, job };
  };

  test("is cancelled after 30 s", () => {
    const { bench, job } = broken(false);
    bench.tick(times.acceptingOrphanMs - 1);
    expect(bench.job(job).state).toBe("accepting");
    bench.tick(1);
    bench.runAll();
    expect(bench.records.get(job)?.state).toBe("cancelled");
  });

  test("is closed at its last block if it was detached", () => {
    const { bench, job } = broken(true);
    bench.tick(times.acceptingOrphanMs);
    bench.runAll();
    expect(bench.records.get(job)).toMatchObject({ state: "done", total: 4, counts: { value: 4 } });
  });

  test("goes on if it is resumed in time", () => {
    const { bench, job } = broken(false);
    bench.tick(times.acceptingOrphanMs - 1);
    bench.feed({ kind: "submitResumed", job });
    bench.tick(hour);
    expect(bench.job(job).state).toBe("accepting");
  });
});

describe("a reduction", () => {
  const covered = (
    bench: CoreBench,
    options: { strict?: boolean; missing?: number } = {},
  ): ReturnType<typeof jobId> => {
    bench.report("a");
    const { job } = bench.submit("j", { items: 8, task: { reduce: "sum" }, strict: options.strict ?? false });
    for (let at = 0; at < 20 && !bench.job(job).fold.covered.covers(0, 8); at += 1) {
      bench.answer("a");
      for (const { unfinished } of [...bench.node("a").held.values()])
        for (const range of unfinished.toRanges())
          for (let index = range.start; index < range.end; index += 1)
            bench.commit(
              "a",
              job,
              { start: index, end: index + 1 },
              "value",
              index === 0 ? (options.missing ?? 0) : 0,
            );
    }
    return job;
  };

  test("ends in an item of its own, leased only when all others are covered", () => {
    const bench = new CoreBench();
    const job = covered(bench);
    expect(only(bench.effects, "sendLease").filter((effect) => effect.partials)).toHaveLength(1);
    expect(bench.job(job).state).toBe("running");
    bench.answer("a");
    bench.commit("a", job, { start: 8, end: 9 });
    expect(bench.records.get(job)).toMatchObject({ state: "done", total: 8 });
    expect(jobView(bench.state, job)?.counts.value).toBe(8);
  });

  test("that is leased when the reopen of a retry comes a second time is not queued again", () => {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 1, task: { reduce: "sum" } });
    bench.answer("a");
    bench.commit("a", job, { start: 0, end: 1 }, "error");
    bench.answer("a");
    bench.commit("a", job, { start: 1, end: 2 });
    const [reopen] = appended(bench.feed({ kind: "retryAsked", job, ask: 5 }), "reopen");
    bench.answer("a");
    bench.commit("a", job, { start: 0, end: 1 });
    bench.answer("a");
    expect(bench.job(job).leases.size).toBe(1); // of the reduction
    expect(only(bench.append(reopen!), "sendLease")).toEqual([]);
    bench.commit("a", job, { start: 1, end: 2 });
    expect(bench.records.get(job)).toMatchObject({ state: "done", counts: { value: 1 } });
  });

  test("is not combined early by a new leader: the reserve runs ahead of small jobs (P6)", () => {
    const bench = new CoreBench();
    bench.report("a");
    const { job } = bench.submit("j", { items: 6, block: 3, task: { reduce: "sum" } });
    bench.answer("a");
    bench.lead();
    bench.report("a");
    expect(only(bench.effects, "sendLease").some((effect) => effect.partials)).toBe(false);
    bench.runAll();
    expect(bench.job(job).state).toBe("done");
  });

  test("is combined again after a retry, also when the leader changed before the reopen was read (P5)", () => {
    const bench = new CoreBench();
    const job = covered(bench, { missing: 1 });
    bench.runAll();
    expect(bench.job(job).state).toBe("done");
    bench.isHeld = true;
    bench.feed({ kind: "retryAsked", job, ask: 1 });
    bench.release(1);
    bench.isHeld = false;
    bench.lead();
    bench.report("a");
    bench.runAll();
    expect(bench.records.get(job)).toMatchObject({ state: "done", missing: 0 });
  });

  test("fails at a missing item when it is strict", () => {
    const bench = new CoreBench();
    const job = covered(bench, { missing: 1, strict: true });
    expect(bench.records.get(job)).toMatchObject({ state: "failed" });
  });
});

test("an ended job is deleted after its ttl, a kept one never, a running one is refused", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job: short } = bench.submit("short", { items: 2, ttlMs: hour });
  const { job: kept } = bench.submit("kept", { items: 2, ttlMs: 0 });
  const running = only(bench.feed({ kind: "deleteAsked", job: kept, ask: 1 }), "answer")[0]?.answer;
  expect(running).toMatchObject({ ok: false, code: "conflict" });
  bench.runAll();
  const effects = bench.tick(hour + 1);
  expect(only(effects, "deleteJob").map((effect) => effect.job)).toEqual([short]);
  expect(bench.state.jobs.has(kept)).toBe(true);
  expect(only(bench.feed({ kind: "deleteAsked", job: kept, ask: 2 }), "deleteJob")).toHaveLength(1);
});

test("storage near its limit refuses submits and pauses leases; cancel still works", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 50 });
  bench.answer("a");
  bench.feed({ kind: "storageLevel", level: "pause" });
  expect(only(bench.submit("k", { open: true }).effects, "answer")[0]?.answer).toMatchObject({
    ok: false,
    code: "storage-full",
  });
  expect(only(bench.commit("a", job, { start: 0, end: 1 }), "sendLease")).toEqual([]);
  bench.feed({ kind: "cancelAsked", job, message: "room", ask: 3 });
  expect(bench.job(job).state).toBe("cancelled");
});
