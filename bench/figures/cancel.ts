/** Cancel of a job whose million items are queued and whose running ones never yield: until no worker of it is left. */
import { setTimeout as delay } from "node:timers/promises";
import { newRequestId } from "@everycore/client/internal";
import type { Bundle, Connection } from "@everycore/client/internal";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { freshBundle, specOf } from "../cold-job.ts";
import { atMost, msText } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { takeSnapshot } from "../process-tree.ts";

const count = 1_000_000;
const slots = 2;
/** CPU time after which a worker is one that computes, and not a spare, s. */
const computesSeconds = 0.3;
const lookMs = 5;
const startWithinMs = 30_000;

export const cancel: Figure = {
  name: "cancel",
  run: async ({ repeat, say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 1, slots, say, signal });
    const values: number[] = [];
    for (let turn = 0; turn < repeat; turn += 1) {
      signal.throwIfAborted();
      values.push(await measureOne(local.cluster, await freshBundle()));
      say(`  ${turn + 1}/${repeat}: ${msText(values.at(-1)!)}`);
    }
    const what = "cancel to free cores, 1,000,000 items queued";
    return { rows: [atMost({ what, target: 1_000, values, text: msText })], details: values };
  },
};

async function measureOne(cluster: Connection, bundle: Bundle): Promise<number> {
  await cluster.putBundle(bundle);
  const submission = cluster.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, "endless", count),
  });
  submission.closed.catch(() => {}); // the input of a cancelled job ends with it
  const job = await submission.accepted;
  const deadline = performance.now() + startWithinMs;
  let pids = workersAtWork();
  while (pids.length < slots) {
    if (performance.now() > deadline) throw new Error("the workers did not begin");
    await delay(lookMs);
    pids = workersAtWork();
  }
  const startedAt = performance.now();
  await cluster.cancelJob(job, "measured");
  while (pids.some(isThere)) await delay(lookMs);
  const ms = performance.now() - startedAt;
  await cluster.waitJob(job);
  await cluster.deleteJob(job);
  return ms;
}

const workersAtWork = (): number[] =>
  [...takeSnapshot().values()]
    .filter(({ role, seconds }) => role === "worker" && seconds >= computesSeconds)
    .map(({ pid }) => pid);

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH
  }
}
