/** One contender's turn at one workload, and what the turns come to: medians, spread, shares of the bare loop. */
import { table } from "../../packages/cli/src/terminal/table.ts";
import type { BareRun } from "../bare.ts";
import { median, percentile } from "../statistics.ts";
import type { Times } from "./timed-process.ts";
import type { Language } from "./workloads.ts";

export interface Turn extends Times {
  readonly workload: string;
  readonly contender: string;
  readonly language: Language;
  readonly count: number;
  readonly bare?: BareRun;
}

export interface Spread {
  readonly middle: number;
  readonly least: number;
  readonly most: number;
}

/** One row of a workload's table. Times in s. */
export interface Summary {
  readonly contender: string;
  readonly language: Language;
  readonly count: number;
  readonly cold?: Spread;
  readonly first?: Spread;
  readonly warm?: Spread;
  /** The bare loop's time against the contender's: workloads of items that take time. */
  readonly coldShare?: Spread;
  readonly warmShare?: Spread;
}

export function summariesOf(turns: readonly Turn[], workload: string): Summary[] {
  const own = turns.filter((turn) => turn.workload === workload);
  const names = [...new Set(own.map(({ contender }) => contender))];
  return names.map((contender) => {
    const mine = own.filter((turn) => turn.contender === contender);
    const { language, count } = mine[0]!;
    return {
      contender,
      language,
      count,
      ...named("cold", mine, ({ coldSeconds }) => coldSeconds),
      ...named("first", mine, ({ firstSeconds }) => firstSeconds),
      ...named("warm", mine, ({ warmSeconds }) => warmSeconds),
      ...named("coldShare", mine, (turn) => shareOf(turn, turn.coldSeconds)),
      ...named("warmShare", mine, (turn) => shareOf(turn, turn.warmSeconds)),
    };
  });
}

const shareOf = ({ bare }: Turn, seconds: number | undefined): number | undefined =>
  bare === undefined || seconds === undefined ? undefined : bare.seconds / seconds;

function named<Name extends string>(
  name: Name,
  turns: readonly Turn[],
  valueOf: (turn: Turn) => number | undefined,
): Partial<Record<Name, Spread>> {
  const values = turns.map(valueOf).filter((value) => value !== undefined);
  if (values.length === 0) return {};
  const spread = { middle: median(values), least: percentile(values, 0), most: percentile(values, 1) };
  return { [name]: spread } as Partial<Record<Name, Spread>>; // the computed name is Name
}

/** For the terminal. */
export function resultText(turns: readonly Turn[]): string {
  const header = [
    "workload",
    "contender",
    "from nothing, s",
    "first result, s",
    "once up, s",
    "of bare loop, %",
  ];
  const rows = [...new Set(turns.map(({ workload }) => workload))].flatMap((workload) =>
    summariesOf(turns, workload).map(({ contender, cold, first, warm, warmShare, coldShare, count }) => [
      `${workload} x ${count}`,
      contender,
      text(cold),
      text(first),
      text(warm),
      text(warmShare ?? coldShare, 100),
    ]),
  );
  return table(header, rows);
}

const text = (spread: Spread | undefined, factor = 1): string =>
  spread === undefined ? "" : (spread.middle * factor).toFixed(factor === 1 ? 3 : 1);
