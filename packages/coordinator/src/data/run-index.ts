/**
 * Where the outcome of each item stands in the log: runs of items -> (sequence, first entry), kept in item order
 * and in log order. Built from the accepted parts of a JobFold; pure. A few dozen bytes per run, and a run is
 * what one commit says of neighbours, so a million quick items are some hundred runs.
 */
import type { AcceptedPart, NodeId, OutcomeStatus, Range } from "@everycore/protocol";

export interface Run extends Range {
  readonly status: OutcomeStatus;
  readonly node: NodeId | undefined;
  /** Sealed by the leader: there are no bytes, the seal's record says why. */
  readonly isSealed: boolean;
  readonly seq: number;
  /** Body entry of the first item. */
  readonly entry: number;
  /** One entry for the whole run: a span of a reduced job. */
  readonly isSpan: boolean;
  readonly missing: number;
}

export class RunIndex {
  /** By start; never overlapping. */
  readonly #runs: Run[] = [];
  /** As accepted. Runs that were opened again stay; whoever reads checks with `within`. */
  readonly #order: Run[] = [];

  get size(): number {
    return this.#runs.length;
  }

  get acceptedCount(): number {
    return this.#order.length;
  }

  add(part: AcceptedPart, isSpan: boolean): void {
    const run: Run = {
      start: part.start,
      end: part.end,
      status: part.status,
      node: part.node,
      isSealed: part.lease === undefined,
      seq: part.seq,
      entry: part.entry,
      isSpan,
      missing: part.missing,
    };
    const at = this.#after(run.start);
    if (at === this.#runs.length) this.#runs.push(run);
    else this.#runs.splice(at, 0, run);
    this.#order.push(run);
  }

  /** Items were opened again: their outcomes no longer count. */
  remove(range: Range): void {
    for (let at = this.#first(range.start); at < this.#runs.length;) {
      const run = this.#runs[at]!;
      if (run.start >= range.end) return;
      const rest: Run[] = [];
      if (run.start < range.start) rest.push({ ...run, end: range.start });
      if (run.end > range.end) rest.push(partOf(run, range.end, run.end));
      this.#runs.splice(at, 1, ...rest);
      at += rest.length;
    }
  }

  /** The run that contains `index`, cut to begin there. */
  at(index: number): Run | undefined {
    const run = this.#runs[this.#first(index)];
    return run === undefined || run.start > index ? undefined : partOf(run, index, run.end);
  }

  /** The first run that ends after `index`. */
  from(index: number): Run | undefined {
    const run = this.#runs[this.#first(index)];
    if (run === undefined) return undefined;
    return run.start >= index ? run : partOf(run, index, run.end);
  }

  /** Number `position` in log order, as far as it still counts. */
  accepted(position: number): Run[] {
    const was = this.#order[position];
    if (was === undefined) return [];
    const still: Run[] = [];
    for (let at = this.#first(was.start); at < this.#runs.length; at += 1) {
      const run = this.#runs[at]!;
      if (run.start >= was.end) break;
      if (run.seq === was.seq)
        still.push(partOf(run, Math.max(run.start, was.start), Math.min(run.end, was.end)));
    }
    return still;
  }

  /** Position of the first run with end > index. */
  #first(index: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#runs[middle]!.end > index) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Position of the first run with start > index. */
  #after(index: number): number {
    const last = this.#runs.at(-1);
    if (last === undefined || last.start < index) return this.#runs.length;
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#runs[middle]!.start > index) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function partOf(run: Run, start: number, end: number): Run {
  if (start === run.start && end === run.end) return run;
  return {
    ...run,
    start,
    end,
    entry: run.isSpan || run.isSealed ? run.entry : run.entry + start - run.start,
  };
}
