/** What the simulated agents of one process have seen: counts and times, handed to the bench and begun anew. */
import type { CommitRecord, JobId, LeaseMessage } from "@everycore/protocol";

/** Wall clock with the resolution of performance.now(): comparable between the processes of one machine. */
export const wallMs = (): number => performance.timeOrigin + performance.now();

/** Times of a probe (a job whose items sleep 0 ms), ms since epoch. */
export interface ProbeTimes {
  leasedAt: number;
  publishedAt: number;
  acknowledgedAt: number;
}

export interface AgentReport {
  readonly leases: number;
  readonly commits: number;
  readonly resends: number;
  readonly gaveBack: number;
  readonly brokenLinks: number;
  /** From publish to acknowledgement, ms, of each commit. */
  readonly ackMs: readonly number[];
  readonly probes: ReadonlyMap<JobId, ProbeTimes>;
}

export class AgentRecord {
  leases = 0;
  resends = 0;
  gaveBack = 0;
  brokenLinks = 0;
  #ackMs: number[] = [];
  #probes = new Map<JobId, ProbeTimes>();

  probeLeased({ job, task }: LeaseMessage): void {
    if (task.argv?.[1] !== "0") return;
    this.#probes.set(job, { leasedAt: wallMs(), publishedAt: Number.NaN, acknowledgedAt: Number.NaN });
  }

  /** `startedAt`: when it was published, by performance.now(). */
  acknowledged({ job }: CommitRecord, startedAt: number): void {
    this.#ackMs.push(performance.now() - startedAt);
    const probe = this.#probes.get(job);
    if (probe === undefined) return;
    probe.publishedAt = performance.timeOrigin + startedAt;
    probe.acknowledgedAt = wallMs();
  }

  /** Since the last call. */
  take(): AgentReport {
    const { leases, resends, gaveBack, brokenLinks } = this;
    const ackMs = this.#ackMs;
    const report = {
      leases,
      resends,
      gaveBack,
      brokenLinks,
      commits: ackMs.length,
      ackMs,
      probes: this.#probes,
    };
    this.leases = this.resends = this.gaveBack = this.brokenLinks = 0;
    this.#ackMs = [];
    this.#probes = new Map();
    return report;
  }
}
