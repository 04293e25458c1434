/** What an audit has found: a verdict, sums, and each round where there was more than one. */
import type { AuditInfo, Counts, RoundAuditInfo, SpotCheckInfo } from "@everycore/client/internal";
import { limits, shortId } from "@everycore/protocol";
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
    ...spotCheckRows("checked", found.checks, found.total),
  ]);
  return found.rounds.length < 2 ? text : `${text}\n${roundTable(found.rounds)}`;
}

/** What `--audit` has found, and the first few items that differ in rows of their own. */
export function spotCheckRows(
  name: string,
  checks: SpotCheckInfo | undefined,
  total: number,
): [string, string][] {
  if (checks === undefined) return [];
  const { share, checked, differing, unchecked, open, items } = checks;
  const counts = [
    `${checked} compared`,
    `${differing} ${differing === 1 ? "differs" : "differ"}`,
    ...(unchecked === 0 ? [] : [`${unchecked} unchecked (no other node has run them)`]),
    ...(open === 0 ? [] : [`${open} to come`]),
  ];
  const most = share * total > limits.spotChecksMax ? ` (at most ${limits.spotChecksMax})` : "";
  const rows = items.map(({ index, first, second, how }): [string, string] => {
    const there = how === "value" ? "another value" : `twice ${how}`;
    return ["", `item ${index}: a value on node ${shortId(first)}, ${there} on node ${shortId(second)}`];
  });
  return [[name, `${percent(share)} of the values${most}: ${counts.join(", ")}`], ...rows];
}

const percent = (share: number): string => `${Number((100 * share).toPrecision(6))}%`;

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
