/**
 * kill -9 of the leader with two coordinators standing by: from the kill to the first result of a job that is submitted
 * in that moment to one of the two. The new leader's first lease lies just before it.
 */
import { Connection, newRequestId } from "@everycore/client/internal";
import type { Bundle } from "@everycore/client/internal";
import { freshBundle, specOf } from "../cold-job.ts";
import { atMost, msText } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { startStandbyCluster } from "../standby-cluster.ts";
import { percentile } from "../statistics.ts";

const turns = 20;

export const failover: Figure = {
  name: "failover",
  run: async ({ say, signal }) => {
    await using cluster = await startStandbyCluster(signal);
    const values: number[] = [];
    const bundle = await freshBundle();
    for (let turn = 0; turn < turns; turn += 1) {
      signal.throwIfAborted();
      const { leader, others } = await cluster.settled();
      await using client = new Connection({
        address: others[turn % 2]!.ready.address,
        secret: cluster.secret,
      });
      await client.putBundle(bundle);
      values.push(await measureOne(client, bundle, () => cluster.kill(leader)));
      say(`  ${turn + 1}/${turns}: ${msText(values.at(-1)!)}`);
      await cluster.replace();
    }
    const what = "kill -9 of the leader to the first result of a new job, two stand by";
    const slow = percentile(values, 0.99);
    return {
      turns,
      rows: [
        atMost({ what: `${what}, p50`, target: 4_000, values, text: msText }),
        { what: `${what}, p99`, target: "", measured: msText(slow), ratio: Number.NaN, spread: "" },
      ],
      details: values,
    };
  },
};

async function measureOne(client: Connection, bundle: Bundle, kill: () => void): Promise<number> {
  const killedAt = performance.now();
  kill();
  const submission = client.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, "nothing", 1),
  });
  let ms = Number.NaN;
  for await (const outcome of client.results(await submission.accepted)) {
    outcome.value(); // throws if it failed
    ms = performance.now() - killedAt;
  }
  return ms;
}
