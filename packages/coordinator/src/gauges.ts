/** What metrics ask the running coordinator for. */
import type { ClusterState } from "./core/index.ts";

interface Gauge {
  readonly help: string;
  readonly read: () => number;
}

export const gaugesOf = (of: {
  readonly state: () => ClusterState;
  readonly agents: () => number;
  readonly backlog: () => number;
  readonly forwarded: () => number;
  readonly readers: () => number;
}): Readonly<Record<string, Gauge>> => ({
  leading: { help: "1 while this coordinator leads", read: () => (of.state().leading ? 1 : 0) },
  epoch: { help: "Epoch of this leader's term", read: () => of.state().epoch },
  jobs_active: { help: "Jobs that have not ended", read: () => of.state().active.size },
  agents: { help: "Agents linked to this coordinator", read: of.agents },
  events_waiting: { help: "Events that the core has not taken yet", read: of.backlog },
  calls_forwarded: { help: "Calls that are being passed on to the leader", read: of.forwarded },
  job_readers: { help: "Jobs whose results are being read here", read: of.readers },
});
