/**
 * What has befallen items that have no outcome yet, part of the fold (fold.ts): tries that ended in an error, deaths
 * that they were seen in (F2), suspicions (F6). A reopen forgets it (F4).
 */
import type { LeaseId, NodeId } from "./ids.ts";
import type { LevelRun } from "./level-set.ts";
import { LevelSet } from "./level-set.ts";
import type { Range } from "./ranges.ts";
import { IntervalSet } from "./ranges.ts";
import type { DeathDetail, LeaseGrant, StrikeCause } from "./records.ts";

/** A crash of one item: which node, and how its worker died. */
export interface Crash {
  readonly node: NodeId;
  readonly detail: DeathDetail | undefined;
}

/** All of them as data (checkpoint.ts). */
export interface MishapsSnapshot {
  /** By level: how often at least. */
  readonly agains: readonly (readonly Range[])[];
  readonly lost: readonly (readonly Range[])[];
  readonly suspected: readonly Range[];
  readonly crashes: readonly (readonly [number, readonly Crash[]])[];
  readonly counted: readonly (readonly [LeaseId, readonly Range[]])[];
}

export class Mishaps {
  #agains = new LevelSet();
  #lost = new LevelSet();
  readonly #suspected = new IntervalSet();
  readonly #crashes = new Map<number, Crash[]>();
  /** F2: items whose again or strike under this lease has been counted. */
  readonly #counted = new Map<LeaseId, IntervalSet>();

  /** Tries of `index` that ended in `again`. */
  attempts(index: number): number {
    return this.#agains.level(index);
  }

  /** Runs with `again`s inside [start, end): what a lease's `attempts` are made of. */
  attemptsWithin(start: number, end: number): LevelRun[] {
    return this.#agains.within(start, end);
  }

  /** Items of [start, end) whose membership in the lease has not ended by an again or a strike (F2). */
  membersOf(lease: LeaseId, range: Range): Range[] {
    return this.#counted.get(lease)?.missingIn(range.start, range.end) ?? [range];
  }

  crashes(index: number): readonly Crash[] {
    return this.#crashes.get(index) ?? [];
  }

  /** First item of [start, end) that has a crash strike. */
  nextCrashed(start: number, end: number): number | undefined {
    let next: number | undefined;
    for (const index of this.#crashes.keys()) {
      if (index >= start && index < end && (next === undefined || index < next)) next = index;
    }
    return next;
  }

  lostCount(index: number): number {
    return this.#lost.level(index);
  }

  /** The run of items from `start` with the same number of `lost` strikes. */
  lostRun(start: number, end: number): LevelRun {
    return this.#lost.run(start, end);
  }

  /** The run of items from `start` that are run with the same care: by `lost` strikes, a suspicion being as one of them. */
  careRun(start: number, end: number): LevelRun {
    const run = this.#lost.run(start, end);
    const next = run.level > 0 ? undefined : this.#suspected.fromIndex(start);
    if (next === undefined || next.start >= run.end) return run;
    return next.start > start
      ? { ...run, end: next.start }
      : { start, end: Math.min(run.end, next.end), level: 1 };
  }

  /** F2: the items of `range` that were not counted under this lease before; counts them. */
  countOnce(range: Range, lease: LeaseId): Range[] {
    let counted = this.#counted.get(lease);
    if (counted === undefined) this.#counted.set(lease, (counted = new IntervalSet()));
    const fresh = counted.missingIn(range.start, range.end);
    counted.add(range.start, range.end);
    return fresh;
  }

  /** One more try that ended in an error; the runs with their tries so far. */
  again(range: Range): LevelRun[] {
    this.#agains.raise(range.start, range.end);
    return this.#agains.within(range.start, range.end);
  }

  strike(range: Range, of: { cause: StrikeCause; lease: LeaseGrant; detail: DeathDetail | undefined }): void {
    const { lease, cause, detail } = of;
    if (cause === "lost") return this.#lost.raise(range.start, range.end);
    // A crash names the one item that ran; agents write no longer ranges.
    for (let index = range.start; index < range.end; index += 1) {
      const crashes = this.#crashes.get(index) ?? [];
      this.#crashes.set(index, [...crashes, { node: lease.node, detail }]);
    }
  }

  suspect(range: Range): void {
    this.#suspected.add(range.start, range.end);
  }

  /** Intervals in all. */
  get runCount(): number {
    const sets = [this.#suspected, ...this.#counted.values()];
    const runs = sets.reduce((sum, items) => sum + items.intervalCount, 0);
    return runs + this.#agains.runCount + this.#lost.runCount + this.#crashes.size;
  }

  snapshot(): MishapsSnapshot {
    return {
      agains: this.#agains.levels(),
      lost: this.#lost.levels(),
      suspected: this.#suspected.toRanges(),
      crashes: [...this.#crashes],
      // A reopen may have left nothing of them.
      counted: [...this.#counted]
        .filter(([, items]) => !items.isEmpty)
        .map(([lease, items]) => [lease, items.toRanges()]),
    };
  }

  static of({ agains, lost, suspected, crashes, counted }: MishapsSnapshot): Mishaps {
    const mishaps = new Mishaps();
    mishaps.#agains = LevelSet.of(agains);
    mishaps.#lost = LevelSet.of(lost);
    mishaps.#suspected.addAll(suspected);
    for (const [index, of] of crashes) mishaps.#crashes.set(index, [...of]);
    for (const [lease, ranges] of counted) mishaps.#counted.set(lease, IntervalSet.of(ranges));
    return mishaps;
  }

  forget({ start, end }: Range): void {
    this.#agains.clear(start, end);
    this.#lost.clear(start, end);
    this.#suspected.remove(start, end);
    for (const set of this.#counted.values()) set.remove(start, end);
    for (const index of this.#crashes.keys()) {
      if (index >= start && index < end) this.#crashes.delete(index);
    }
  }
}
