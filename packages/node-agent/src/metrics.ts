/** The agent's numbers for Prometheus, read from its state when they are asked for: docs/guides/operations.md. */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";
import type { Agent } from "./agent.ts";
import type { SliceTracing } from "./tracing.ts";

/** The event loop is looked at by a timer of its own; an idle agent should hardly wake. */
const eventLoopLookMs = 100;

type Numbers = readonly (readonly [name: string, help: string, read: () => number])[];

const ackSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30, 120];

export function agentMetrics(agent: Agent, tracing: SliceTracing): Registry {
  const registry = new Registry();
  collectDefaultMetrics({
    register: registry,
    prefix: "everycore_agent_",
    eventLoopMonitoringPrecision: eventLoopLookMs,
  });
  registerGauges(registry, gaugesOf(agent));
  registerCounters(registry, agent, tracing);
  const ack = new Histogram({
    name: "everycore_agent_record_ack_seconds",
    help: "From publishing a commit, chunk or strike to the log's acknowledgement, resends included",
    buckets: ackSeconds,
    registers: [registry],
  });
  agent.publisher.onAcknowledged = (afterMs) => ack.observe(afterMs / 1_000);
  return registry;
}

function gaugesOf(agent: Agent): Numbers {
  const { state, disk } = agent;
  const busy = (): number => [...state.workers.values()].filter((worker) => worker.slices.length > 0).length;
  const leases = (): number => [...state.jobs.values()].reduce((sum, job) => sum + job.leases.size, 0);
  return [
    ["everycore_agent_slots", "Slots of this node", () => agent.slots],
    ["everycore_agent_slots_busy", "Slots that run a slice", busy],
    ["everycore_agent_workers", "Worker processes, spares included", () => state.workers.size],
    ["everycore_agent_leases", "Leases held", leases],
    [
      "everycore_agent_spool_bytes",
      "Bytes of outcomes that the log has not acknowledged",
      () => state.spoolBytes,
    ],
    ["everycore_agent_state_bytes", "Bytes in the state directory", () => disk.usedBytes],
    [
      "everycore_agent_state_max_bytes",
      "Bytes that the state directory may hold; beyond it no slice starts",
      () => disk.bytesMax,
    ],
  ];
}

function registerGauges(registry: Registry, gauges: Numbers): void {
  for (const [name, help, read] of gauges) {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  }
}

function registerCounters(registry: Registry, agent: Agent, tracing: SliceTracing): void {
  const counters: Numbers = [
    ["everycore_agent_leases_accepted_total", "Leases accepted", () => agent.state.accepted],
    [
      "everycore_agent_bundles_fetched_total",
      "Bundles fetched: each once, however many of its jobs run here",
      () => agent.fetched.bundles,
    ],
    [
      "everycore_agent_fetched_bytes_total",
      "Bytes of bundles, input blocks and partials that were fetched",
      () => agent.fetched.bytes,
    ],
    [
      "everycore_agent_records_published_total",
      "Commits, chunks and strikes acknowledged by the log",
      () => agent.publisher.published,
    ],
    [
      "everycore_agent_records_resent_total",
      "Publishes that were not answered and were sent again",
      () => agent.publisher.resends,
    ],
  ];
  for (const [name, help, read] of counters) {
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  }
  labelled(registry, {
    name: "everycore_malformed_messages_total",
    help: "Messages that were refused as malformed",
    label: "plane",
    read: () => ({ ...agent.malformed }),
  });
  labelled(registry, {
    name: "everycore_agent_trace_spans_total",
    help: "Spans for the collector of traces, by what became of them",
    label: "state",
    read: () => ({ ...tracing.counts }),
  });
}

function labelled(
  registry: Registry,
  {
    name,
    help,
    label,
    read,
  }: { name: string; help: string; label: string; read: () => Readonly<Record<string, number>> },
): void {
  new Counter({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      this.reset();
      for (const [value, count] of Object.entries(read())) this.inc({ [label]: value }, count);
    },
  });
}
