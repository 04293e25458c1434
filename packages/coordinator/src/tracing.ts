/**
 * Spans of traced jobs: one per job and round, when its end is stored, and one per lease message. Made of effects and
 * records, beside the core, which knows nothing of them. Ids that another leader or an agent must find again follow
 * from the ids of job and lease: a trace goes on over a change of leader.
 *
 *     submit (client) ── job ──┬── lease ── slice ──┬── item   (agent)
 *                              └── lease ...        └── item ...
 */
import { createHash } from "node:crypto";
import type { JobId, JobRecord, LeaseId, LeaseReply, LogRecord, Range, TaskSpec } from "@everycore/protocol";
import { isEnded, outcomeStatus, spanOf, taskOfRound, traceOf } from "@everycore/protocol";
import type { TraceContext } from "@everycore/protocol";
import type { SpanCounts, Tracing } from "@everycore/protocol/tracing";
import type { Effect } from "./core/index.ts";
import type { Job } from "./core/model.ts";

/** Leases of a job that are remembered for those that run their items again; a span's links. */
const triedMax = 32;
const linksMax = 8;

/** A lease whose items must run again. */
interface Tried extends Range {
  readonly lease: LeaseId;
}

interface JobTrace {
  round: number;
  sinceMs: number;
  readonly tried: Tried[];
}

export interface TracedLease {
  /** As it travels: what slices continue from is the lease. */
  readonly task: TaskSpec;
  readonly answered: (reply: LeaseReply | undefined) => void;
}

type SendLease = Extract<Effect, { kind: "sendLease" }>;

const noSpans: SpanCounts = { delivered: 0, dropped: 0, failed: 0 };

export class JobTracing {
  readonly #tracing: Tracing | undefined;
  readonly #jobs = new Map<JobId, JobTrace>();

  constructor(tracing: Tracing | undefined) {
    this.#tracing = tracing;
  }

  get counts(): Readonly<SpanCounts> {
    return this.#tracing?.counts ?? noSpans;
  }

  /** A message about to be sent; a lease that is sent again has a span of its own, linked to the first one. */
  lease(job: Job, { grant, node }: SendLease): TracedLease {
    const task = taskOfRound(job, grant.round);
    const above = traceOf(task);
    if (this.#tracing === undefined || above === undefined) return { task, answered: () => {} };
    const first = spanOf(above, leaseSpan(grant.id));
    const isAgain = (job.leases.get(grant.id)?.sends ?? 1) > 1;
    const span = this.#tracing.start({
      name: "lease",
      kind: "producer",
      parent: spanOf(above, jobSpan(job.id, job.round)),
      ...(isAgain ? {} : { spanId: leaseSpan(grant.id) }),
      links: isAgain ? [first] : this.#triedBefore(job.id, grant, above),
      attributes: {
        "everycore.job": job.id,
        "everycore.node": node,
        "everycore.first": grant.start,
        "everycore.items": grant.end - grant.start,
        "messaging.system": "nats",
        "messaging.destination.name": "ec.v1.lease.<agent>",
        "messaging.operation.type": "send",
      },
    });
    return {
      task: { ...task, ...span.context },
      answered: (reply) => span.end(failureOf(reply)),
    };
  }

  #triedBefore(job: JobId, range: Range, above: TraceContext): TraceContext[] {
    const tried = this.#jobs.get(job)?.tried ?? [];
    const overlapping = tried.filter(({ start, end }) => start < range.end && range.start < end);
    const leases = new Set(overlapping.map(({ lease }) => lease));
    return [...leases].slice(-linksMax).map((lease) => spanOf(above, leaseSpan(lease)));
  }

  /** A record of the job's log, whoever wrote it: which leases did not end their items. */
  logged(job: Job | undefined, record: LogRecord): void {
    if (this.#tracing === undefined || job?.spec.task.traceparent === undefined) return;
    const { tried } = this.#traceOf(job.id, job);
    if (record.kind === "strike") {
      for (const range of record.ranges) tried.push({ ...range, lease: record.lease.id });
    } else if (record.kind === "commit") {
      for (const { status, start, end, lease } of record.parts) {
        const grant = record.leases[lease];
        // What failed for good runs again when its job is opened again.
        if (status !== "value" && grant !== undefined) tried.push({ start, end, lease: grant.id });
      }
    }
    if (tried.length > triedMax) tried.splice(0, tried.length - triedMax);
  }

  #traceOf(id: JobId, job: { readonly round: number; readonly createdAt: number }): JobTrace {
    const known = this.#jobs.get(id) ?? { round: job.round, sinceMs: job.createdAt, tried: [] };
    this.#jobs.set(id, known);
    return known;
  }

  /** The job's record is stored as it says: with its end the span of its round is over. */
  stored(record: JobRecord): void {
    const above = traceOf(record.spec.task);
    if (this.#tracing === undefined || above === undefined) return;
    const job = this.#traceOf(record.id, record);
    if (record.intent?.kind === "reopen" && job.round !== record.round) {
      job.round = record.round;
      job.sinceMs = Date.now();
    }
    if (!isEnded(record.state)) return;
    this.#tracing.record({
      name: "job",
      kind: "server",
      parent: above,
      spanId: jobSpan(record.id, record.round),
      startMs: job.sinceMs,
      endMs: record.endedAt ?? Date.now(),
      attributes: attributesOf(record),
      ...(record.state === "failed" ? { error: record.reason ?? "failed" } : {}),
    });
    // A retry goes on from here.
    job.sinceMs = record.endedAt ?? Date.now();
  }

  forget(job: JobId): void {
    this.#jobs.delete(job);
  }

  /** Another leader has the jobs now, and may delete them. */
  termOver(): void {
    this.#jobs.clear();
  }

  async close(): Promise<void> {
    await this.#tracing?.close();
  }
}

/** Not the lease's id itself: it is what lets an agent fetch, and a collector is no place for it. */
const leaseSpan = (lease: LeaseId): string => spanIdOf(`lease ${lease}`);
const jobSpan = (job: JobId, round: number): string => spanIdOf(`job ${job} ${round}`);

const spanIdOf = (text: string): string =>
  createHash("sha256").update(`everycore span ${text}`).digest("hex").slice(0, 16);

function failureOf(reply: LeaseReply | undefined): { error?: string } {
  if (reply === undefined) return { error: "no answer in time" };
  return reply.ok ? {} : { error: `refused: ${reply.reason}` };
}

function attributesOf(record: JobRecord): Record<string, string | number> {
  const counts = record.counts === undefined ? [] : Object.entries(record.counts);
  return {
    "everycore.job": record.id,
    "everycore.name": record.spec.name,
    "everycore.runtime": record.spec.task.runtime,
    "everycore.state": record.state,
    "everycore.round": record.round,
    ...(record.total === undefined ? {} : { "everycore.items": record.total }),
    ...(record.reason === undefined ? {} : { "everycore.reason": record.reason }),
    ...Object.fromEntries(
      counts
        .filter(([status, count]) => status in outcomeStatus && count > 0)
        .map(([status, count]): [string, number] => [`everycore.items.${status}`, count]),
    ),
  };
}
