/** What a figure is: one row of the table, with the script that measures it. */
import { median, percentile } from "./statistics.ts";

export interface FigureContext {
  /** How often each side is run; the median counts. */
  readonly repeat: number;
  readonly signal: AbortSignal;
  /** Progress for people. */
  readonly say: (line: string) => void;
}

export interface Row {
  readonly what: string;
  readonly target: string;
  readonly measured: string;
  /** Measured to target, so that 1 or more is good whatever the unit. */
  readonly ratio: number;
  /** Lowest and highest of the repetitions. */
  readonly spread: string;
}

export interface FigureResult {
  readonly rows: readonly Row[];
  /** Repetitions, where they are not as many as were asked for. */
  readonly turns?: number;
  /** All numbers behind the rows, for the file. */
  readonly details: unknown;
}

export interface Figure {
  readonly name: string;
  readonly run: (context: FigureContext) => Promise<FigureResult>;
}

interface Amounts {
  readonly what: string;
  readonly target: number;
  readonly values: readonly number[];
  /** A number as the table shows it. */
  readonly text: (value: number) => string;
}

/** The more the better: shares, speeds. */
export const atLeast = (amounts: Amounts): Row => row(amounts, ">=", (value) => value / amounts.target);

/** The less the better: times, memory. */
export const atMost = (amounts: Amounts): Row => row(amounts, "<=", (value) => amounts.target / value);

function row(amounts: Amounts, sign: string, ratioOf: (value: number) => number): Row {
  const { what, target, values, text } = amounts;
  const middle = median(values);
  return {
    what,
    target: `${sign} ${text(target)}`,
    measured: text(middle),
    ratio: ratioOf(middle),
    spread: values.length < 2 ? "" : `${text(percentile(values, 0))} .. ${text(percentile(values, 1))}`,
  };
}

/** What must not have happened at all. */
export const never = (what: string, times: number): Row => ({
  what,
  target: "0",
  measured: String(times),
  ratio: times === 0 ? 1 : 0,
  spread: "",
});

export const percentText = (share: number): string => `${(100 * share).toFixed(1)} %`;
export const msText = (ms: number): string => `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
export const megabytesText = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
