// What a job is said to wait for, in the situations that people ask about.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { JobId } from "@everycore/protocol";
import { explainJob } from "../../src/core/index.ts";
import { CoreBench, jobId, nodeId, only } from "../support/core-bench.ts";

/** Lines on one subject. */
const said = (bench: CoreBench, job: JobId, about: string): string[] =>
  explainJob(bench.state, job)!
    .filter((line) => line.about === about)
    .map((line) => line.text);

const isBusy = (bench: CoreBench, name: string, busy: number): void => {
  bench.feed({ kind: "nodeHeartbeat", node: nodeId(name), busy, diskFull: false });
};

/** Four items that lie together on the node, one of which it may strike. */
function onOneNode(): { bench: CoreBench; job: JobId } {
  const bench = new CoreBench();
  bench.report("a", { slots: 4 });
  const { job } = bench.submit("j", { items: 4, task: { retries: 2 } });
  bench.answer("a");
  return { bench, job };
}

test("no job, no explanation", () => {
  expect(explainJob(new CoreBench().state, jobId("none"))).toBeUndefined();
});

test("no node: it waits for one that can run it, and says what each lacks", () => {
  const bench = new CoreBench();
  const { job } = bench.submit("j", { items: 5 });
  expect(said(bench, job, "state")).toEqual(["running: blocked: no-node (no agent is connected)"]);
  expect(said(bench, job, "waits for")).toEqual(["a node that can run it"]);
  bench.report("a", { runtimes: ["exec"] });
  expect(said(bench, job, "nodes")).toEqual([
    "0 of 1 can run it now, with 0 slots",
    `not host-a ${nodeId("a").slice(0, 8)}: it has no js`,
  ]);
  expect(said(bench, job, "queue")).toEqual(["5 ready"]);
  expect(said(bench, job, "first result")).toEqual([]);
});

test("a record that NATS has not stored is what it waits for", () => {
  const bench = new CoreBench();
  bench.isHeld = true;
  const { job } = bench.submit("j", { items: 5 });
  expect(said(bench, job, "waits for")).toEqual(["its record to be stored in NATS"]);
});

test("storage nearly full: nothing new is leased", () => {
  const bench = new CoreBench();
  const { job } = bench.submit("j", { items: 5 });
  bench.feed({ kind: "storageLevel", level: "pause" });
  bench.report("a");
  expect(said(bench, job, "state")).toEqual(["running: blocked: storage"]);
  expect(said(bench, job, "waits for")[0]).toBe(
    "room in the cluster's storage: nothing new is leased before that",
  );
  expect(said(bench, job, "storage")).toEqual(["nearly full: nothing new is leased"]);
  bench.feed({ kind: "storageLevel", level: "refuse" });
  expect(said(bench, job, "storage")).toEqual(["nearly full: nothing new is leased, new jobs are refused"]);
});

test("behind another job: who is ahead and why, and within what time a first result comes", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job: big } = bench.submit("big", { items: 2_000, priority: 1 });
  bench.answer("a");
  bench.commit("a", big, { start: 0, end: 1 });
  isBusy(bench, "a", 1);
  const { job: small } = bench.submit("small", { items: 1 });
  expect(said(bench, small, "ahead")).toEqual([`1 job: 1 of higher priority: ${big.slice(0, 8)}`]);
  expect(said(bench, big, "ahead")).toEqual(["no other job"]);
  // The bench's items take 10 ms each.
  expect(said(bench, small, "first result")).toEqual([
    "within its own item (no cost learned yet) + 250 ms + what is left of the shortest item on its nodes" +
      " (at most about 10 ms), once the jobs of higher priority leave a slot",
  ]);
  // It lies in the node's queue behind or beside the other's items.
  expect(bench.job(small).held.total).toBe(1);
  expect(said(bench, small, "waits for")).toEqual([
    "1 item on 1 node to end; the slots there have work of 1 other job too",
  ]);
  isBusy(bench, "a", 0);
  expect(said(bench, small, "first result")[0]).not.toContain("shortest");
  expect(said(bench, big, "first result")).toEqual([]);
});

test("by fair share, one that was served more is ahead of nobody", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1 });
  const { job: first } = bench.submit("first", { items: 100_000 });
  for (let index = 0; index < 3; index += 1) {
    bench.answer("a");
    bench.commit("a", first, { start: index, end: index + 1 });
  }
  const { job: second } = bench.submit("second", { items: 100_000, user: "other" });
  expect(said(bench, second, "ahead")).toEqual(["no other job"]);
  expect(said(bench, first, "ahead")).toEqual([
    `1 job: 1 by fair share (served less so far): ${second.slice(0, 8)}`,
  ]);
});

test("a silent node's items wait out its grace time, then are struck with it", () => {
  const { bench, job } = onOneNode();
  bench.breakLink("a");
  bench.tick(4_000);
  const name = `host-a ${nodeId("a").slice(0, 8)}`;
  expect(said(bench, job, "waits for")).toEqual([
    `${name} (link broken for 4.0 s): 4 items go elsewhere in 11.0 s unless it is back`,
  ]);
  expect(said(bench, job, "leases")[0]).toMatch(
    /^host-a \w{8}: 4 items in \d leases?, the oldest 4\.0 s old$/,
  );
  bench.tick(12_000);
  expect(said(bench, job, "struck")).toEqual([`items 0-3: lost with ${name}; 4 of them to be tried again`]);
  expect(said(bench, job, "queue")).toEqual([
    "4 that lost their node once: each slice is announced before it starts",
  ]);
  expect(said(bench, job, "nodes")[1]).toBe(`not ${name}: lost: link broken`);
});

test("a crashed item waits for another node, with cause and node, and then runs there", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 4 });
  const { job } = bench.submit("j", { items: 4 });
  bench.answer("a");
  bench.report("b", { slots: 4, runtimes: ["exec"] });
  const detail = { reason: "out of memory", signal: "SIGKILL", limitBytes: 2 ** 28 };
  bench.strike("a", job, 2, "crash", detail as never);
  bench.tick(5_000);
  isBusy(bench, "a", 1);
  isBusy(bench, "b", 1);
  const name = `host-a ${nodeId("a").slice(0, 8)}`;
  expect(said(bench, job, "waits for")).toEqual([
    `item 2, whose worker died, to find another node than ${name}, for at most 25.0 s more`,
  ]);
  expect(said(bench, job, "struck")).toEqual([
    `item 2: killed its worker on ${name} (out of memory (limit 256 MB), killed by SIGKILL); to be tried again`,
  ]);
  expect(said(bench, job, "queue")).toEqual(["1 that killed a worker: one at a time, on another node"]);
  bench.report("c", { slots: 1 });
  expect(only(bench.effects, "sendLease").at(-1)).toMatchObject({ node: nodeId("c"), grant: { start: 2 } });
  bench.answer("c");
  bench.strike("c", job, 2, "crash", detail as never);
  expect(said(bench, job, "struck").map((text) => text.split("; ")[1])).toEqual([
    "ended as crash",
    "ended as crash",
  ]);
});

test("an item that lost two nodes runs alone, and its lease says so", () => {
  const { bench, job } = onOneNode();
  bench.strike("a", job, 1, "lost");
  bench.answer("a");
  bench.strike("a", job, 1, "lost");
  const [lease] = said(bench, job, "leases");
  expect(lease).toMatch(/1 run alone, 1 not yet answered$/);
  expect(said(bench, job, "struck").length).toBe(2);
});

test("deaths are named up to a bound; a retry of the job forgets them", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 4 });
  bench.report("b", { slots: 4 });
  const { job } = bench.submit("j", { items: 30 });
  for (let round = 0; round < 8 && bench.job(job).state === "running"; round += 1) {
    for (const name of ["a", "b"]) {
      bench.answer(name);
      for (const { unfinished } of [...bench.node(name).held.values()])
        for (const { start, end } of unfinished.toRanges())
          for (let index = start; index < end; index += 1) {
            if (index < 9) bench.strike(name, job, index);
            else bench.commit(name, job, { start: index, end: index + 1 });
          }
    }
    bench.tick(200);
  }
  expect(bench.job(job).state).toBe("done");
  expect(said(bench, job, "struck").length).toBe(8);
  bench.feed({ kind: "retryAsked", job, ask: bench.ask() });
  expect(bench.job(job).state).toBe("running");
  expect(said(bench, job, "struck")).toEqual([]);
});

test("retries under way, cost and time left", () => {
  const { bench, job } = onOneNode();
  expect(said(bench, job, "cost")).toEqual(["not learned yet: no commit has come; 4 items open"]);
  bench.commit("a", job, { start: 0, end: 1 });
  bench.commit("a", job, { start: 1, end: 2 }, "again");
  expect(said(bench, job, "retries")).toEqual([
    "1 item under way that failed before; 1 retry in all, at most 2 an item",
  ]);
  expect(said(bench, job, "cost")).toEqual([
    "10 ms an item, 3 items open: 30 ms of one core, 10 ms on 4 slots",
  ]);
  bench.answer("a");
  bench.commit("a", job, { start: 1, end: 2 });
  expect(said(bench, job, "retries")[0]).toContain("0 items under way");
});

test("an open input is said to be open, and what becomes of it without its client", () => {
  const bench = new CoreBench();
  bench.report("a");
  const { job } = bench.submit("j", { items: 4, block: 2, open: true });
  expect(said(bench, job, "input")).toEqual(["open: 4 items so far"]);
  bench.feed({ kind: "submitBroke", job, detached: false });
  bench.tick(10_000);
  expect(said(bench, job, "input")).toEqual([
    "open: 4 items so far; its client is gone for 10.0 s: in 20.0 s the job is cancelled unless it is back",
  ]);
  bench.feed({ kind: "submitResumed", job });
  isBusy(bench, "a", 0);
  bench.runAll();
  expect(said(bench, job, "waits for")).toEqual(["more input"]);
});

test("after a takeover, what may be running waits for the nodes' reports, and for how long", () => {
  const { bench, job } = onOneNode();
  bench.lead();
  bench.tick(3_000);
  expect(said(bench, job, "waits for")).toEqual([
    `reports after a takeover: 4 items may be running; they wait for node ${nodeId("a").slice(0, 8)}, at most 12.0 s more`,
  ]);
  bench.report("a");
  expect(said(bench, job, "waits for")).toEqual(["4 items on 1 node to end"]);
  expect(said(bench, job, "leases")[0]).toContain("the oldest 0 s old");
});

test("a cancel that is not stored, and an end", () => {
  const { bench, job } = onOneNode();
  bench.isHeld = true;
  bench.feed({ kind: "cancelAsked", job, message: "no longer wanted", ask: bench.ask() });
  expect(said(bench, job, "state")).toEqual(["cancelling: no longer wanted"]);
  expect(said(bench, job, "waits for")).toEqual([
    "its end to be stored in NATS; its workers are stopped then",
  ]);
  bench.release(1);
  expect(said(bench, job, "waits for")).toEqual(["its end to be written to its log: 4 items to go"]);
  bench.isHeld = false;
  bench.release();
  bench.tick(60_000);
  expect(said(bench, job, "waits for")).toEqual([
    "nothing: it ended 1 min ago and is kept until it is deleted",
  ]);
  expect(explainJob(bench.state, job)!.map((line) => line.about)).toEqual(["state", "waits for"]);
});

test("a paused job waits for its user; what runs comes to its end; nobody is said to wait for it", () => {
  const { bench, job } = onOneNode();
  const { job: other } = bench.submit("other", { items: 1 });
  bench.feed({ kind: "pauseAsked", job, ask: bench.ask() });
  expect(said(bench, job, "waits for")).toEqual([
    `its user: paused, nothing of it is leased before everycore job resume ${job.slice(0, 8)}`,
    "4 items still run or are on their way back",
  ]);
  expect(said(bench, other, "ahead")).toEqual(["no other job"]);
  bench.feed({ kind: "resumeAsked", job, ask: bench.ask() });
  expect(said(bench, job, "waits for")[0]).toMatch(/^4 items on 1 node to end/);
});

test("whatever happens, an explanation has a state and a wait, and no number that is none", () => {
  const names = ["a", "b"];
  const acts = [
    "answer",
    "commit",
    "again",
    "crash",
    "lost",
    "break",
    "report",
    "restart",
    "lead",
    "tick",
    "long",
    "pause",
    "resume",
    "cancel",
    "retry",
    "full",
    "room",
    "drain",
  ] as const;
  const step = fc.record({ act: fc.constantFrom(...acts), name: fc.constantFrom(...names) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const bench = new CoreBench();
      for (const name of names) bench.report(name);
      const jobs = [
        bench.submit("range", { items: 40, task: { retries: 3 } }).job,
        bench.submit("blocks", { items: 6, block: 2, open: true, priority: 1 }).job,
        bench.submit("reduced", { items: 5, task: { reduce: "add" } }).job,
      ];
      for (const { act, name } of steps) {
        perform(bench, act, name, jobs[0]!);
        for (const job of jobs) {
          const lines = explainJob(bench.state, job)!;
          expect(lines[0]?.about).toBe("state");
          expect(lines.filter((line) => line.about === "waits for").length).toBeGreaterThan(0);
          for (const { text } of lines) expect(text).not.toMatch(/NaN|Infinity|undefined|(^|\s)-\d/);
        }
      }
    }),
    { numRuns: 100 },
  );
});

function perform(bench: CoreBench, act: string, name: string, job: JobId): void {
  const node = nodeId(name);
  const ask = bench.ask();
  const held = [...bench.node(name).held.values()].find((lease) => !lease.unfinished.isEmpty);
  const start = held?.unfinished.first()?.start ?? 0;
  if (act === "answer") bench.answer(name);
  else if (act === "commit" || act === "again") {
    const status = act === "commit" ? "value" : "again";
    if (held !== undefined) bench.commit(name, held.job, { start, end: start + 1 }, status);
  } else if (act === "crash" || act === "lost") {
    if (held !== undefined) bench.strike(name, held.job, start, act);
  } else if (act === "break") bench.breakLink(name);
  else if (act === "report") bench.report(name);
  else if (act === "restart") bench.report(name, { wiped: true });
  else if (act === "lead") bench.lead();
  else if (act === "tick" || act === "long") bench.tick(act === "tick" ? 700 : 16_000);
  else if (act === "pause") bench.feed({ kind: "pauseAsked", job, ask });
  else if (act === "resume") bench.feed({ kind: "resumeAsked", job, ask });
  else if (act === "cancel") bench.feed({ kind: "cancelAsked", job, message: "enough", ask });
  else if (act === "retry") bench.feed({ kind: "retryAsked", job, ask });
  else if (act === "drain") bench.feed({ kind: "drainAsked", node, ask });
  else bench.feed({ kind: "storageLevel", level: act === "full" ? "pause" : "ok" });
}
