// What a worker's end means for the items it had: one is struck or timed out, and only for what it did itself (P4).
import { expect, test } from "vitest";
import type { Effect } from "../src/core/index.ts";
import { AgentBench, grantOf, job, only } from "./support/agent-bench.ts";

type SendSlice = Extract<Effect, { kind: "sendSlice" }>;

/** A worker that runs the first slice of a lease. */
function running(more: Parameters<AgentBench["lease"]>[1] = {}): { bench: AgentBench; slice: SendSlice } {
  const bench = new AgentBench();
  const [slice] = only(bench.lease(grantOf(1, 0, 8), more), "sendSlice");
  bench.feed({ kind: "workerReady", worker: slice!.worker });
  bench.feed({ kind: "workerLoaded", worker: slice!.worker });
  return { bench, slice: slice! };
}

test("a worker that dies while it loads the task fails the task, once, and no item is struck", () => {
  const bench = new AgentBench();
  const [slice] = only(bench.lease(grantOf(1, 0, 8)), "sendSlice");
  const { worker } = slice!;
  bench.feed({ kind: "workerReady", worker });
  const detail = { signal: "SIGSEGV" };
  const effects = bench.feed({ kind: "workerDied", worker, phase: "load", sights: [], detail });
  expect(only(effects, "taskFailed")).toMatchObject([{ job, failure: { died: true } }]);
  expect(only(bench.effects, "publishStrike")).toEqual([]);
});

test("what waits of a task that does not load is given back, what has ended is committed", () => {
  const bench = new AgentBench();
  const grant = grantOf(1, 0, 400);
  const [slice] = only(bench.lease(grant), "sendSlice");
  const { worker } = slice!;
  const run = { file: 1, from: 0, to: 300_000, start: 0, end: 1, status: 0, missing: undefined };
  const seen = [{ slice: slice!.slice, job, lease: grant.id, runs: [run] }];
  bench.feed({ kind: "outcomesSeen", worker, seen });
  const failed = bench.feed({
    kind: "inputFailed",
    job,
    lease: grant.id,
    bundle: true,
    message: "no bundle",
  });
  expect(only(failed, "taskFailed")).toMatchObject([{ job, round: 0, failure: { error: "no bundle" } }]);
  const [gave] = only(failed, "gaveBack");
  expect(gave).toMatchObject({ job, grant: { id: grant.id } });
  expect(gave!.ranges.at(-1)?.end).toBe(400);
  expect(bench.hello().leases).toMatchObject([
    { unacknowledged: [{ start: 0, end: 1 }], gaveBack: gave!.ranges },
  ]);
  expect(only(bench.effects, "publishCommit")).toHaveLength(1);
});

test("whoever leases what does not load here is refused, and told why again", () => {
  const bench = new AgentBench();
  const grant = grantOf(1, 0, 8);
  bench.lease(grant);
  bench.feed({ kind: "inputFailed", job, lease: grant.id, bundle: true, message: "no bundle" });
  const again = bench.lease({ ...grantOf(2, 0, 8), round: 1 });
  expect(only(again, "answerLease")[0]?.reply).toMatchObject({ ok: false, reason: "task" });
  expect(only(again, "taskFailed")).toMatchObject([{ job, round: 1, failure: { error: "no bundle" } }]);
});

test("a slice that had not begun is nobody's fault: all of it runs again", () => {
  const { bench, slice } = running();
  const detail = { signal: "SIGKILL" };
  bench.feed({ kind: "workerDied", worker: slice.worker, phase: "idle", sights: [], detail });
  expect(only(bench.effects, "publishStrike")).toEqual([]);
  expect(bench.hello().leases).toMatchObject([{ unfinished: [{ start: 0, end: 8 }], unacknowledged: [] }]);
});

test("a worker that was ended for one item's time and runs the next when it dies: the next runs again", () => {
  const { bench, slice } = running({ task: { itemTimeoutMs: 50 } });
  const { worker } = slice;
  const sight = (cursor: number) => [{ slice: slice.slice, cursor }];
  bench.feed({ kind: "cursorRead", worker, phase: "item", sights: sight(2), cut: false });
  bench.now += 100;
  const late = bench.feed({ kind: "cursorRead", worker, phase: "item", sights: sight(2), cut: false });
  expect(only(late, "killGroup")).toMatchObject([{ reason: { kind: "timeout", item: 2 } }]);
  const ended = bench.feed({ kind: "workerDied", worker, phase: "item", sights: sight(3), detail: {} });
  expect(only(ended, "appendTimeout")).toEqual([]);
  expect(only(ended, "publishStrike")).toEqual([]);
  const unfinished = bench.hello().leases[0]?.unfinished ?? [];
  expect(unfinished.some(({ start, end }) => start <= 3 && end >= 8)).toBe(true);
});

test("an item's time runs from when it was first seen to run, not from the start of its slice: never early", () => {
  const { bench, slice } = running({ task: { itemTimeoutMs: 50 } });
  const { worker } = slice;
  const look = (cursor: number): unknown[] => {
    const sights = [{ slice: slice.slice, cursor }];
    return only(bench.feed({ kind: "cursorRead", worker, phase: "item", sights, cut: false }), "killGroup");
  };
  look(0);
  bench.now += 40;
  expect(look(3)).toEqual([]);
  bench.now += 40;
  expect(look(3)).toEqual([]);
  bench.now += 10;
  expect(look(3)).toMatchObject([{ reason: { kind: "timeout", item: 3 } }]);
});

test("a worker that was ended with its lease strikes nothing", () => {
  const { bench, slice } = running();
  bench.feed({ kind: "leasesDropped", leases: [slice.lease] });
  const sights = [{ slice: slice.slice, cursor: 4 }];
  bench.feed({ kind: "workerDied", worker: slice.worker, phase: "item", sights, detail: {} });
  expect(only(bench.effects, "publishStrike")).toEqual([]);
});

test("a worker that a drain's deadline has ended strikes nothing: the item runs elsewhere", () => {
  const { bench, slice } = running();
  bench.feed({ kind: "drainAsked", deadlineMs: 10 });
  bench.now += 20;
  expect(only(bench.feed({ kind: "tick" }), "killGroup")).toMatchObject([{ reason: { kind: "stop" } }]);
  const sights = [{ slice: slice.slice, cursor: 4 }];
  bench.feed({ kind: "workerDied", worker: slice.worker, phase: "item", sights, detail: {} });
  expect(only(bench.effects, "publishStrike")).toEqual([]);
});

test("an error is tried again as often as was asked for, counting the tries of other leases", () => {
  const verdictAfter = (tries: number): string | undefined => {
    const attempts = tries === 0 ? [] : [{ start: 0, end: 8, level: tries }];
    const { bench, slice } = running({ task: { retries: 2 }, attempts });
    const run = { file: 1, from: 0, to: 300_000, start: 0, end: 1, status: 1, missing: undefined };
    const seen = [{ slice: slice.slice, job, lease: slice.lease, runs: [run] }];
    const effects = bench.feed({ kind: "outcomesSeen", worker: slice.worker, seen });
    return only(effects, "publishCommit")[0]?.record.parts[0]?.status;
  };
  expect([0, 1, 2, 3].map(verdictAfter)).toEqual(["again", "again", "error", "error"]);
});

/** Behind the slice that runs stands one of another lease, which is dropped. */
function droppedBehind(): {
  bench: AgentBench;
  slice: SendSlice;
  second: SendSlice;
  effects: readonly Effect[];
} {
  const { bench, slice } = running();
  const [second] = only(bench.lease(grantOf(2, 100, 160)), "sendSlice");
  expect(second).toMatchObject({ worker: slice.worker, start: 100 });
  const effects = bench.feed({ kind: "leasesDropped", leases: [second!.lease] });
  return { bench, slice, second: second!, effects };
}

test("a dropped slice that has not begun is cut to nothing: what runs in front of it goes on (P3)", () => {
  const { bench, slice, second, effects } = droppedBehind();
  const { worker } = slice;
  expect(only(effects, "killGroup")).toEqual([]);
  expect(only(effects, "setLimit")).toEqual([
    { kind: "setLimit", worker, slice: second.slice, limit: second.start },
  ]);
  expect(only(effects, "readCursor")).toMatchObject([{ worker, cut: true }]);
  const ofTheLease = (): unknown[] => bench.hello().leases.map(({ grant }) => grant.id);
  expect(ofTheLease()).toEqual([slice.lease]); // or the leader would adopt it
  const sights = [{ slice: slice.slice, cursor: 3 }];
  const read = bench.feed({ kind: "cursorRead", worker, phase: "item", sights, cut: true });
  expect(only(read, "killGroup")).toEqual([]);
  expect(only(read, "gaveBack")).toEqual([]);
  // Both end, and nothing of it starts anew.
  for (const { slice: id, start, end } of [slice, second]) {
    const ended = id === second.slice ? start : end;
    const after = bench.feed({ kind: "sliceEnded", worker, slice: id, ended, busyMs: 1, cpuMs: 1 });
    expect(only(after, "sendSlice")).toEqual([]);
    if (id === second.slice) expect(only(after, "forgetLease")).toMatchObject([{ lease: second.lease }]);
  }
  expect(bench.state.jobs.get(job)?.leases.has(second.lease)).toBe(false);
});

test("a dropped slice that has begun meanwhile is ended with its worker, and nobody is struck for it", () => {
  const { bench, slice, second } = droppedBehind();
  const { worker } = slice;
  const sights = [
    { slice: slice.slice, cursor: slice.end },
    { slice: second.slice, cursor: second.start },
  ];
  const read = bench.feed({ kind: "cursorRead", worker, phase: "item", sights, cut: true });
  expect(only(read, "killGroup")).toMatchObject([{ worker, reason: { kind: "cancel" } }]);
  const died = bench.feed({ kind: "workerDied", worker, phase: "item", sights, detail: {} });
  expect(only(died, "publishStrike")).toEqual([]);
  expect(only(died, "forgetLease").map(({ lease }) => lease)).toContain(second.lease);
  expect(only(bench.effects, "sendSlice").filter(({ lease }) => lease === second.lease).length).toBe(1);
});

test("a dropped slice whose worker dies of what runs in front of it is not run again here", () => {
  const { bench, slice, second } = droppedBehind();
  const { worker } = slice;
  const sights = [{ slice: slice.slice, cursor: 3 }];
  bench.feed({ kind: "workerDied", worker, phase: "item", sights, detail: { signal: "SIGSEGV" } });
  expect(only(bench.effects, "publishStrike")).toMatchObject([
    { record: { ranges: [{ start: 3, end: 4 }] } },
  ]);
  expect(bench.state.jobs.get(job)?.leases.has(second.lease)).toBe(false);
  const again = only(bench.effects, "sendSlice").filter(({ lease }) => lease === second.lease);
  expect(again.length).toBe(1);
});

test("what a dropped slice ended before it saw its limit is forgotten", () => {
  const { bench, slice, second } = droppedBehind();
  const { worker } = slice;
  const run = { file: 1, from: 0, to: 300_000, start: 100, end: 101, status: 0, missing: undefined };
  const seen = [{ slice: second.slice, job, lease: second.lease, runs: [run] }];
  const effects = bench.feed({ kind: "outcomesSeen", worker, seen });
  expect(only(effects, "freeOutcomes")).toMatchObject([{ runs: [run] }]);
  expect(only(effects, "publishCommit")).toEqual([]);
});

test("both leases of a worker are dropped: it is ended, whichever is named first", () => {
  for (const order of [0, 1]) {
    const { bench, slice } = running();
    const [second] = only(bench.lease(grantOf(2, 100, 160)), "sendSlice");
    const leases = [slice.lease, second!.lease];
    const effects = bench.feed({
      kind: "leasesDropped",
      leases: order === 0 ? leases : leases.toReversed(),
    });
    expect(only(effects, "killGroup").length).toBe(1);
    expect(bench.state.jobs.get(job)?.leases.size ?? 0).toBe(0);
  }
});

test("a dropped lease whose slice was cut to nothing costs no item that runs in front of it (P3)", () => {
  const { bench, slice } = running();
  const behind = grantOf(2, 100, 160);
  const [second] = only(bench.lease(behind), "sendSlice");
  expect(second).toMatchObject({ worker: slice.worker, lease: behind.id });
  // The item in front runs far longer than was thought: what stands behind it is freed, and given back.
  bench.now += 1_000;
  bench.feed({ kind: "tick" });
  const sights = [{ slice: slice.slice, cursor: 0 }];
  bench.feed({ kind: "cursorRead", worker: slice.worker, phase: "item", sights, cut: true });
  bench.feed({ kind: "giveBackAsked", job, wantMs: 1e9, isAll: true });
  const ranges = [{ start: 100, end: 160 }];
  bench.feed({ kind: "giveBackConfirmed", job, lease: behind.id, ranges });
  expect(only(bench.feed({ kind: "leasesDropped", leases: [behind.id] }), "killGroup")).toEqual([]);
  for (const { slice: id, start } of [slice, second!])
    bench.feed({ kind: "sliceEnded", worker: slice.worker, slice: id, ended: start, busyMs: 1, cpuMs: 1 });
  expect(bench.state.jobs.get(job)?.leases.has(behind.id)).toBe(false);
});
