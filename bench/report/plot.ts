/**
 * The comparison as one picture: a panel for each workload, two bars for each contender, from nothing and once up. Plain
 * SVG text, so that it needs no library to draw and none to read.
 */
import { isOurs, measureOf } from "./amounts.ts";
import type { Summary } from "../peers/results.ts";

export interface Panel {
  readonly workload: string;
  readonly title: string;
  readonly summaries: readonly Summary[];
}

const width = 860;
const labelWidth = 280;
const barsWidth = 440;
const rowHeight = 30;
const headHeight = 44;
/** A bar longer than so many times the shortest of the panel is cut: the others could not be told apart beside it. */
const cutFactor = 12;
const colours = {
  ours: { warm: "#0b6e4f", cold: "#8fcfb6" },
  other: { warm: "#5b6472", cold: "#c3c9d2" },
} as const;

export function plot(panels: readonly Panel[]): string {
  const parts: string[] = [];
  let top = 56;
  for (const panel of panels) {
    parts.push(panelOf(panel, top));
    top += headHeight + panel.summaries.length * rowHeight;
  }
  const height = top + 16;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13" fill="#1c2330">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    legend(),
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

function legend(): string {
  const box = (x: number, colour: string): string =>
    `<rect x="${x}" y="18" width="12" height="12" fill="${colour}"/>`;
  const { ours, other } = colours;
  return [
    box(20, ours.warm) + box(34, other.warm),
    `<text x="54" y="29">pool or cluster is up</text>`,
    box(214, ours.cold) + box(228, other.cold),
    `<text x="248" y="29">from nothing, start included (shorter is better; green: everycore)</text>`,
  ].join("\n");
}

function panelOf({ workload, title, summaries }: Panel, top: number): string {
  const measure = measureOf(workload);
  const rows = summaries.map((summary) => ({
    summary,
    cold: summary.cold === undefined ? undefined : measure.of(summary, summary.cold).middle,
    warm: summary.warm === undefined ? undefined : measure.of(summary, summary.warm).middle,
  }));
  const values = rows.flatMap(({ cold, warm }) => [cold, warm]).filter((value) => value !== undefined);
  const longest = Math.min(Math.max(...values), cutFactor * Math.min(...values));
  const lines = rows.map(({ summary, cold, warm }, at) => {
    const y = top + headHeight - 14 + at * rowHeight;
    const kind = isOurs(summary) ? colours.ours : colours.other;
    const weight = isOurs(summary) ? ` font-weight="600"` : "";
    return [
      `<text x="${labelWidth}" y="${y + 17}" text-anchor="end"${weight}>${escaped(summary.contender)}</text>`,
      bar({
        value: warm,
        longest,
        y: cold === undefined ? y + 8 : y + 2,
        colour: kind.warm,
        text: measure.text,
      }),
      bar({
        value: cold,
        longest,
        y: warm === undefined ? y + 8 : y + 14,
        colour: kind.cold,
        text: measure.text,
      }),
    ].join("\n");
  });
  return [
    `<text x="20" y="${top + 18}" font-size="15" font-weight="600">${escaped(title)}</text>`,
    ...lines,
  ].join("\n");
}

interface Bar {
  readonly value: number | undefined;
  readonly longest: number;
  readonly y: number;
  readonly colour: string;
  readonly text: (value: number) => string;
}

function bar({ value, longest, y, colour, text }: Bar): string {
  if (value === undefined) return "";
  const length = Math.max(1, (Math.min(value, longest) / longest) * barsWidth);
  const x = labelWidth + 10;
  const cut =
    value > longest
      ? `<path d="M${x + length - 14} ${y - 1} l4 13 M${x + length - 9} ${y - 1} l4 13" stroke="#ffffff" stroke-width="2"/>`
      : "";
  return (
    `<rect x="${x}" y="${y}" width="${length.toFixed(1)}" height="11" fill="${colour}"/>${cut}` +
    `<text x="${(x + length + 6).toFixed(1)}" y="${y + 10}" font-size="11">${escaped(text(value))}</text>`
  );
}

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
