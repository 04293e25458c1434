/**
 * Probes: stored jobs of one item that takes no time, one after the other while the cluster is at work. Client and
 * agents share a machine, so the times of one can be held against those of the other.
 */
import { setTimeout as delay } from "node:timers/promises";
import { newRequestId } from "@everycore/client/internal";
import type { Connection } from "@everycore/client/internal";
import type { JobId, JobSpec } from "@everycore/protocol";
import { times } from "@everycore/protocol";
import type { ProbeTimes } from "./recorder.ts";
import { wallMs } from "./recorder.ts";

const everyMs = 250;

export interface Probe {
  readonly job: string;
  readonly submittedAt: number;
  readonly resultAt: number;
}

/** A job of `items` items that sleep. `exec` needs no code: nobody starts a program. */
export const sleepingJob = (name: string, items: number, sleepMs: number): JobSpec => ({
  name,
  task: {
    runtime: "exec",
    argv: ["sleep", String(sleepMs)],
    seed: "0000000000000001",
    rangeStart: 0,
    retries: 0,
  },
  codec: "range",
  rangeItems: items,
  priority: 0,
  strict: false,
  ttlMs: times.jobTtlMs,
});

export async function probe(cluster: Connection, signal: AbortSignal): Promise<Probe[]> {
  const probes: Probe[] = [];
  while (!signal.aborted) {
    const submittedAt = wallMs();
    const submission = cluster.submit({
      requestId: newRequestId(),
      spec: sleepingJob("probe", 1, 0),
    });
    const job = await submission.accepted;
    for await (const outcome of cluster.results(job)) outcome.value();
    probes.push({ job, submittedAt, resultAt: wallMs() });
    await submission.closed;
    await cluster.deleteJob(job);
    await delay(everyMs, undefined, { signal }).catch(() => {}); // aborted: the loop's condition ends it
  }
  return probes;
}

export interface ProbeMs {
  /** Submit (record and all) to the lease at an agent. */
  readonly leaseMs: readonly number[];
  /** Published by the agent to the result at the client: fold, read, delivery. */
  readonly resultMs: readonly number[];
  /** Submit to result. */
  readonly wholeMs: readonly number[];
}

export function probeMs(probes: readonly Probe[], seen: ReadonlyMap<JobId, ProbeTimes>): ProbeMs {
  const pairs = probes.flatMap((probe) => {
    const agent = seen.get(probe.job as JobId); // an id of the cluster's own
    return agent === undefined || Number.isNaN(agent.publishedAt) ? [] : [{ probe, agent }];
  });
  return {
    leaseMs: pairs.map(({ probe, agent }) => agent.leasedAt - probe.submittedAt),
    resultMs: pairs.map(({ probe, agent }) => probe.resultAt - agent.publishedAt),
    wholeMs: probes.map(({ submittedAt, resultAt }) => resultAt - submittedAt),
  };
}
