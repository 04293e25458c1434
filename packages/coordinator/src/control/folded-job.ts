/** What only a job's log says, of a leader that may not have read it yet. */
import type { JobId } from "@everycore/protocol";
import { EverycoreError, limits } from "@everycore/protocol";
import { logEndOf } from "../core/index.ts";
import type { Job } from "../core/model.ts";
import { jobKey } from "../effects.ts";
import type { ControlParts } from "./parts.ts";

/** Somebody looks at an ended job: so long he waits for what its record does not say. */
const lookMs = 2_000;

/**
 * The job once its log is read. A leader that has just taken over knows a job before it has read where its input lies;
 * that of a job which ended before is read now.
 */
export async function foldedJob(parts: ControlParts, id: JobId, signal: AbortSignal): Promise<Job> {
  const known = parts.state.jobs.get(id);
  if (known?.phase === "unread") parts.enqueue({ kind: "logWanted", job: id });
  using following = parts.changes.follow(jobKey(id), signal);
  for (;;) {
    const seen = following.version();
    parts.mustLead();
    signal.throwIfAborted();
    const job = parts.state.jobs.get(id);
    if (job === undefined || job.segment !== known?.segment)
      throw new EverycoreError("not-found", `job ${id} was deleted`);
    if (job.phase !== "unread" && job.phase !== "folding") return job;
    await following.changed(seen);
  }
}

/** Before an ended job is shown. What is not read in time is shown as its record has it: outcomes, times and reason. */
export async function readForView(parts: ControlParts, id: JobId, signal: AbortSignal): Promise<void> {
  if (parts.state.jobs.get(id)?.phase !== "unread" || parts.readLogs() >= limits.endedLogsShownMax) return;
  const late = AbortSignal.any([signal, AbortSignal.timeout(lookMs)]);
  await foldedJob(parts, id, late).catch((error: unknown) => {
    if (!late.aborted || signal.aborted) throw error;
  });
}

/** Where the job's log ends. That of one that ended before this leader led is not known to it: NATS is asked once. */
export async function logEndReader(parts: ControlParts, job: Job): Promise<(now: Job) => number> {
  const found = job.phase === "unread" ? await parts.positions.last(job.segment, job.id) : 0;
  return (now) => Math.max(found, logEndOf(now));
}
