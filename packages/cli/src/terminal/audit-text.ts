/** What an audit has found: a verdict, sums, and each round where there was more than one. */
import type { AuditInfo, Counts, RoundAuditInfo } from "@everycore/client/internal";
import { fields, table } from "./table.ts";

export function auditText(found: AuditInfo): string {
  const text = fields([
    ["job", found.job],
    ["verdict", verdictText(found)],
    ["items", `${found.covered} of ${found.total} have an outcome`],
    ["outcomes", countsText(found.counts)],
    ["dropped", `${found.duplicate} duplicate, ${found.stale} stale, ${found.invalid} invalid`],
    ["retries", `${found.retries}, strikes ${found.strikes}, round ${found.round}`],
    ["records", `${found.records}, commits ${found.commits}`],
    ["missing", found.missing === 0 ? "" : String(found.missing)],
  ]);
  return found.rounds.length < 2 ? text : `${text}\n${roundTable(found.rounds)}`;
}

function verdictText({ closed, total, covered, rounds }: AuditInfo): string {
  if (closed && rounds.length < 2) return "every item has exactly one outcome";
  if (closed) return "every item has exactly one outcome, and had one in each of its rounds";
  const open = rounds.find((round) => !round.closed);
  if (total > covered || open === undefined) return `${total - covered} items have no outcome`;
  return `round ${open.round} opened ${open.opened} items and has ${accepted(open)} outcomes`;
}

const accepted = ({ outcomes }: RoundAuditInfo): number =>
  Object.values(outcomes ?? {}).reduce((sum: number, count: number) => sum + count, 0);

const countsText = (counts: Counts | null): string =>
  Object.entries(counts ?? {})
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(", ");

function roundTable(rounds: readonly RoundAuditInfo[]): string {
  const rows = rounds.map((round) => [
    String(round.round),
    String(round.opened),
    countsText(round.outcomes),
    String(round.retries),
    String(round.strikes),
    `${round.duplicate} + ${round.stale} + ${round.invalid}`,
    round.bundle.slice(0, 16),
    round.closed ? "yes" : "no",
  ]);
  return table(
    ["ROUND", "OPENED", "OUTCOMES", "RETRIES", "STRIKES", "DUPLICATE + STALE + INVALID", "CODE", "CLOSED"],
    rows,
  );
}
