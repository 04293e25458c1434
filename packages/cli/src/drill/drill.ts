/**
 * A drill: row after row on a cluster that is steady before each. Owns the order and the tidying up; what is done to
 * the cluster is in disturbances.ts, what it is worth in judge.ts.
 *
 *  T3  after a row nothing of it is left: what was stopped goes on, its jobs are cancelled and deleted. The jobs of a
 *      row that FAILED are kept, where the cluster stays, for whoever wants to know why;
 *  T4  a cluster that is not itself again after a row is not disturbed any further.
 */
import { disturbances } from "./disturbances.ts";
import type { DrilledJob } from "./drilled-job.ts";
import type { Ground } from "./ground.ts";
import { judge } from "./judge.ts";
import type { Sighting, Verdict } from "./judge.ts";
import type { Row } from "./rows.ts";

export interface RowReport {
  readonly row: Row;
  readonly verdict: Verdict;
  /** Why it is not ok. */
  readonly reasons: readonly string[];
  /** Absent where nothing could be seen. */
  readonly seen?: Sighting;
  /** Jobs that were kept. */
  readonly jobs: readonly string[];
  readonly tookMs: number;
}

export async function drill(
  ground: Ground,
  rows: readonly Row[],
  onReport: { begins(row: Row): void; ends(report: RowReport): void },
): Promise<RowReport[]> {
  const reports: RowReport[] = [];
  let broken: string | undefined;
  for (const row of rows) {
    ground.signal.throwIfAborted();
    const refusal = broken ?? disturbances[row.id].refusal(ground);
    if (refusal === undefined) onReport.begins(row);
    const report = refusal === undefined ? await runRow(ground, row) : skipped(row, refusal);
    reports.push(report);
    onReport.ends(report);
    if (refusal === undefined && !(await ground.isSteady()))
      broken ??= `the cluster was not itself again after the row "${row.id}"`; // T4
  }
  return reports;
}

const skipped = (row: Row, reason: string): RowReport => ({
  row,
  verdict: "skipped",
  reasons: [reason],
  jobs: [],
  tookMs: 0,
});

async function runRow(ground: Ground, row: Row): Promise<RowReport> {
  const startedAt = performance.now();
  const jobs: DrilledJob[] = [];
  let report: Pick<RowReport, "verdict" | "reasons"> & { seen?: Sighting };
  try {
    const seen = await disturbances[row.id].run(ground, (job) => jobs.push(job));
    report = { ...judge(row, seen), seen };
  } catch (error) {
    await tidy(jobs);
    if (ground.signal.aborted) throw error;
    report = { verdict: "FAILED", reasons: [(error as Error).message] };
  }
  const isKept = report.verdict === "FAILED" && ground.kind !== "embedded";
  if (isKept) for (const job of jobs) job.keep();
  await tidy(jobs); // T3
  const tookMs = performance.now() - startedAt;
  return { row, ...report, jobs: isKept ? jobs.map(({ id }) => id) : [], tookMs };
}

async function tidy(jobs: readonly DrilledJob[]): Promise<void> {
  await Promise.all(jobs.map((job) => job[Symbol.asyncDispose]()));
}
