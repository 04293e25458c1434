/**
 * From the start of a coordinator to the end of its takeover, with one active job whose log has 200,000 commits: with the
 * checkpoint that its predecessor has left, and without. The key is free and the agent, which runs nothing, comes at once:
 * what is measured is the start of a process and what it reads.
 */
import { setTimeout as delay } from "node:timers/promises";
import { buckets } from "@everycore/protocol";
import type { JobId } from "@everycore/protocol";
import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { connect } from "@nats-io/transport-node";
import type { CoordinatorCluster } from "../../packages/coordinator/test/support/coordinator-cluster.ts";
import { startCoordinatorCluster } from "../../packages/coordinator/test/support/coordinator-cluster.ts";
import { spec } from "../../packages/coordinator/test/support/coordinator-process.ts";
import { commitOneByOne } from "../../packages/coordinator/test/support/single-commits.ts";
import { atMost, msText } from "../figure.ts";
import type { Figure } from "../figure.ts";

const commits = 200_000;
const atOnce = 500;
const everyMs = 20;
const withinMs = 120_000;

export const takeoverLog: Figure = {
  name: "takeover-log",
  run: async ({ repeat, say, signal }) => {
    await using cluster = await startCoordinatorCluster();
    cluster.held.value = true;
    const nats = await connect({ servers: cluster.nats.url });
    try {
      const range = spec({ codec: "range", rangeItems: 10_000_000 });
      const job = (await cluster.calls.submit("long", range)).id as JobId;
      await once(() => cluster.agent.leases.length > 0, signal);
      const began = performance.now();
      await commitOneByOne(nats, cluster.agent, job, { count: commits, atOnce, signal });
      const perSecond = Math.round((commits * 1_000) / (performance.now() - began));
      say(`  ${commits} commits stored, ${perSecond}/s`);
      await once(async () => (await recordsRead(cluster)) >= commits, signal);
      const values = { with: [] as number[], without: [] as number[], read: [] as number[] };
      for (let turn = 0; turn < repeat; turn += 1) {
        values.with.push(await takeOver(cluster, job, signal));
        values.read.push(await recordsRead(cluster));
        await forget(nats, job);
        values.without.push(await takeOver(cluster, job, signal));
        values.read.push(await recordsRead(cluster));
        say(`  ${turn + 1}/${repeat}: ${msText(values.with.at(-1)!)}, ${msText(values.without.at(-1)!)}`);
      }
      const what = "takeover, a log of 200,000 commits";
      // What a checkpoint is for: nothing is promised without one.
      const without = atMost({
        what: `${what}, no checkpoint`,
        target: 5_000,
        values: values.without,
        text: msText,
      });
      return {
        rows: [
          atMost({ what, target: 5_000, values: values.with, text: msText }),
          { ...without, target: "", ratio: Number.NaN },
        ],
        details: values,
      };
    } finally {
      await nats.close();
    }
  },
};

async function once(is: () => boolean | Promise<boolean>, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await is())) {
    if (performance.now() > deadline) throw new Error("the cluster did not get there in time");
    await delay(everyMs, undefined, { signal });
  }
}

/** Ends the leader in order, so that its key is free, and starts it again. */
async function takeOver(cluster: CoordinatorCluster, job: JobId, signal: AbortSignal): Promise<number> {
  const { coordinator, calls } = cluster;
  await coordinator.end("SIGTERM");
  const began = performance.now();
  await coordinator.start();
  await once(async () => {
    const found = await calls.unary("JobService", "Get", { job, explain: true }).catch(() => undefined);
    if (found === undefined) return false;
    const text = JSON.stringify(found.explanation);
    return !text.includes("read its log") && !text.includes("takeover");
  }, signal);
  return performance.now() - began;
}

async function recordsRead({ coordinator }: CoordinatorCluster): Promise<number> {
  const text = await (await fetch(`http://${coordinator.ready.http}/metrics`)).text();
  return Number(/^everycore_log_records_total (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

/** Also what a leader that has read all has written anew meanwhile. */
async function forget(nats: NatsConnection, job: JobId): Promise<void> {
  const { streams } = await jetstreamManager(nats);
  await streams.purge(`KV_${buckets.meta}`, { filter: `$KV.${buckets.meta}.checkpoint.${job}` });
}
