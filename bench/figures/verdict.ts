/** An item whose worker dies: from its second crash, which it tells of itself, to the outcome that blames it. */
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newRequestId } from "@everycore/client/internal";
import type { Bundle, Connection } from "@everycore/client/internal";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { freshBundle, specOf } from "../cold-job.ts";
import { atMost, msText } from "../figure.ts";
import type { Figure } from "../figure.ts";

const jobs = 10;

export const verdict: Figure = {
  name: "verdict",
  run: async ({ say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 2, say, signal });
    const bundle = await freshBundle();
    await local.cluster.putBundle(bundle);
    const folder = await mkdtemp(join(tmpdir(), "everycore-bench-"));
    const values: number[] = [];
    try {
      for (let at = 0; at < jobs; at += 1) {
        signal.throwIfAborted();
        values.push(await measureOne(local.cluster, bundle, join(folder, `crashes-${at}`)));
        say(`  ${at + 1}/${jobs}: ${msText(values.at(-1)!)}`);
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    const what = "second crash of an item to its verdict, 2 nodes";
    return { rows: [atMost({ what, target: 2_000, values, text: msText })], details: values };
  },
};

async function measureOne(cluster: Connection, bundle: Bundle, file: string): Promise<number> {
  writeFileSync(file, "");
  const submission = cluster.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, "crash", "json"),
    items: one(Buffer.from(JSON.stringify(file))),
  });
  const job = await submission.accepted;
  for await (const outcome of cluster.results(job)) {
    if (outcome.isValue) throw new Error("the item was to crash");
  }
  const endedAt = performance.timeOrigin + performance.now();
  const crashes = readFileSync(file, "utf8").split("\n").filter(Boolean).map(Number);
  if (crashes.length !== 2) throw new Error(`the item crashed ${crashes.length} times, not twice`);
  await cluster.deleteJob(job);
  return endedAt - crashes[1]!;
}

async function* one(item: Uint8Array): AsyncGenerator<Uint8Array[]> {
  yield [item];
}
