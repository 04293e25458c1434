// P7: a reader that does not read holds nothing up but itself, and costs bounded memory.

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { runJob, submit, upTo } from "../support/jobs.ts";
import { readProcess } from "../support/processes.ts";

const MB = 1024 * 1024;

test(
  "a reader that stops reading costs no memory, other readers and jobs go on, and it gets all in the end",
  { timeout: 90_000 },
  async () => {
    await using cluster = await startCluster({ slots: 2 });
    const sizes = upTo(250).map(() => MB);
    const job = await submit(cluster.client, { task: "arithmetic.ts:ofLength", items: sizes });
    const slow = cluster.client.results(job).lists();
    const first = await slow.next();
    expect(first.done).toBe(false);

    const info = await cluster.client.waitJob(job, { timeoutMs: 60_000 });
    expect(info.counts).toMatchObject({ value: 250 });
    expect(readProcess(cluster.coordinator.pid)!.residentBytes / MB).toBeLessThan(350);

    const other = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 9] });
    expect(other.outcomes).toHaveLength(10);

    let bytes = (first.value as readonly { payload: Buffer }[]).reduce(
      (sum, { payload }) => sum + payload.length,
      0,
    );
    for await (const list of slow) for (const { payload } of list) bytes += payload.length;
    expect(bytes).toBe(250 * MB);
    expect(readProcess(cluster.coordinator.pid)!.residentBytes / MB).toBeLessThan(350);
  },
);

test("a reader that goes away in the middle leaves nothing behind; another starts from any index", async () => {
  await using cluster = await startCluster({ slots: 1 });
  const { info } = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 99_999] });
  for (let round = 0; round < 20; round += 1) {
    for await (const outcome of cluster.client.results(info.id)) if (outcome.index >= round * 100) break;
  }
  const from = cluster.client.results(info.id, { from: 99_990 });
  const indexes: number[] = [];
  for await (const { index } of from) indexes.push(index);
  expect(indexes).toEqual(upTo(10).map((n) => 99_990 + n));
});
