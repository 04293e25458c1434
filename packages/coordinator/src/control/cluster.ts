/** ClusterService: the state of the whole in one answer; standbys answer too. */
import { loadOf, nodeViews, waitingReasons } from "../core/index.ts";
import { nodeInfo } from "./nodes.ts";
import type { ControlParts } from "./parts.ts";
import type { Handlers } from "./server.ts";
import { unary } from "./server.ts";

export interface ClusterFacts {
  readonly cluster: string;
  readonly version: string;
  readonly startedAt: number;
  readonly leader: () => Promise<string>;
}

export function clusterHandlers(parts: ControlParts, facts: ClusterFacts): Handlers {
  return {
    status: unary(async () => {
      const { state, data, segments } = parts;
      const load = loadOf(state);
      const usage = segments.usage;
      return {
        cluster: facts.cluster,
        version: facts.version,
        leader: await facts.leader(),
        epoch: state.epoch,
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
      };
    }),
  };
}
