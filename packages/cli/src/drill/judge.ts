/**
 * What a row's observations are worth. Pure.
 *
 *  B1  lost items, a wrong outcome, an item run again without a reason, or a time beyond the most: FAILED;
 *  B2  a time beyond what is promised alone is `slow`: a busy machine is not a broken cluster;
 *  B3  a time that a row promises and that never came is FAILED: it hung.
 */
import { moments } from "./rows.ts";
import type { Moment, Row } from "./rows.ts";

export interface Sighting {
  readonly items: number;
  /** Items without the outcome that they must have. */
  readonly lost: number;
  /** Starts after the first one of each item; where nobody could count starts, tries that the log has. */
  readonly again: number;
  /** Starts after the first that the disturbance itself explains, and why. */
  readonly againMost: number;
  readonly againWhy: string;
  /** From the disturbance on, ms; absent where it never came, or nobody could see it (`unseen`). */
  readonly times: Readonly<Partial<Record<Moment, number>>>;
  readonly unseen?: readonly Moment[];
  /** What else was wrong, one sentence each. */
  readonly faults: readonly string[];
}

export type Verdict = "ok" | "slow" | "FAILED" | "skipped";

export interface Judgement {
  readonly verdict: Verdict;
  /** Why it is not ok, one sentence each. */
  readonly reasons: readonly string[];
}

const momentNames: Readonly<Record<Moment, string>> = {
  noticed: "was noticed",
  resumed: "went on",
  ended: "ended",
};

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

export function judge(row: Row, seen: Sighting): Judgement {
  const failures = [...seen.faults];
  const slow: string[] = [];
  if (seen.lost > 0) failures.unshift(`${seen.lost} of ${seen.items} items were lost`);
  if (seen.again > seen.againMost)
    failures.push(`${seen.again} items were run again, where ${seen.againMost} at most had a reason`);
  for (const moment of moments) {
    const limit = row.limits[moment];
    if (limit === undefined || seen.unseen?.includes(moment) === true) continue;
    const ms = seen.times[moment];
    if (ms === undefined) failures.push(`it never ${momentNames[moment]}`); // B3
    else if (ms > limit.mostMs)
      failures.push(`it ${momentNames[moment]} after ${seconds(ms)}; ${seconds(limit.mostMs)} is the most`);
    else if (ms > limit.ms)
      slow.push(`it ${momentNames[moment]} after ${seconds(ms)} instead of ${seconds(limit.ms)}`); // B2
  }
  if (failures.length > 0) return { verdict: "FAILED", reasons: [...failures, ...slow] };
  return { verdict: slow.length > 0 ? "slow" : "ok", reasons: slow };
}

/** The starts of items, counted: how many were not an item's first. */
export const startsAgain = (indexes: readonly number[]): number => indexes.length - new Set(indexes).size;
