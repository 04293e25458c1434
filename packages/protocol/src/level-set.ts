/**
 * Small counters per item, kept as nested interval sets: level k holds the items counted at least k+1 times.
 * A lost node strikes two million items at once; that is one interval here, not two million map entries.
 */
import type { Range } from "./ranges.ts";
import { IntervalSet } from "./ranges.ts";

export interface LevelRun extends Range {
  readonly level: number;
}

/** The level of one item in runs that lie apart; 0 where there is none. */
export const levelOf = (runs: readonly LevelRun[], item: number): number =>
  runs.find((run) => run.start <= item && item < run.end)?.level ?? 0;

export class LevelSet {
  readonly #levels: IntervalSet[] = [];

  /** How often `index` was raised. */
  level(index: number): number {
    let level = 0;
    while (level < this.#levels.length && this.#levels[level]!.has(index)) level += 1;
    return level;
  }

  /** Counts every item of [start, end) once more. */
  raise(start: number, end: number): void {
    for (let level = this.#levels.length - 1; level >= 0; level -= 1) {
      const risers = this.#levels[level]!.within(start, end);
      if (risers.length === 0) continue;
      const above = (this.#levels[level + 1] ??= new IntervalSet());
      above.addAll(risers);
    }
    (this.#levels[0] ??= new IntervalSet()).add(start, end);
  }

  /** Sets every item of [start, end) back to 0. */
  clear(start: number, end: number): void {
    for (const level of this.#levels) level.remove(start, end);
  }

  /** Runs of [start, end) with a level of at least 1, in order. */
  within(start: number, end: number): LevelRun[] {
    const runs: LevelRun[] = [];
    for (const part of this.#levels[0]?.within(start, end) ?? []) {
      for (let at = part.start; at < part.end;) {
        const run = this.run(at, part.end);
        runs.push(run);
        at = run.end;
      }
    }
    return runs;
  }

  /** The run of one level that begins at `start`, cut at `end`. */
  run(start: number, end: number): LevelRun {
    const level = this.level(start);
    let stop = end;
    if (level > 0) stop = Math.min(stop, this.#levels[level - 1]!.fromIndex(start)!.end);
    const next = this.#levels[level]?.fromIndex(start);
    if (next !== undefined) stop = Math.min(stop, next.start);
    return { start, end: stop, level };
  }

  get runCount(): number {
    return this.#levels.reduce((sum, level) => sum + level.intervalCount, 0);
  }

  /** Each level's intervals, the lowest first: what it is made of. */
  levels(): Range[][] {
    return this.#levels.map((level) => level.toRanges());
  }

  static of(levels: readonly (readonly Range[])[]): LevelSet {
    const set = new LevelSet();
    set.#levels.push(...levels.map((level) => IntervalSet.of(level)));
    return set;
  }

  /** Items raised at least once. */
  get size(): number {
    return this.#levels[0]?.size ?? 0;
  }

  /** All runs. */
  runs(): LevelRun[] {
    const last = this.#levels[0]?.last();
    return last === undefined ? [] : this.within(0, last.end);
  }
}
