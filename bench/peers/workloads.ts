/** What every contender is given: the workloads of bench/figures, in the rounds of each language's own loop. */
import { logNormalMs } from "../statistics.ts";

export type Language = "js" | "python" | "program";

export interface Workload {
  readonly name: string;
  readonly title: string;
  /** Function of tasks.ts and tasks.py; `true` is the program /bin/true. */
  readonly task: "spin" | "nothing" | "true";
  /** Durations of the items, ms; for the others `count` says how many there are. */
  readonly itemMs?: readonly number[];
  readonly count: number;
}

const same = (count: number, ms: number): number[] => Array.from({ length: count }, () => ms);

const spinning = (name: string, title: string, itemMs: readonly number[]): Workload => ({
  name,
  title,
  task: "spin",
  itemMs,
  count: itemMs.length,
});

export const workloads: readonly Workload[] = [
  spinning("one-ms", "4,000 items of 1 ms", same(4_000, 1)),
  spinning("ten-ms", "600 items of 10 ms", same(600, 10)),
  spinning(
    "log-normal",
    "1,500 log-normal items of 4 ms in the mean, heaviest last",
    logNormalMs({ count: 1_500, meanMs: 4, sigma: 1, seed: 1 }),
  ),
  { name: "no-op", title: "Items that do nothing, time per item", task: "nothing", count: 1_000_000 },
  { name: "programs", title: "2,000 x /bin/true", task: "true", count: 2_000 },
];

/** Rounds of the language's loop for each item. */
export const roundsOf = ({ itemMs = [] }: Workload, perMs: number): number[] =>
  itemMs.map((ms) => Math.max(1, Math.round(ms * perMs)));
