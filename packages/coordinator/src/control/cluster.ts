/** ClusterService: the state of the whole in one answer; standbys answer too. */
import { loadOf, nodeViews, waitingReasons } from "../core/index.ts";
import type { Coordinators } from "../coordinators.ts";
import { nodeInfo } from "./nodes.ts";
import type { Replication } from "@everycore/protocol";
import type { ControlParts } from "./parts.ts";
import type { Handlers, Message } from "./handlers.ts";
import { here, unary } from "./handlers.ts";

/** A standby asks the leader what only that knows, and waits no longer than a person would. */
const askMs = 1_500;

export interface ClusterFacts {
  readonly cluster: string;
  readonly version: string;
  readonly startedAt: number;
  readonly coordinators: Pick<Coordinators, "leader" | "all">;
  readonly replication: () => Promise<Replication>;
}

export function clusterHandlers(parts: ControlParts, facts: ClusterFacts): Handlers {
  const own = async (): Promise<Message> => {
    const { state, data, segments } = parts;
    const load = loadOf(state);
    const usage = segments.usage;
    return {
      cluster: facts.cluster,
      version: facts.version,
      leader: await facts.coordinators.leader(),
      // 0: the leader was not reached, and nothing of what follows is its word.
      epoch: state.leading ? state.epoch : 0,
      leading: state.leading,
      startedAt: facts.startedAt,
      natsUrl: data.nats.getServer(),
      natsVersion: data.nats.info?.version ?? "",
      nodes: nodeViews(state).map((view) => nodeInfo(parts, view)),
      jobsByState: load.jobs,
      storageBytes: usage.bytes,
      storageReserved: usage.reserved,
      storageLimit: usage.limit,
      segments: usage.count,
      queuedCoreMs: load.queuedMs,
      waiting: state.leading
        ? waitingReasons(state)
        : ["another coordinator to lead, or the takeover of this one"],
      coordinators: facts.coordinators.all,
      replication: await facts.replication(),
    };
  };
  return {
    Status: here(
      unary(async (request, _signal, leadersAnswer) => {
        const leaders = await leadersAnswer(request, askMs);
        if (leaders === undefined) return own();
        // The leader's view of the cluster, said by us.
        const { version, startedAt, coordinators } = facts;
        return { ...leaders, leading: false, version, startedAt, coordinators: coordinators.all };
      }),
    ),
  };
}
