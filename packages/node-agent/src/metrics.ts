/** The agent's metrics, read from its state when they are asked for. */
import { Counter, Gauge, Registry } from "prom-client";
import type { Agent } from "./agent.ts";

export function agentMetrics(agent: Agent): Registry {
  const registry = new Registry();
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  const { state } = agent;
  gauge("everycore_agent_slots", "Slots of this node", () => agent.slots);
  gauge(
    "everycore_agent_slots_busy",
    "Slots that run a slice",
    () => [...state.workers.values()].filter((worker) => worker.slices.length > 0).length,
  );
  gauge("everycore_agent_workers", "Worker processes, spares included", () => state.workers.size);
  gauge("everycore_agent_leases", "Leases held", () =>
    [...state.jobs.values()].reduce((sum, job) => sum + job.leases.size, 0),
  );
  gauge("everycore_agent_leases_accepted", "Leases accepted since the start", () => state.accepted);
  gauge(
    "everycore_agent_spool_bytes",
    "Bytes of outcomes that the log has not acknowledged",
    () => state.spoolBytes,
  );
  gauge("everycore_agent_state_bytes", "Bytes in the state directory", () => agent.disk.usedBytes);
  gauge(
    "everycore_agent_state_bytes_max",
    "Bytes that the state directory may hold; beyond it no slice starts",
    () => agent.disk.bytesMax,
  );
  gauge(
    "everycore_agent_records_published",
    "Commits, chunks and strikes acknowledged by the log",
    () => agent.publisher.published,
  );
  gauge(
    "everycore_agent_records_resent",
    "Publishes that were not answered and were sent again",
    () => agent.publisher.resends,
  );
  new Counter({
    name: "everycore_malformed_messages_total",
    help: "Messages that were refused as malformed",
    labelNames: ["plane"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [plane, count] of Object.entries(agent.malformed)) this.inc({ plane }, count);
    },
  });
  return registry;
}
