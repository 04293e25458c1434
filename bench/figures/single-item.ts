/**
 * A stored job of one item, again and again on a warm cluster: from submit to result. The jobs are kept, as a cluster
 * keeps them for their time to live: the last one to go takes the log segment with it, and the next would make it anew.
 */
import { setTimeout as delay } from "node:timers/promises";
import { newRequestId } from "@everycore/client/internal";
import type { Bundle, Connection } from "@everycore/client/internal";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { freshBundle, specOf } from "../cold-job.ts";
import { atMost, msText } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { percentile } from "../statistics.ts";

const jobs = 100;
const warmUpJobs = 5;
/** Between jobs, so that the worker that a job took has a started spare in its place. */
const pauseMs = 250;

export const singleItem: Figure = {
  name: "single-item",
  run: async ({ say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 1, say, signal });
    const { cluster } = local;
    const bundle = await freshBundle();
    await cluster.putBundle(bundle);
    const values: number[] = [];
    for (let at = 0; at < jobs + warmUpJobs; at += 1) {
      await delay(pauseMs, undefined, { signal });
      const ms = await measureOne(cluster, bundle);
      if (at >= warmUpJobs) values.push(ms);
    }
    const what = "warm single-item stored job, submit to result";
    const row = atMost({ what: `${what}, p50`, target: 15, values, text: msText });
    const slow = percentile(values, 0.99);
    return {
      rows: [
        row,
        { what: `${what}, p99`, target: "", measured: msText(slow), ratio: Number.NaN, spread: "" },
      ],
      details: values,
    };
  },
};

async function measureOne(cluster: Connection, bundle: Bundle): Promise<number> {
  const startedAt = performance.now();
  const submission = cluster.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, "nothing", 1),
  });
  const job = await submission.accepted;
  let ms = Number.NaN;
  for await (const outcome of cluster.results(job)) {
    outcome.value(); // throws if it failed
    ms = performance.now() - startedAt;
  }
  await cluster.waitJob(job);
  return ms;
}
