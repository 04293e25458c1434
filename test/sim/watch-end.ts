/** What must hold when all jobs are over and all that was said has arrived. */
import type { ClusterState } from "@everycore/coordinator/core";
import type { SimAgent } from "./agent.ts";
import { must } from "./breach.ts";
import type { Store } from "./store.ts";

/** Publishes what a former agent left, connects, is heard of: an agent that started just now is not known yet. */
const startMs = 10_000;

export function judgeEnd(
  agents: readonly SimAgent[],
  leader: ClusterState | undefined,
  { store, now }: { store: Store; now: number },
): void {
  for (const agent of agents) {
    agent.check();
    judgeAgent(agent, leader, now);
  }
  judgeNodeRecords(leader, store);
}

/** Who works is known to its leader (P5), and nobody keeps anything (P7). */
function judgeAgent(agent: SimAgent, leader: ClusterState | undefined, now: number): void {
  const node = leader?.nodes.get(agent.node);
  const isUsable = agent.isUp && now - agent.upSince > startMs && !agent.isDrained && !agent.isPaused;
  const isKnown = !isUsable || leader === undefined || node?.state === "connected";
  must(isKnown, "P5", () => `agent ${agent.node} works, and its leader says ${node?.state}: ${node?.reason}`);
  const [kept] = agent.core?.jobs.values() ?? [];
  const told = (): string => `still keeps job ${kept?.id} with ${kept?.leases.size} leases`;
  must(kept === undefined, "P7", () => `agent ${agent.node} ${told()}`);
}

/** EC_NODES: whom the next leader would wait for (P3), and whom it would not trust (P4). */
function judgeNodeRecords(leader: ClusterState | undefined, store: Store): void {
  for (const { id, state, standing } of leader?.nodes.values() ?? []) {
    const record = store.nodes.get(id)?.record;
    const isKnown = record !== undefined && !record.isGone;
    must(isKnown === (state !== "drained"), "P3", () => `node ${id} is ${state}; in its record: ${isKnown}`);
    const isTrusted = record?.standing?.quarantine === undefined;
    const isSame = isTrusted === (standing.quarantine === undefined);
    must(isSame, "P4", () => `node ${id} is ${standing.state}, and its record says that it is not`);
  }
}
