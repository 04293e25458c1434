/**
 * The coordinator's numbers for Prometheus: base units, `_total` for what only grows. No job or node ids as labels:
 * their number has no bound (P7). docs/guides/operations.md says what each one is for; a test compares the two.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";
import type { ClusterState } from "./core/index.ts";
import { loadOf } from "./core/index.ts";
import type { SpanCounts } from "@everycore/protocol/tracing";

export type Plane = "log" | "lease" | "fetch" | "link" | "rpc" | "leader" | "coordinator" | "command";

/** Asked at each scrape. */
export interface MetricsSources {
  readonly version: string;
  readonly state: () => ClusterState;
  readonly storage: () => { bytes: number; reserved: number; limit: number; count: number };
  readonly spans: () => Readonly<SpanCounts>;
  readonly gauges: Readonly<Record<string, { readonly help: string; readonly read: () => number }>>;
}

const latencySeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export class Metrics {
  readonly registry = new Registry();
  readonly #malformed: Counter<"plane">;
  readonly #counters: Readonly<Record<"leases" | "records" | "commits" | "fetched" | "reconnects", Counter>>;
  readonly #handled: Counter<"method" | "code">;
  readonly #leaseAck: Histogram;

  constructor(sources: MetricsSources) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry, prefix: "everycore_coordinator_" });
    const counter = (name: string, help: string): Counter => new Counter({ name, help, registers });
    this.#counters = {
      leases: counter("everycore_leases_sent_total", "Lease messages sent to agents"),
      records: counter("everycore_log_records_total", "Log records taken from segments"),
      commits: counter("everycore_commits_folded_total", "Commits folded"),
      fetched: counter("everycore_fetch_bytes_total", "Bytes that agents fetched"),
      reconnects: counter("everycore_nats_reconnects_total", "Reconnects to NATS"),
    };
    this.#malformed = new Counter({
      name: "everycore_malformed_messages_total",
      help: "Messages that were refused as malformed or forged",
      labelNames: ["plane"],
      registers,
    });
    this.#handled = new Counter({
      name: "everycore_grpc_server_handled_total",
      help: "RPCs ended",
      labelNames: ["method", "code"],
      registers,
    });
    this.#leaseAck = new Histogram({
      name: "everycore_lease_ack_seconds",
      help: "From sending a lease to its agent's answer",
      buckets: latencySeconds,
      registers,
    });
    new Gauge({
      name: "everycore_build_info",
      help: "Always 1",
      labelNames: ["version"],
      registers,
    }).set({ version: sources.version }, 1);
    for (const [name, { help, read }] of Object.entries(sources.gauges)) {
      gauge(this.registry, { name: `everycore_${name}`, help, read });
    }
    registerLoad(this.registry, sources.state);
    registerTotals(this.registry, sources.state);
    registerStorage(this.registry, sources.storage);
    counters(this.registry, {
      name: "everycore_trace_spans_total",
      help: "Spans for the collector of traces, by what became of them",
      label: "state",
      read: () => ({ ...sources.spans() }),
    });
  }

  count(what: "leases" | "records" | "commits" | "fetched" | "reconnects", by = 1): void {
    this.#counters[what].inc(by);
  }

  malformed(plane: Plane): void {
    this.#malformed.inc({ plane });
  }

  handled(method: string, code: string): void {
    this.#handled.inc({ method, code });
  }

  leaseAnswered(afterMs: number): void {
    this.#leaseAck.observe(afterMs / 1_000);
  }
}

interface Described {
  readonly name: string;
  readonly help: string;
}
type ByLabel = Described & { readonly label: string; readonly read: () => Readonly<Record<string, number>> };

function gauge(registry: Registry, { name, help, read }: Described & { readonly read: () => number }): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}

/** With one label, whose values come from a record. */
function gauges(registry: Registry, { name, help, label, read }: ByLabel): void {
  new Gauge({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      this.reset();
      for (const [value, number] of Object.entries(read())) this.set({ [label]: value }, number);
    },
  });
}

function counters(registry: Registry, { name, help, label, read }: ByLabel): void {
  new Counter({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      this.reset();
      for (const [value, number] of Object.entries(read())) this.inc({ [label]: value }, number);
    },
  });
}

/** What is there to do, and who does it. */
function registerLoad(registry: Registry, state: () => ClusterState): void {
  const load = oncePerTurn(() => loadOf(state()));
  gauge(registry, {
    name: "everycore_queue_core_seconds",
    help: "Work queued or leased, by the costs learned so far, in seconds of one core",
    read: () => (load().queuedMs + load().leasedMs) / 1_000,
  });
  gauge(registry, {
    name: "everycore_queue_unknown_items",
    help: "Items queued or leased whose cost is not known yet",
    read: () => load().unknownItems,
  });
  gauges(registry, {
    name: "everycore_items",
    help: "Items of active jobs that have no outcome: queued, or leased to a node",
    label: "state",
    read: () => ({ ...load().items }),
  });
  gauges(registry, {
    name: "everycore_jobs",
    help: "Jobs by state",
    label: "state",
    read: () => load().jobs,
  });
  gauges(registry, {
    name: "everycore_nodes",
    help: "Nodes by state",
    label: "state",
    read: () => load().nodes,
  });
  gauges(registry, {
    name: "everycore_slots",
    help: "Slots of connected nodes: busy or idle",
    label: "state",
    read: () => ({ ...load().slots }),
  });
}

/** A scrape asks for several numbers of one walk through jobs and nodes. */
function oncePerTurn<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined;
  return () => {
    if (made === undefined) {
      made = { value: make() };
      setImmediate(() => (made = undefined));
    }
    return made.value;
  };
}

/** Sums of the core as counters: they start anew with each term, as a counter of a restarted process does. */
function registerTotals(registry: Registry, state: () => ClusterState): void {
  counters(registry, {
    name: "everycore_outcomes_total",
    help: "Items that ended, by outcome",
    label: "status",
    read: () => ({ ...state().totals.outcomes }),
  });
  counters(registry, {
    name: "everycore_outcomes_dropped_total",
    help: "Outcomes that did not count, by reason: another one was first, or the lease was not valid",
    label: "reason",
    read: () => state().totals.dropped,
  });
  counters(registry, {
    name: "everycore_strikes_total",
    help: "Items that a death touched, by cause",
    label: "cause",
    read: () => state().totals.strikes,
  });
  counters(registry, {
    name: "everycore_spot_checks_total",
    help: "Items that audits have computed again on another node, by what came of it",
    label: "result",
    read: () => state().totals.checks,
  });
  new Counter({
    name: "everycore_quarantines_total",
    help: "Nodes quarantined: items that crashed there ended well on others",
    registers: [registry],
    collect() {
      this.reset();
      this.inc(state().totals.quarantines);
    },
  });
  new Counter({
    name: "everycore_retries_total",
    help: "Items tried again after an error",
    registers: [registry],
    collect() {
      this.reset();
      this.inc(state().totals.retries);
    },
  });
}

function registerStorage(registry: Registry, storage: MetricsSources["storage"]): void {
  const sizes: readonly [string, string, "bytes" | "reserved" | "limit" | "count"][] = [
    ["everycore_log_bytes", "Bytes in the logs of jobs", "bytes"],
    ["everycore_log_reserved_bytes", "Bytes reserved for the logs of jobs", "reserved"],
    ["everycore_log_limit_bytes", "Bytes that the logs of jobs may reserve in all", "limit"],
    ["everycore_log_segments", "Log segments", "count"],
  ];
  for (const [name, help, field] of sizes) gauge(registry, { name, help, read: () => storage()[field] });
}
