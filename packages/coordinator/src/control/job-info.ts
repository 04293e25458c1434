/** A job as the contract shows it (JobInfo), and a job's id from what a person typed. */
import type { JobId } from "@everycore/protocol";
import { EverycoreError, failureLimitText, isJobId, isJobPrefix, shortId } from "@everycore/protocol";
import type { JobView } from "../core/index.ts";

export function jobInfo(view: JobView): object {
  const { spec } = view;
  const { task } = spec;
  return {
    id: view.id,
    name: spec.name,
    user: view.user,
    state: view.state,
    reason: view.reason,
    runtime: task.runtime,
    task: task.argv === undefined ? `${task.entry ?? ""}:${task.export ?? ""}` : task.argv.join(" "),
    total: view.total ?? 0,
    appended: view.appended,
    counts: view.counts,
    leased: view.leased,
    missing: view.missing,
    createdAt: view.createdAt,
    startedAt: view.startedAt ?? 0,
    endedAt: view.endedAt ?? 0,
    round: view.round,
    retries: view.retries,
    strikes: view.strikes,
    duplicates: view.duplicates,
    itemMs: view.itemMs ?? 0,
    usage: view.usage,
    leasesSent: view.leasesSent,
    codec: spec.codec,
    reduced: task.reduce !== undefined,
    seed: task.seed,
    bundle: task.bundle ?? "",
    outputBytes: view.outcomeBytes,
    repairs: view.repairs,
    jobTimeoutMs: spec.jobTimeoutMs ?? 0,
    ranMs: view.ranMs,
    ...(view.audit === undefined ? {} : { audit: view.audit }),
    maxFailures: spec.maxFailures === undefined ? "" : failureLimitText(spec.maxFailures),
  };
}

/** The one job whose id begins with `typed`. */
export function resolveJob(typed: string, known: Iterable<JobId>): JobId {
  if (!isJobPrefix(typed)) {
    throw new EverycoreError("bad-input", `"${typed.slice(0, 64)}" is not a job id: 4 to 20 digits 0-9 a-f`, {
      hint: "see: everycore job list",
    });
  }
  const fitting: JobId[] = [];
  for (const id of known) {
    if (id === typed) return id;
    if (id.startsWith(typed)) fitting.push(id);
  }
  const [found] = fitting;
  if (found === undefined) {
    const what = isJobId(typed) ? `no job ${typed}` : `no job whose id begins with ${typed}`;
    throw new EverycoreError("not-found", what, { hint: "see: everycore job list" });
  }
  if (fitting.length > 1) {
    const shown = fitting.slice(0, 3).map((id) => id.slice(0, Math.max(12, typed.length + 4)));
    throw new EverycoreError("ambiguous", `${typed} fits ${fitting.length} jobs: ${shown.join(", ")}`, {
      hint: `give more digits than ${shortId(typed)}`,
    });
  }
  return found;
}
