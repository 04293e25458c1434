/** From the submit of 1,000,000 items to the first result: as a range, and as items that travel. */
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { freshBundle, runColdJob } from "../cold-job.ts";
import { atMost, msText } from "../figure.ts";
import type { Figure } from "../figure.ts";

const count = 1_000_000;

export const firstResult: Figure = {
  name: "first-result",
  run: async ({ repeat, say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 1, say, signal });
    const { cluster } = local;
    const list = Array.from({ length: count }, (_, index) => index);
    const measured: { range: number[]; items: number[] } = { range: [], items: [] };
    for (let turn = 0; turn < repeat; turn += 1) {
      for (const [kind, items] of [
        ["range", count],
        ["items", list],
      ] as const) {
        signal.throwIfAborted();
        const bundle = await freshBundle();
        const run = await runColdJob({ cluster, bundle, export: "nothing", items, isEnough: () => true });
        measured[kind].push(run.firstSeconds * 1000);
      }
      say(`  ${turn + 1}/${repeat}: ${msText(measured.range.at(-1)!)}, ${msText(measured.items.at(-1)!)}`);
    }
    const what = "submit of 1,000,000 to first result";
    return {
      rows: [
        atMost({ what: `${what}, a range`, target: 300, values: measured.range, text: msText }),
        atMost({ what: `${what}, JSON lines`, target: 300, values: measured.items, text: msText }),
      ],
      details: measured,
    };
  },
};
