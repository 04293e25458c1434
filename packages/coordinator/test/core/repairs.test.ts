// A retry with other code: its items run that, what ended well keeps its outcome, whoever leads.
import { describe, expect, test } from "vitest";
import { decodeJobRecord, encodeJobRecord, limits, taskOfRound } from "@everycore/protocol";
import type { BundleDigest, JobId, JobRecord, RepairCode } from "@everycore/protocol";
import { CoreBench, only } from "../support/core-bench.ts";

const codeOf = (digit: string): RepairCode => ({
  bundle: digit.repeat(64) as BundleDigest,
  entry: `${digit}.mjs`,
  export: `f${digit}`,
});
const { bundle, entry, export: name } = codeOf("0");

/** Items 0 and 1 have ended well, item 2 has failed. */
function failedJob(task: object = {}): { bench: CoreBench; job: JobId } {
  const bench = new CoreBench();
  bench.report("a", { slots: 2, runtimes: ["js", "exec"] });
  const { job } = bench.submit("j", { items: 3, task: { bundle, entry, export: name, ...task } });
  for (const index of [0, 1, 2]) {
    bench.answer("a");
    bench.commit("a", job, { start: index, end: index + 1 }, index === 2 ? "error" : "value");
  }
  return { bench, job };
}

const retry = (bench: CoreBench, job: JobId, code?: RepairCode): ReturnType<CoreBench["feed"]> =>
  bench.feed({ kind: "retryAsked", job, ask: bench.ask(), code });

const bundleOf = (record: JobRecord, round: number): string | undefined =>
  taskOfRound({ spec: record.spec, repairs: record.repairs ?? [] }, round).bundle?.slice(0, 1);

test("the code stands in the record with its round before anything is opened, and the specification stays", () => {
  const { bench, job } = failedJob();
  bench.isHeld = true;
  const asked = retry(bench, job, codeOf("1"));
  const [put] = only(asked, "putJob");
  expect(put?.record).toMatchObject({
    intent: { kind: "reopen", ranges: [{ start: 2, end: 3 }], round: 1 },
    repairs: [{ round: 1, ...codeOf("1") }],
    spec: { task: { bundle } },
  });
  expect(only(asked, "sendLease")).toEqual([]);
  bench.isHeld = false;
  const leased = only(bench.release(), "sendLease");
  expect(leased.map(({ grant }) => [grant.start, grant.end, grant.round])).toEqual([[2, 3, 1]]);
});

test("items run the newest code that is not of a later round", () => {
  const { bench, job } = failedJob();
  retry(bench, job, codeOf("1"));
  bench.answer("a");
  bench.commit("a", job, { start: 2, end: 3 }, "error");
  retry(bench, job); // a retry without code runs what the one before has run
  bench.answer("a");
  bench.commit("a", job, { start: 2, end: 3 }, "error");
  retry(bench, job, codeOf("3"));
  const record = decodeJobRecord(encodeJobRecord(bench.records.get(job)!));
  expect([0, 1, 2, 3, 4].map((round) => bundleOf(record, round))).toEqual(["0", "1", "1", "3", "3"]);
  expect(taskOfRound({ spec: record.spec, repairs: record.repairs! }, 3)).toMatchObject({
    ...codeOf("3"),
    seed: record.spec.task.seed,
    retries: 0,
  });
});

test("a leader that takes over in the middle of the retry goes on with its code", () => {
  const { bench, job } = failedJob();
  bench.isHeld = true;
  retry(bench, job, codeOf("1"));
  bench.release(1); // stored, not opened
  bench.isHeld = false;
  bench.lead();
  bench.report("a", { slots: 2 });
  expect(bench.job(job).repairs).toEqual([{ round: 1, ...codeOf("1") }]);
  bench.runAll();
  expect(bench.records.get(job)).toMatchObject({ state: "done", round: 1, repairs: [{ round: 1 }] });
});

test("asked while the log is being read, it keeps its code until it is", () => {
  const { bench, job } = failedJob();
  bench.isHeld = true;
  bench.lead();
  bench.feed({ kind: "logOpened", job, lastSeq: 1_000 });
  retry(bench, job, codeOf("1"));
  expect(bench.job(job)).toMatchObject({ phase: "folding", round: 0, repairs: [] });
  for (const { record, ...at } of bench.log)
    bench.feed({ kind: "logRecord", job, segment: bench.job(job).segment, ...at, record });
  bench.job(job).foldTo = 0;
  bench.tick(100);
  expect(bench.job(job)).toMatchObject({ round: 1, repairs: [{ round: 1, ...codeOf("1") }] });
});

describe("is refused, and changes nothing,", () => {
  const refusedWith = (found: { bench: CoreBench; job: JobId }, words: RegExp): void => {
    const { bench, job } = found;
    const [answer] = only(retry(bench, job, codeOf("1")), "answer");
    expect(answer?.answer).toMatchObject({ ok: false, code: "conflict" });
    expect((answer!.answer as { message: string }).message).toMatch(words);
    expect(bench.job(job)).toMatchObject({ round: 0, repairs: [] });
  };

  test("for programs", () => refusedWith(failedJob({ runtime: "exec", argv: ["true"] }), /runs a program/));
  test("for reductions", () => {
    const found = failedJob({ reduce: "add" });
    found.bench.feed({ kind: "cancelAsked", job: found.job, message: "", ask: 99 });
    refusedWith(found, /is a reduction/);
  });
  test("while the job runs", () => {
    const bench = new CoreBench();
    refusedWith({ bench, job: bench.submit("j", { items: 3 }).job }, /only an ended job/);
  });
  test("where nothing has failed", () => {
    const bench = new CoreBench();
    refusedWith({ bench, job: bench.submit("j", { items: 0, block: 1 }).job }, /no failed items/);
  });
  test("when the record could hold no more", () => {
    const { bench, job } = failedJob();
    const repairs = Array.from({ length: limits.repairsMax }, () => ({ round: 0, ...codeOf("1") }));
    bench.job(job).repairs = repairs;
    const [answer] = only(retry(bench, job, codeOf("2")), "answer");
    expect(answer?.answer).toMatchObject({ ok: false, code: "conflict" });
    expect(bench.job(job).repairs).toBe(repairs);
    expect(only(retry(bench, job), "answer")).toMatchObject([{ answer: { ok: true } }]);
  });
});

test("a record whose code is malformed is refused", () => {
  const { bench, job } = failedJob();
  const record = bench.records.get(job)!;
  for (const bad of [{ bundle: "xyz" }, { entry: 1 }, { round: -1 }]) {
    const repairs = [{ round: 1, ...codeOf("1"), ...bad }] as unknown as JobRecord["repairs"];
    expect(() => decodeJobRecord(encodeJobRecord({ ...record, repairs: repairs! }))).toThrow(
      /bundle|entry|round/,
    );
  }
});
