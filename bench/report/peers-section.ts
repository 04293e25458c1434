/** "Against what people use today": the sentence of who is ahead, and a table for each workload. From the numbers alone. */
import type { Spread, Summary } from "../peers/results.ts";
import { summariesOf } from "../peers/results.ts";
import { workloads } from "../peers/workloads.ts";
import { digits, isOurs, measureOf } from "./amounts.ts";
import type { Measure } from "./amounts.ts";
import { markdownTable } from "./markdown.ts";
import type { Results } from "./newest.ts";
import type { Panel } from "./plot.ts";

export function panelsOf({ turns }: Results["peers"]): Panel[] {
  return workloads
    .map(({ name, title }) => ({ workload: name, title, summaries: summariesOf(turns, name) }))
    .filter(({ summaries }) => summaries.length > 0);
}

export function peersSection(results: Results["peers"]): string {
  return panelsOf(results)
    .map((panel) => [`### ${panel.title}`, "", ...verdicts(panel), "", tableOf(panel), ""].join("\n"))
    .join("\n");
}

/** Our best against theirs, in each language: ahead, level within a tenth, or behind. */
function verdicts({ workload, summaries }: Panel): string[] {
  const measure = measureOf(workload);
  const lines: string[] = [];
  for (const language of ["js", "python", "program"] as const) {
    for (const [state, words] of [
      ["warm", "once up"],
      ["cold", "from nothing"],
    ] as const) {
      const known = summaries.flatMap((summary) => {
        const spread = summary[state];
        return summary.language === language && spread !== undefined
          ? [{ summary, value: measure.of(summary, spread).middle }]
          : [];
      });
      const ours = known.filter(({ summary }) => isOurs(summary)).toSorted((a, b) => a.value - b.value)[0];
      const others = known.filter(({ summary }) => !isOurs(summary)).toSorted((a, b) => a.value - b.value);
      if (ours === undefined || others.length === 0) continue;
      lines.push(`- ${languageNames[language]}, ${words}: ${sentence(ours, others, measure)}`);
    }
  }
  return lines;
}

const languageNames = { js: "JavaScript", python: "Python", program: "Programs" } as const;

interface Known {
  readonly summary: Summary;
  readonly value: number;
}

function sentence(ours: Known, others: readonly Known[], measure: Measure): string {
  const name = ours.summary.contender;
  const told = (list: readonly Known[]): string =>
    list.map(({ summary, value }) => `${summary.contender} (${measure.text(value)})`).join(", ");
  const ahead = others.filter(({ value }) => value < 0.9 * ours.value);
  const level = others.filter(({ value }) => value >= 0.9 * ours.value && value <= 1.1 * ours.value);
  const behind = others.filter(({ value }) => value > 1.1 * ours.value);
  return [
    `${name} takes ${measure.text(ours.value)}`,
    ...(ahead.length === 0 ? [] : [`**quicker: ${told(ahead)}**`]),
    ...(level.length === 0 ? [] : [`within a tenth: ${told(level)}`]),
    ...(behind.length === 0 ? [] : [`slower: ${told(behind)}`]),
  ].join("; ");
}

function tableOf({ workload, summaries }: Panel): string {
  const measure = measureOf(workload);
  const header = [
    "",
    "once up",
    "from nothing",
    "first result, from nothing",
    "share of the bare loop, once up",
  ];
  const rows = summaries.map((summary) => [
    summary.contender + (isCut(workload, summary) ? ` (${summary.count.toLocaleString("en-US")} items)` : ""),
    spreadText(summary, summary.warm, measure),
    spreadText(summary, summary.cold, measure),
    summary.first === undefined ? "" : `${digits(summary.first.middle)} s`,
    summary.warmShare === undefined ? "" : shareText(summary.warmShare),
  ]);
  return markdownTable(header, rows);
}

const isCut = (workload: string, { count }: Summary): boolean =>
  workloads.some(({ name, count: all }) => name === workload && count < all);

function spreadText(summary: Summary, spread: Spread | undefined, measure: Measure): string {
  if (spread === undefined) return "";
  const { middle, least, most } = measure.of(summary, spread);
  return `${measure.text(middle)} (${digits(least)} .. ${digits(most)})`;
}

const shareText = ({ middle, least, most }: Spread): string =>
  `${(100 * middle).toFixed(0)} % (${(100 * least).toFixed(0)} .. ${(100 * most).toFixed(0)})`;
