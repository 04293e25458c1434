/** Results, audit and prints of a job. */
import type { JobId, SegmentId } from "@everycore/protocol";
import { EverycoreError, isEnded } from "@everycore/protocol";
import type { Follower } from "../changes.ts";
import { acceptedIn, countsOfItems, JobAudit, missingItems } from "../core/index.ts";
import type { Job } from "../core/model.ts";
import type { Standing } from "../data/job-reader.ts";
import { readOutcomes } from "../data/job-reader.ts";
import { Tail } from "../data/tail.ts";
import { streamOfSegment, subjects, taskOfRound } from "@everycore/protocol";
import { jobKey } from "../effects.ts";
import { logEndReader } from "./folded-job.ts";
import { jobInfo } from "./job-info.ts";
import type { ControlParts } from "./parts.ts";
import { findJob, viewOf } from "./parts.ts";
import type { Message } from "./handlers.ts";

const auditMs = 600_000;

export interface ResultsRequest {
  readonly job: string;
  readonly from: number;
  readonly follow: boolean;
  readonly unordered: boolean;
}

interface Writing {
  readonly write: (message: Message) => Promise<void>;
  readonly signal: AbortSignal;
}

function standingOf(
  parts: ControlParts,
  id: JobId,
  segment: SegmentId,
): Omit<Standing, "seq"> & { job: Job } {
  parts.mustLead();
  const job = parts.state.jobs.get(id);
  // In another segment it is another life of the same id, and not what this reader began to read.
  if (job?.segment !== segment) throw new EverycoreError("not-found", `job ${id} was deleted`);
  const total = job.fold.total ?? job.finalTotal;
  return { job, isEnded: isEnded(job.state), total, round: job.round };
}

export async function results(parts: ControlParts, request: ResultsRequest, writing: Writing): Promise<void> {
  const id = findJob(parts, request.job);
  const job = parts.state.jobs.get(id)!;
  const { segment } = job;
  const isReduced = job.spec.task.reduce !== undefined;
  const endOfLog = await logEndReader(parts, job);
  using following: Follower = parts.changes.follow(jobKey(id), writing.signal);
  await using opened = parts.indexes.open({ id, segment, isReduced });
  const outcomes = readOutcomes({
    index: opened.index,
    bodies: parts.bodies,
    from: request.from,
    isUnordered: request.unordered,
    isFollowing: request.follow,
    isReduced,
    standing: () => {
      writing.signal.throwIfAborted();
      const { job: now, ...standing } = standingOf(parts, id, segment);
      return { ...standing, seq: endOfLog(now) };
    },
    version: () => following.version(),
    changed: (seen) => following.changed(seen),
  });
  for await (const message of outcomes) await writing.write(message);
  await writing.write({ end: jobInfo(viewOf(parts, id)) });
}

/** Proves P2 from the log alone: folds it anew and compares. */
export async function audit(parts: ControlParts, typed: string, signal: AbortSignal): Promise<Message> {
  const id = findJob(parts, typed);
  const job = parts.state.jobs.get(id)!;
  const target = (await logEndReader(parts, job))(job);
  const audited = new JobAudit(id, (of, grant) => parts.keys.verify(of, grant));
  const done = Promise.withResolvers<void>();
  if (target === 0) done.resolve();
  const tail = new Tail({
    data: parts.data,
    stream: streamOfSegment(job.segment),
    subjects: [subjects.logOfJob(job.segment, id), subjects.input(job.segment, id)],
    onMalformed: () => parts.metrics.malformed("log"),
    onRecord: (seq, { record }) => {
      if (seq > target) return;
      audited.apply(seq, record);
      if (seq >= target) done.resolve();
    },
  });
  const stop = AbortSignal.any([signal, AbortSignal.timeout(auditMs)]);
  const abort = (): void =>
    done.reject(new EverycoreError("timeout", `the audit of job ${id} was not finished in time`));
  stop.addEventListener("abort", abort, { once: true });
  try {
    await done.promise;
  } finally {
    stop.removeEventListener("abort", abort);
    await tail.close();
  }
  const { fold, records, commits, isClosed } = audited;
  const total = fold.total ?? 0;
  const { audit: checks } = viewOf(parts, id);
  return {
    ...(checks === undefined ? {} : { checks }),
    job: id,
    total,
    covered: fold.covered.within(0, total).reduce((sum, range) => sum + range.end - range.start, 0),
    counts: countsOfItems({ fold, spec: job.spec }),
    duplicate: fold.dropped.duplicate,
    stale: fold.dropped.stale,
    invalid: fold.dropped.invalid,
    retries: fold.retries,
    strikes: fold.strikeCount,
    records,
    commits,
    round: job.round,
    closed: isClosed,
    rounds: audited.rounds.map((round) => ({
      ...round,
      bundle: taskOfRound(job, round.round).bundle ?? "",
      closed: acceptedIn(round) === round.opened,
    })),
    missing: missingItems({ fold, spec: job.spec }),
  };
}

/** One node after the other: what waits here is bounded by what one node keeps. */
export async function output(parts: ControlParts, typed: string, writing: Writing): Promise<void> {
  const id = findJob(parts, typed);
  for (const node of parts.links.nodes) {
    for await (const { slot, stream, data, dropped } of parts.links.output(node, id)) {
      await writing.write({ node, slot, stream, data, dropped });
    }
  }
}
