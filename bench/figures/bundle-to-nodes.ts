/** A bundle of 50 MB to three nodes that do not have it: from its upload until an item has run on each of them. */
import { randomBytes } from "node:crypto";
import { bundleJs, makeBundle, newRequestId } from "@everycore/client/internal";
import type { Bundle, Connection } from "@everycore/client/internal";
import { decode } from "@everycore/protocol";
import { fileURLToPath } from "node:url";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { atMost } from "../figure.ts";
import type { Figure } from "../figure.ts";

const nodes = 3;
const MB = 1024 * 1024;
const tasks = fileURLToPath(new URL("../tasks.ts", import.meta.url));

/** Random bytes: nothing on the way can make them less. */
async function bigBundle(): Promise<Bundle> {
  const { bytes, entry } = await bundleJs(tasks);
  const { files } = decode(bytes) as { files: Record<string, Uint8Array> }; // we have just made it
  return makeBundle(new Map([...Object.entries(files), ["ballast.bin", randomBytes(50 * MB)]]), entry);
}

/** Ends the job once every node has run an item of it. */
async function reachAll(cluster: Connection, bundle: Bundle): Promise<number> {
  const startedAt = performance.now();
  await cluster.putBundle(bundle);
  const submission = cluster.submit({
    requestId: newRequestId(),
    detached: true,
    spec: {
      name: "bundle to nodes",
      task: {
        runtime: "js",
        bundle: bundle.digest,
        entry: bundle.entry,
        export: "spin",
        seed: "0000000000000001",
        rangeStart: 0,
        retries: 0,
      },
      codec: "range",
      rangeItems: 100_000,
      priority: 0,
      strict: false,
      ttlMs: 600_000,
    },
  });
  const id = await submission.accepted;
  for await (const _ of cluster.results(id, { unordered: true }).lists()) {
    const { usage } = await cluster.getJob(id);
    if (usage.filter(({ slots }) => slots.some(({ items }) => items > 0)).length === nodes) break;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  await cluster.cancelJob(id, "measured");
  await cluster.waitJob(id);
  return seconds;
}

export const bundleToNodes: Figure = {
  name: "bundle-to-nodes",
  run: async ({ repeat, say, signal }) => {
    await using local = await startTemporaryCluster({ agents: nodes, slots: nodes, say, signal });
    const seconds: number[] = [];
    for (let turn = 0; turn < repeat; turn += 1) {
      signal.throwIfAborted();
      seconds.push(await reachAll(local.cluster, await bigBundle()));
      say(`  ${turn + 1}/${repeat}: ${seconds.at(-1)!.toFixed(2)} s`);
    }
    const text = (value: number): string => `${value.toFixed(2)} s`;
    const what = "a bundle of 50 MB, from upload to an item run on each of 3 nodes";
    return { rows: [atMost({ what, target: 3, values: seconds, text })], details: seconds };
  },
};
