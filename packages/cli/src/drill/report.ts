/** A drill's reports as a table for people and as values for programs. */
import { shortId } from "@everycore/protocol";
import { countText, durationText, table } from "../terminal/table.ts";
import type { RowReport } from "./drill.ts";
import { moments } from "./rows.ts";
import type { Limit, Moment, Row } from "./rows.ts";

/** 115 ms (0.5 s): the limit beside the time. */
function timeText(ms: number | undefined, limit: Limit | undefined): string {
  if (ms === undefined) return limit === undefined ? "" : "-";
  return limit === undefined ? durationText(ms) : `${durationText(ms)} (${limit.ms / 1_000} s)`;
}

const limitsText = ({ limits }: Row): string =>
  moments
    .flatMap((moment) => {
      const limit = limits[moment];
      return limit === undefined ? [] : [`${moment} ${limit.ms / 1_000} s`];
    })
    .join(", ");

export const listText = (rows: readonly Row[]): string =>
  table(
    ["ROW", "WHAT IS DONE", "PROMISE", "WHAT IS PROMISED", "LIMITS"],
    rows.map((row) => [row.id, row.what, row.promise, row.promised, limitsText(row)]),
  );

export function reportText(reports: readonly RowReport[]): string {
  const lines = reports.map((report) => {
    const { row, verdict, reasons, seen } = report;
    if (seen === undefined) {
      const word = verdict === "skipped" ? `skipped: ${reasons.join("; ")}` : verdict;
      return [row.id, "", "", "", "", "", "", row.promise, word];
    }
    const timeOf = (moment: Moment): string => timeText(seen.times[moment], row.limits[moment]);
    return [
      row.id,
      countText(seen.items),
      String(seen.lost),
      String(seen.again),
      timeOf("noticed"),
      timeOf("resumed"),
      timeOf("ended"),
      row.promise,
      verdict,
    ];
  });
  const head = ["ROW", "ITEMS", "LOST", "AGAIN", "NOTICED", "RESUMED", "ENDED", "PROMISE", "VERDICT"];
  const remarks = reports.flatMap(remarksOf);
  return `${table(head, lines)}${remarks.length === 0 ? "" : `\n${remarks.join("")}`}\n${sumText(reports)}\n`;
}

function remarksOf({ row, verdict, reasons, seen, jobs }: RowReport): string[] {
  const lines = verdict === "skipped" ? [] : reasons.map((reason) => `${row.id}: ${verdict}: ${reason}\n`);
  if (seen !== undefined && seen.again > 0 && seen.again <= seen.againMost)
    lines.push(`${row.id}: ${seen.again} run again: ${seen.againWhy}\n`);
  if (jobs.length > 0) lines.push(`${row.id}: kept: everycore job get ${jobs.map(shortId).join(" ")}\n`);
  return lines;
}

export function sumText(reports: readonly RowReport[]): string {
  const countOf = (verdict: string): number => reports.filter((report) => report.verdict === verdict).length;
  const lost = reports.reduce((sum, { seen }) => sum + (seen?.lost ?? 0), 0);
  const [failed, slow, skipped] = [countOf("FAILED"), countOf("slow"), countOf("skipped")];
  const ran = reports.length - skipped;
  const took = durationText(reports.reduce((sum, { tookMs }) => sum + tookMs, 0));
  const parts = [
    `${ran} of ${reports.length} rows in ${took}`,
    `${lost} ${lost === 1 ? "item" : "items"} lost`,
    `${failed} failed`,
  ];
  if (slow > 0) parts.push(`${slow} slow`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  return parts.join(", ");
}

/** Each row as an object; absent times are absent. */
export const reportValues = (reports: readonly RowReport[]): unknown =>
  reports.map(({ row, verdict, reasons, seen, jobs, tookMs }) => ({
    row: row.id,
    what: row.what,
    promise: row.promise,
    promised: row.promised,
    limits: row.limits,
    verdict,
    reasons,
    ...(seen === undefined
      ? {}
      : {
          items: seen.items,
          lost: seen.lost,
          again: seen.again,
          againWhy: seen.again > 0 ? seen.againWhy : "",
          times: seen.times,
        }),
    jobs,
    tookMs: Math.round(tookMs),
  }));
