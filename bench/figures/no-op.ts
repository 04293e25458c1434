/** 1,000,000 items that do nothing: what everycore itself costs per item. */
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { freshBundle, runColdJob } from "../cold-job.ts";
import { atMost } from "../figure.ts";
import type { Figure } from "../figure.ts";

const items = 1_000_000;
const text = (micros: number): string => `${micros.toFixed(2)} us`;

export const noOp: Figure = {
  name: "no-op",
  run: async ({ repeat, say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 1, say, signal });
    const { cluster } = local;
    const runs: { seconds: number; cpu: Readonly<Record<string, number>>; clientCpuSeconds: number }[] = [];
    for (let turn = 0; turn < repeat; turn += 1) {
      signal.throwIfAborted();
      const bundle = await freshBundle();
      const { seconds, cpu, clientCpuSeconds } = await runColdJob({
        cluster,
        bundle,
        export: "nothing",
        items,
      });
      runs.push({ seconds, cpu, clientCpuSeconds });
      say(`  ${turn + 1}/${repeat}: ${seconds.toFixed(2)} s`);
    }
    const values = runs.map(({ seconds }) => (seconds * 1e6) / items);
    return {
      rows: [atMost({ what: "no-op items, js, range of 1,000,000, per item", target: 6, values, text })],
      details: runs,
    };
  },
};
