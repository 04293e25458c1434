// DESIGN 10: a worker over its memory limit is ended; its item is tried once more, alone in a fresh worker, with twice
// the limit. Here there is one node, so the second try is there too.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { RunLog, runJob, upTo, valuesOf } from "../support/jobs.ts";

const limitMB = 96;
const MB = 1024 * 1024;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 1, slots: 1, workerMemoryBytes: limitMB * MB });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

test("an item that needs one and a half times the limit has its value by its second try", async () => {
  const log = new RunLog(cluster.dir, "needs");
  const megabytes = limitMB * 1.5 - 16; // the interpreter itself has about 16
  const items = upTo(3).map((index) => ({ file: log.file, index, megabytes: index === 1 ? megabytes : 0 }));
  const { outcomes, info } = await runJob(cluster.client, { task: "memory.py:needs", items });
  expect(valuesOf(outcomes)).toEqual([
    { tries: 1, held: 0 },
    { tries: 2, held: megabytes },
    { tries: 1, held: 0 },
  ]);
  expect(info).toMatchObject({ state: "done", strikes: 1, counts: { value: 3 } });
}, 60_000);

test("one that always grows is a crash after its second try, naming the doubled limit and the peak", async () => {
  const items = upTo(3).map((index) => ({ index }));
  const { outcomes, info } = await runJob(cluster.client, { task: "memory.py:grows", items });
  expect(valuesOf(outcomes)).toEqual([0, "crash", 2]);
  const { message, signal, peakBytes } = outcomes[1]!.error();
  expect(message).toMatch(new RegExp(`out of memory \\(limit ${2 * limitMB} MB, peak \\d+ MB\\)`));
  expect(signal).toBe("SIGKILL");
  expect(peakBytes).toBeGreaterThan(2 * limitMB * MB);
  expect(info).toMatchObject({ state: "done", strikes: 2, counts: { value: 2, crash: 1 } });
}, 60_000);
