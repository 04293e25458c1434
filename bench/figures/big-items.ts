/** 300 items of 1 MB that come back as they went: bytes through client, log, agent and worker, and all the way back. */
import { randomBytes } from "node:crypto";
import { newRequestId } from "@everycore/client/internal";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import type { TemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { freshBundle, specOf } from "../cold-job.ts";
import { atLeast } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { takeSnapshot, usageBetween } from "../process-tree.ts";

const count = 300;
const itemBytes = 1_000_000;
const text = (bytesPerSecond: number): string => `${(bytesPerSecond / 1e6).toFixed(0)} MB/s`;

export const bigItems: Figure = {
  name: "big-items",
  run: async ({ repeat, say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 1, say, signal });
    const runs: Run[] = [];
    for (let turn = 0; turn < repeat; turn += 1) {
      signal.throwIfAborted();
      const run = await measure(local);
      runs.push(run);
      say(
        `  ${turn + 1}/${repeat}: ${run.seconds.toFixed(2)} s, stored after ${run.storedSeconds.toFixed(2)} s`,
      );
    }
    const values = runs.map(({ seconds }) => (count * itemBytes) / seconds);
    return {
      rows: [atLeast({ what: "300 items of 1 MB, in and out, each way", target: 80e6, values, text })],
      details: runs,
    };
  },
};

interface Run {
  /** From submit to last result, and until all items were stored. */
  readonly seconds: number;
  readonly storedSeconds: number;
  /** CPU seconds of each kind of process in the cluster, and of this one. */
  readonly cpu: Readonly<Record<string, number>>;
  readonly clientCpuSeconds: number;
}

async function measure({ cluster }: TemporaryCluster): Promise<Run> {
  const bundle = await freshBundle();
  await cluster.putBundle(bundle);
  // Bytes that nobody can compress, and one buffer of them: making them is no part of it.
  const item = randomBytes(itemBytes);
  const before = takeSnapshot();
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const since = (): number => (performance.now() - startedAt) / 1_000;
  const submission = cluster.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, "echo", "raw"),
    items: manyOf(item),
  });
  const job = await submission.accepted;
  const stored = submission.closed.then(since);
  let bytes = 0;
  for await (const list of cluster.results(job, { unordered: true }).lists())
    for (const outcome of list) bytes += (outcome.value() as Uint8Array).length; // echo gives bytes
  const seconds = since();
  const cpu = usageBetween(before, takeSnapshot());
  const { user, system } = process.cpuUsage(cpuBefore);
  if (bytes !== count * itemBytes) throw new Error(`${bytes} bytes of ${count * itemBytes} came back`);
  const storedSeconds = await stored;
  await cluster.waitJob(job);
  await cluster.deleteJob(job);
  return { seconds, storedSeconds, cpu, clientCpuSeconds: (user + system) / 1e6 };
}

async function* manyOf(item: Uint8Array): AsyncGenerator<Uint8Array[]> {
  for (let at = 0; at < count; at += 1) yield [item];
}
