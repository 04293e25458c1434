/** The coordinator's numbers for Prometheus. No job or node ids as labels: their number has no bound. */
import { Counter, Gauge, Registry, collectDefaultMetrics } from "prom-client";

export type Plane = "log" | "lease" | "fetch" | "link" | "rpc" | "leader" | "command";

export class Metrics {
  readonly registry = new Registry();
  readonly #malformed: Counter<"plane">;
  readonly #counters: Readonly<Record<"leases" | "records" | "commits" | "fetched" | "reconnects", Counter>>;
  readonly #handled: Counter<"method" | "code">;

  /** `gauges` are asked at each scrape. */
  constructor(version: string, gauges: Readonly<Record<string, () => number>>) {
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
    new Gauge({
      name: "everycore_build_info",
      help: "Always 1",
      labelNames: ["version"],
      registers,
    }).set({ version }, 1);
    for (const [name, read] of Object.entries(gauges)) {
      new Gauge({
        name: `everycore_${name}`,
        help: name.replaceAll("_", " "),
        registers,
        collect() {
          this.set(read());
        },
      });
    }
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
}
