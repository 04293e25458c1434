// The audit's account of a log: in each round as many outcomes as items were opened, and what was dropped beside.
import { expect, test } from "vitest";
import type { JobId, LeaseId, LogRecord } from "@everycore/protocol";
import { acceptedIn, JobAudit } from "../../src/core/index.ts";
import { CoreBench } from "../support/core-bench.ts";

/** The bench's ids name n and start of their lease: any other was never given. */
const isGiven = (_job: JobId, grant: { id: LeaseId; n: number; start: number }): boolean =>
  grant.id === `${grant.n.toString(16).padStart(20, "0")}${grant.start.toString(16).padStart(12, "0")}`;

function auditOf(
  bench: CoreBench,
  job: JobId,
  change: (record: LogRecord) => LogRecord[] = (r) => [r],
): JobAudit {
  const audit = new JobAudit(job, isGiven);
  let seq = 0;
  for (const { record } of bench.log) for (const changed of change(record)) audit.apply((seq += 1), changed);
  return audit;
}

/** Four items: 0 and 1 well; 2 tried twice; 3 killed its worker once. Then 2 and 3 again in a round of their own. */
function twoRounds(): { bench: CoreBench; job: JobId } {
  const bench = new CoreBench();
  bench.report("a", { slots: 4 });
  const { job } = bench.submit("j", { items: 4, task: { retries: 1 } });
  const end = (index: number, status: "value" | "error" | "again"): void => {
    bench.answer("a");
    bench.commit("a", job, { start: index, end: index + 1 }, status);
  };
  end(0, "value");
  end(1, "value");
  end(2, "again");
  end(2, "error");
  bench.answer("a");
  bench.strike("a", job, 3);
  for (let passed = 0; passed < 40; passed += 1) {
    bench.feed({ kind: "nodeHeartbeat", node: bench.node("a").id, busy: 0, diskFull: false });
    bench.tick(1_000);
  }
  end(3, "error");
  expect(bench.job(job).state).toBe("done");
  bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
  end(2, "value");
  end(3, "error");
  expect(bench.job(job)).toMatchObject({ state: "done", round: 1 });
  return { bench, job };
}

test("each round has the items that it opened, how they ended, and what it took", () => {
  const { bench, job } = twoRounds();
  const { rounds, isClosed } = auditOf(bench, job);
  expect(isClosed).toBe(true);
  expect(rounds).toMatchObject([
    { round: 0, opened: 4, outcomes: { value: 2, error: 2 }, retries: 1, strikes: 1, duplicate: 0, stale: 0 },
    { round: 1, opened: 2, outcomes: { value: 1, error: 1 }, retries: 0, strikes: 0 },
  ]);
});

test("a commit that comes twice, late, or under a lease that nobody gave is counted in its round", () => {
  const { bench, job } = twoRounds();
  const first = bench.log.find(({ record }) => record.kind === "commit")!.record as LogRecord & {
    kind: "commit";
  };
  const failed = bench.log.find(
    ({ record }) => record.kind === "commit" && record.parts[0]?.status === "error",
  )!.record;
  const forged = { ...first, leases: first.leases.map((lease) => ({ ...lease, n: lease.n + 7 })) };
  const twice = auditOf(bench, job, (record) => (record === first ? [first, first, forged] : [record]));
  expect(twice.isClosed).toBe(true);
  expect(twice.rounds[0]).toMatchObject({ duplicate: 1, stale: 0, invalid: 1 });
  const isReopen = (record: LogRecord): boolean => record.kind === "reopen";
  const late = auditOf(bench, job, (record) => (isReopen(record) ? [record, failed] : [record]));
  expect(late.isClosed).toBe(true);
  expect(late.rounds[0]).toMatchObject({ duplicate: 0, stale: 1 });
  // The same reopen twice opens nothing twice.
  const reopenedTwice = auditOf(bench, job, (record) => (isReopen(record) ? [record, record] : [record]));
  expect(reopenedTwice.rounds[1]).toMatchObject({ opened: 2 });
  expect(reopenedTwice.isClosed).toBe(true);
});

test("a log that lacks an outcome is not closed, in the round that lacks it", () => {
  const { bench, job } = twoRounds();
  const last = bench.log.findLast(({ record }) => record.kind === "commit")!.record;
  const cut = auditOf(bench, job, (record) => (record === last ? [] : [record]));
  expect(cut.isClosed).toBe(false);
  expect(cut.rounds.map((round) => acceptedIn(round) === round.opened)).toEqual([true, false]);
});

test("the reduction, an item behind the others, is counted in no round", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 4 });
  const { job } = bench.submit("j", { items: 4, task: { reduce: "sum" } });
  for (const start of [0, 1, 2, 3]) {
    bench.answer("a");
    bench.commit("a", job, { start, end: start + 1 }, "value", start === 3 ? 1 : 0);
  }
  bench.answer("a");
  bench.commit("a", job, { start: 4, end: 5 });
  bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
  bench.answer("a");
  bench.commit("a", job, { start: 3, end: 4 }, "value", 0);
  bench.answer("a");
  bench.commit("a", job, { start: 4, end: 5 });
  expect(bench.job(job)).toMatchObject({ state: "done", round: 1 });
  const { rounds, isClosed } = auditOf(bench, job);
  expect(rounds).toMatchObject([
    { opened: 4, outcomes: { value: 4 } },
    { opened: 1, outcomes: { value: 1 } },
  ]);
  expect(isClosed).toBe(true);
});
