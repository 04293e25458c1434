/** One measurement: so many agents, so many items per second each, on a cluster of its own. */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { newRequestId } from "@everycore/client/internal";
import type { Connection } from "@everycore/client/internal";
import { limits } from "@everycore/protocol";
import type { BareCluster } from "./cluster.ts";
import { startBareCluster } from "./cluster.ts";
import { startFleet } from "./fleet.ts";
import type { Fleet } from "./fleet.ts";
import { probe, probeMs, sleepingJob } from "./probes.ts";
import type { ProbeMs } from "./probes.ts";
import { pidOf, takeSnapshot, usageBetween } from "../process-tree.ts";

export interface LevelOptions {
  readonly agents: number;
  /** Items per second and agent. */
  readonly rate: number;
  readonly jobs: number;
  /** Before the clock runs, s: first leases are large guesses, and the steady state begins once they are used up. */
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly profileDir: string | undefined;
  readonly signal: AbortSignal;
}

export interface Level extends ProbeMs {
  readonly agents: number;
  readonly rate: number;
  readonly jobs: number;
  /** From the first hello until all are linked, s. */
  readonly linkSeconds: number;
  readonly seconds: number;
  /** Share of the agents' time that their items slept: 1 is a cluster whose slots never waited. */
  readonly busyShare: number;
  readonly itemsPerSecond: number;
  readonly commitsPerSecond: number;
  readonly leasesPerSecond: number;
  /** Shares of a core. */
  readonly cpu: { readonly coordinator: number; readonly nats: number; readonly agents: number };
  readonly memoryBytes: { readonly coordinator: number; readonly nats: number };
  /**
   * Share of the time in which the coordinator's main thread could have run and had no core, by the kernel's count:
   * where it is high, the machine was busy with something else, and times say more about that than about us.
   */
  readonly waitedShare: number;
  /** 99th percentile of the delay of the coordinator's event loop, ms. */
  readonly loopDelayMs: number;
  readonly ackMs: readonly number[];
  readonly resends: number;
  readonly gaveBack: number;
  readonly brokenLinks: number;
}

/** Work behind the end of the measurement, s: the taper towards a job's end is no part of it. */
const spareSeconds = (2 * limits.leaseAheadMs) / 1_000 + 5;

export async function measureLevel(options: LevelOptions): Promise<Level> {
  const { agents, rate, jobs, warmUpSeconds, signal } = options;
  await using local = await startBareCluster(options);
  const { cluster, address, secret } = local;
  const startedAt = performance.now();
  await using fleet = await startFleet({ address, secret, agents });
  const linkSeconds = (performance.now() - startedAt) / 1_000;
  const items = Math.ceil((agents * rate * (warmUpSeconds + options.seconds + spareSeconds)) / jobs);
  await Promise.all(Array.from({ length: jobs }, () => submit(cluster, items, 1_000 / rate)));
  await delay(warmUpSeconds * 1_000, undefined, { signal });
  const measured = await watch(options, local, fleet);
  return { agents, rate, jobs, linkSeconds, ...measured };
}

async function submit(cluster: Connection, items: number, sleepMs: number): Promise<void> {
  const spec = sleepingJob("sleepers", items, sleepMs);
  const submission = cluster.submit({ requestId: newRequestId(), spec });
  await submission.accepted;
  await submission.closed;
}

async function watch(
  options: LevelOptions,
  local: BareCluster,
  fleet: Fleet,
): Promise<Omit<Level, "agents" | "rate" | "jobs" | "linkSeconds">> {
  const { agents, signal } = options;
  await loopDelayMs(local.http); // begins anew with each reading
  const reportBefore = await fleet.report();
  const before = takeSnapshot();
  const waitedBefore = waitedSeconds(pidOf("coordinator"));
  const startedAt = performance.now();
  const probing = new AbortController();
  const probes = probe(local.cluster, probing.signal);
  probes.catch(() => {}); // awaited below: until then a failure must not end the process
  await delay(options.seconds * 1_000, undefined, { signal });
  const report = await fleet.report();
  const seconds = (performance.now() - startedAt) / 1_000;
  const used = usageBetween(before, takeSnapshot());
  const waited = waitedSeconds(pidOf("coordinator")) - waitedBefore;
  const delayMs = await loopDelayMs(local.http);
  const memoryBytes = {
    coordinator: residentBytes(pidOf("coordinator")),
    nats: residentBytes(pidOf("nats-server")),
  };
  probing.abort();
  const sent = await probes;
  const late = await fleet.report(); // of the probe that was under way
  return {
    ...probeMs(sent, new Map([...report.probes, ...late.probes])),
    seconds,
    busyShare: (report.busyMs - reportBefore.busyMs) / 1_000 / seconds / agents,
    itemsPerSecond: (report.items - reportBefore.items) / seconds,
    commitsPerSecond: report.commits / seconds,
    leasesPerSecond: report.leases / seconds,
    cpu: {
      coordinator: (used["coordinator"] ?? 0) / seconds,
      nats: (used["nats-server"] ?? 0) / seconds,
      agents: (used["other"] ?? 0) / seconds,
    },
    memoryBytes,
    waitedShare: waited / seconds,
    loopDelayMs: delayMs,
    ackMs: report.ackMs,
    resends: report.resends,
    gaveBack: report.gaveBack,
    brokenLinks: report.brokenLinks,
  };
}

async function loopDelayMs(http: string): Promise<number> {
  const text = await (await fetch(`http://${http}/metrics`)).text();
  const value = /^everycore_coordinator_nodejs_eventloop_lag_p99_seconds (\S+)/m.exec(text)?.[1];
  return Number(value) * 1_000;
}

const residentBytes = (pid: number): number =>
  Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;

/** Second field of schedstat: ns on a run queue. */
const waitedSeconds = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[1]) / 1e9;
