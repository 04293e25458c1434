/** A level as a row of text, for terminal and documents. */
import { percentile } from "../statistics.ts";
import type { Level } from "./level.ts";

export const header = [
  "agents",
  "items/s each",
  "slots busy %",
  "commits/s",
  "leases/s",
  "coordinator, cores",
  "ms CPU per agent and s",
  "coordinator MB",
  "waited %",
  "loop p99 ms",
  "nats, cores",
  "lease p50/p99 ms",
  "ack p50/p99 ms",
  "result p50/p99 ms",
  "agents, cores",
];

export function rowOf(level: Level): string[] {
  const { agents, rate, cpu } = level;
  return [
    String(agents),
    String(rate),
    (100 * level.busyShare).toFixed(1),
    level.commitsPerSecond.toFixed(0),
    level.leasesPerSecond.toFixed(1),
    cpu.coordinator.toFixed(3),
    ((1_000 * cpu.coordinator) / agents).toFixed(2),
    (level.memoryBytes.coordinator / 1e6).toFixed(0),
    (100 * level.waitedShare).toFixed(0),
    level.loopDelayMs.toFixed(0),
    cpu.nats.toFixed(3),
    both(level.leaseMs),
    both(level.ackMs),
    both(level.resultMs),
    cpu.agents.toFixed(2),
  ];
}

const both = (values: readonly number[]): string =>
  `${percentile(values, 0.5).toFixed(1)}/${percentile(values, 0.99).toFixed(1)}`;
