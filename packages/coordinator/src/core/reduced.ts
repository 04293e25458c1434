/** What is counted otherwise in a job whose items are reduced to one value (docs/decisions/0012). */
import type { JobFold, JobSpec, OutcomeCounts } from "@everycore/protocol/pure";

interface Folded {
  readonly fold: JobFold;
  readonly spec: JobSpec;
}

/** Outcomes of the job's items; the reduction itself, an item behind them, is none of them. */
export function countsOfItems({ fold, spec }: Folded): OutcomeCounts {
  const counts = fold.counts();
  const { total } = fold;
  if (spec.task.reduce === undefined || total === undefined || !fold.covered.has(total)) return counts;
  counts[fold.statusOf(total) ?? "value"] -= 1;
  return counts;
}

/** Items that the value does not contain: failed ones within spans and over their time, as parts say, and sealed ones. */
export function missingItems(job: Folded): number {
  if (job.spec.task.reduce === undefined) return 0;
  const { crash, lost, cancelled, expired } = countsOfItems(job);
  return job.fold.missing + crash + lost + cancelled + expired;
}
