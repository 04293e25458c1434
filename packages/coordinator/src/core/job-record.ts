/** The job's record in EC_JOBS, and when it is written: compare-and-set, one put of a job at a time. */
import type { AuditResult, JobRecord } from "@everycore/protocol/pure";
import { foldVersion, isEnded } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Job } from "./model.ts";
import { countsOfItems, missingItems } from "./reduced.ts";

export function recordOf(state: ClusterState, job: Job): JobRecord {
  const record: JobRecord = {
    id: job.id,
    user: job.user,
    spec: job.spec,
    segment: job.segment,
    state: job.state,
    reserved: job.reserving ?? job.reserved,
    round: job.round,
    epoch: state.epoch,
    foldVersion,
    createdAt: job.createdAt,
  };
  const ended = isEnded(job.state);
  const audit = auditStored(job);
  return {
    ...record,
    ...(job.intent === undefined ? {} : { intent: job.intent }),
    ...(job.repairs.length === 0 ? {} : { repairs: job.repairs }),
    ...(job.startedAt === undefined ? {} : { startedAt: job.startedAt }),
    ...(job.endedAt === undefined ? {} : { endedAt: job.endedAt }),
    ...(job.spec.jobTimeoutMs === undefined ? {} : { ranMs: job.clock.ranMs }),
    ...(job.fold.total === undefined ? {} : { total: job.fold.total }),
    ...(job.reason === "" ? {} : { reason: job.reason }),
    ...(ended ? { counts: countsOfItems(job), missing: missingItems(job) } : {}),
    ...(audit === undefined ? {} : { audit }),
  };
}

/** Of this round any leader finds it in the log. */
const auditStored = (job: Job): AuditResult | undefined =>
  isEnded(job.state) || job.round > 0 ? job.checks?.found : undefined;

/** Writes the record; while a put is under way the next one waits for it. */
export function save(state: ClusterState, job: Job, effects: Effect[]): void {
  if (job.putting) {
    job.putAgain = true;
    return;
  }
  job.putting = true;
  job.puttingReserved = job.reserving ?? job.reserved;
  job.puttingIntent = job.intent;
  job.puttingPaused = job.state === "paused";
  effects.push({ kind: "putJob", record: recordOf(state, job) });
}
