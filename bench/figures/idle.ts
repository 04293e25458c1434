/** What each process of a cluster costs while nobody uses it, spare workers included. */
import { setTimeout as delay } from "node:timers/promises";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { freshBundle, runColdJob } from "../cold-job.ts";
import { atMost, percentText } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { takeSnapshot } from "../process-tree.ts";

const settleMs = 5_000;
const watchMs = 20_000;

export const idle: Figure = {
  name: "idle",
  run: async ({ say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 1, say, signal });
    const { cluster } = local;
    await runColdJob({ cluster, bundle: await freshBundle(), export: "nothing", items: 100 });
    await delay(settleMs, undefined, { signal });
    const before = takeSnapshot();
    const startedAt = performance.now();
    await delay(watchMs, undefined, { signal });
    const seconds = (performance.now() - startedAt) / 1000;
    const shares = [...takeSnapshot().values()].map((usage) => {
      const old = before.get(usage.pid);
      const used =
        usage.seconds + usage.endedSeconds - (old === undefined ? 0 : old.seconds + old.endedSeconds);
      return { role: usage.role, share: used / seconds };
    });
    for (const { role, share } of shares) say(`  ${role}: ${percentText(share)}`);
    const values = shares.map(({ share }) => share);
    const row = atMost({ what: "idle, busiest process, of a core", target: 0.01, values, text: percentText });
    const busiest = Math.max(...values);
    return {
      rows: [{ ...row, measured: percentText(busiest), ratio: busiest === 0 ? 99 : 0.01 / busiest }],
      details: shares,
    };
  },
};
