/** The coordinator's highest memory while a job of 10,000,000 items runs to its end and its results are read. */
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { freshBundle, runColdJob } from "../cold-job.ts";
import { atMost, megabytesText as text } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { peakMemoryBytes, pidOf } from "../process-tree.ts";

export const coordinatorMemory: Figure = {
  name: "coordinator-memory",
  run: async ({ say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 1, say, signal });
    const { cluster } = local;
    const pid = pidOf("coordinator");
    const atStart = peakMemoryBytes(pid);
    const bundle = await freshBundle();
    const { seconds, cpu } = await runColdJob({ cluster, bundle, export: "nothing", items: 10_000_000 });
    const peak = peakMemoryBytes(pid);
    say(`  ${text(atStart)} at the start, ${text(peak)} at most, ${seconds.toFixed(1)} s`);
    return {
      rows: [
        atMost({ what: "coordinator's memory at 10,000,000 items", target: 250e6, values: [peak], text }),
      ],
      details: { atStart, peak, seconds, cpu },
    };
  },
};
