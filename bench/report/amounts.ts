/** What is compared in a workload, and how it is written: a time, or a time per item where the counts differ. */
import type { Spread, Summary } from "../peers/results.ts";

export interface Measure {
  readonly of: (summary: Summary, spread: Spread) => Spread;
  readonly text: (value: number) => string;
}

const scaled = ({ middle, least, most }: Spread, factor: number): Spread => ({
  middle: middle * factor,
  least: least * factor,
  most: most * factor,
});

export const measureOf = (workload: string): Measure =>
  workload === "no-op"
    ? { of: ({ count }, spread) => scaled(spread, 1e6 / count), text: (value) => `${digits(value)} us` }
    : { of: (_summary, spread) => spread, text: (value) => `${digits(value)} s` };

/** Three significant digits. */
export const digits = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

export const isOurs = ({ contender }: Pick<Summary, "contender">): boolean =>
  contender.startsWith("everycore");
