// The simulated agent's books: what it loses or reports twice would look like a fault of the coordinator.

import type { JobId, LeaseGrant, LeaseId, LeaseMessage, NodeId, Range } from "@everycore/protocol";
import { IntervalSet } from "@everycore/protocol";
import { expect, test } from "vitest";
import { seededRandom } from "../statistics.ts";
import { SleepingWorker } from "./sleeping-worker.ts";

const job = "0123456789abcdef0123" as JobId;

function lease(n: number, range: Range, sleepMs: number): LeaseMessage {
  const grant: LeaseGrant = {
    id: String(n).padStart(32, "0") as LeaseId,
    ...range,
    node: "0000000000000001" as NodeId,
    round: 0,
    n,
  };
  const task = {
    runtime: "exec",
    argv: ["sleep", String(sleepMs)],
    seed: "0000000000000001",
    rangeStart: 0,
    retries: 0,
  } as const;
  const items = { codec: "range" } as const;
  return {
    epoch: 1,
    job,
    segment: "s",
    task,
    grant,
    items,
    attempts: [],
    mode: "normal",
    itemMs: sleepMs,
    priority: 0,
    tag: n,
  };
}

test("every item of its leases is committed once or given back", () => {
  const worker = new SleepingWorker(seededRandom(1));
  const ended = new IntervalSet();
  let seq = 0;
  let now = 0;
  const runUntil = (end: number): void => {
    for (let at = worker.wakeAt(); at < end; at = worker.wakeAt()) work((now = at));
  };
  const work = (at: number): void => {
    worker.advance(at);
    for (const { record } of worker.commits(at)) {
      for (const { start, end } of record.parts) expect(ended.add(start, end)).toBe(end - start);
      seq += 1;
      worker.acknowledged(record, seq);
    }
  };
  worker.take(lease(1, { start: 0, end: 20 }, 100), now);
  worker.take(lease(2, { start: 20, end: 40 }, 100), now);
  runUntil(1_500);
  const given = worker.giveBack(job, 1_000);
  expect(given.map(({ ranges }) => ranges)).toEqual([[{ start: 30, end: 40 }]]);
  expect(worker.report().flatMap(({ gaveBack }) => gaveBack)).toEqual([{ start: 30, end: 40 }]);
  for (const { grant, ranges } of given) worker.confirmed(grant.id, ranges);
  runUntil(Number.POSITIVE_INFINITY);
  expect(ended.toRanges()).toEqual([{ start: 0, end: 30 }]);
  expect(worker.report()).toEqual([]);
  expect(now).toBeGreaterThan(30 * 80);
  expect(now).toBeLessThan(30 * 120 + 200);
});
