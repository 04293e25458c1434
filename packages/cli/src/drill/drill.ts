/**
 * A drill: row after row on a cluster that is steady before each. Owns the order and the tidying up; what is done to
 * the cluster is in disturbances.ts, what it is worth in judge.ts.
 *
 *  H3  after a row nothing of it is left: what was stopped goes on, its jobs are cancelled and deleted. The jobs of a
 *      row that FAILED are kept, where the cluster stays, for whoever wants to know why;
 *  H4  a cluster that is not itself again after a row is not disturbed any further.
 */
import { shortId } from "@everycore/protocol";
import { disturbances } from "./disturbances.ts";
import { NoRoom } from "./drilled-job.ts";
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

export interface DrillListener {
  readonly begins: (row: Row) => void;
  readonly ends: (report: RowReport) => void;
  readonly remarks: (sentence: string) => void;
}

export async function drill(
  ground: Ground,
  rows: readonly Row[],
  listener: DrillListener,
): Promise<RowReport[]> {
  const reports: RowReport[] = [];
  let broken: string | undefined;
  for (const row of rows) {
    ground.signal.throwIfAborted();
    const refusal = broken ?? disturbances[row.id].refusal(ground);
    if (refusal === undefined) listener.begins(row);
    let report = refusal === undefined ? await runRow(ground, row, listener) : skipped(row, refusal);
    const lack = refusal === undefined ? await ground.unsteady() : undefined;
    if (lack !== undefined) {
      const reason = `the cluster was not itself again afterwards: ${lack}`;
      report = { ...report, verdict: "FAILED", reasons: [...report.reasons, reason] };
      broken = `the cluster was not itself again after the row "${row.id}"`; // H4
    }
    reports.push(report);
    listener.ends(report);
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

async function runRow(ground: Ground, row: Row, listener: DrillListener): Promise<RowReport> {
  const startedAt = performance.now();
  const jobs: DrilledJob[] = [];
  let report: Pick<RowReport, "verdict" | "reasons"> & { seen?: Sighting };
  try {
    const seen = await disturbances[row.id].run(ground, (job) => jobs.push(job));
    report = { ...judge(row, seen), seen };
  } catch (error) {
    await tidy(jobs);
    if (ground.signal.aborted) throw error;
    report = { verdict: error instanceof NoRoom ? "skipped" : "FAILED", reasons: [(error as Error).message] };
  }
  const isKept = report.verdict === "FAILED" && ground.kind !== "embedded";
  if (isKept) for (const job of jobs) job.keep();
  const ids = jobs.map(({ id }) => id);
  for (const node of await ground.liftQuarantines(ids))
    listener.remarks(`node ${shortId(node)} was in quarantine for what the drill did, and is let out`);
  await tidy(jobs); // H3
  const tookMs = performance.now() - startedAt;
  return { row, ...report, jobs: isKept ? ids : [], tookMs };
}

async function tidy(jobs: readonly DrilledJob[]): Promise<void> {
  await Promise.all(jobs.map((job) => job[Symbol.asyncDispose]()));
}
