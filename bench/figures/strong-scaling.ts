/**
 * The same job on 1, 2, 4 and 8 nodes: containers from our own images, one slot and a fifth of a core each, so that
 * the cores of this machine are not what limits them. An item is 20 ms of CPU, which is 100 ms with a fifth of a core.
 */
import type { ContainerCluster } from "../../test/containers/support/cluster.ts";
import { roundsPerMs } from "../calibrate.ts";
import { freshBundle, runColdJob } from "../cold-job.ts";
import { atLeast, percentText } from "../figure.ts";
import type { Figure, FigureContext } from "../figure.ts";
import { median } from "../statistics.ts";

const nodeCounts = [1, 2, 4, 8];
const share = 0.2;
const itemCpuMs = 20;
const items = 320;
/** Of each node, before the clock runs: its worker is started, its code compiled. */
const warmUpItems = 15;

export const strongScaling: Figure = {
  name: "strong-scaling",
  run: async (context) => {
    const { say } = context;
    // Only here: nothing else in the bench needs an engine.
    const { docker } = await import("../../test/containers/support/images.ts");
    // By their ids, as the container tests do: a name would be looked for in a registry.
    const idOf = (name: string): Promise<string> =>
      docker("image", "inspect", "--format", "{{.Id}}", name).catch(() => "");
    const coordinator = await idOf("everycore/coordinator");
    const agent = await idOf("everycore/agent");
    if (coordinator === "" || agent === "") {
      say("  no container engine with our images here (see deploy/): it is left out");
      return { rows: [], details: "left out" };
    }
    const images = { coordinator, agent };
    // Its sweeper is an image more, which not every machine can fetch; the cluster removes what it has started.
    process.env["TESTCONTAINERS_RYUK_DISABLED"] ??= "true";
    const { startContainerCluster } = await import("../../test/containers/support/cluster.ts");
    await using cluster = await startContainerCluster(images, { agents: 0, slots: 1 });
    const seconds = new Map<number, number[]>();
    for (const nodes of nodeCounts) {
      while (cluster.agents.length < nodes) {
        const added = await cluster.addAgent({ slots: 1 });
        await cluster.reaches(added, "connected");
        await docker("update", "--cpus", String(share), added.name);
      }
      seconds.set(nodes, await measure(context, cluster, nodes));
    }
    const alone = median(seconds.get(1)!);
    const most = nodeCounts.at(-1)!;
    const values = seconds.get(most)!.map((value) => alone / (most * value));
    const what = `100 ms items on ${most} nodes of a fifth of a core, share of ${most} x one node`;
    return {
      rows: [atLeast({ what, target: 0.9, values, text: percentText })],
      details: { items, itemCpuMs, share, seconds: Object.fromEntries(seconds) },
    };
  },
};

async function measure(
  { repeat, say, signal }: FigureContext,
  { client: cluster }: ContainerCluster,
  nodes: number,
): Promise<number[]> {
  const rounds = Math.round(roundsPerMs() * itemCpuMs);
  const run = async (count: number): Promise<number> => {
    const list = Array.from({ length: count }, () => rounds);
    const { seconds } = await runColdJob({
      cluster,
      bundle: await freshBundle(),
      export: "spin",
      items: list,
    });
    return seconds;
  };
  await run(warmUpItems * nodes);
  const measured: number[] = [];
  for (let turn = 0; turn < Math.min(repeat, 3); turn += 1) {
    signal.throwIfAborted();
    measured.push(await run(items));
  }
  const ofTheirs = (items * itemCpuMs) / 1_000 / share / nodes / median(measured);
  say(`  ${nodes} nodes: ${median(measured).toFixed(2)} s, ${percentText(ofTheirs)} of their cores' shares`);
  return measured;
}
