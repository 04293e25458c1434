/**
 * Sets of item indices as sorted, disjoint, half-open intervals [start, end). Ten million covered items are
 * one interval: memory follows the number of gaps, never the number of items. Pure; shared by the fold, both
 * cores, the simulator and readers.
 */

/** Half-open range of item indices. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export const rangeSize = (range: Range): number => range.end - range.start;

/** Sum of the sizes of `ranges`. */
export function sizeOf(ranges: readonly Range[]): number {
  let total = 0;
  for (const range of ranges) total += range.end - range.start;
  return total;
}

export class IntervalSet {
  // Two parallel arrays, so that a binary search touches numbers only.
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #size = 0;

  static of(ranges: Iterable<Range>): IntervalSet {
    const set = new IntervalSet();
    for (const range of ranges) set.add(range.start, range.end);
    return set;
  }

  /** Number of indices in the set. */
  get size(): number {
    return this.#size;
  }

  get isEmpty(): boolean {
    return this.#size === 0;
  }

  /** Number of intervals, which is what the set costs. */
  get intervalCount(): number {
    return this.#starts.length;
  }

  /** First interval, or undefined. */
  first(): Range | undefined {
    return this.#size === 0 ? undefined : { start: this.#starts[0]!, end: this.#ends[0]! };
  }

  /** Last interval, or undefined. */
  last(): Range | undefined {
    const n = this.#starts.length;
    return n === 0 ? undefined : { start: this.#starts[n - 1]!, end: this.#ends[n - 1]! };
  }

  has(index: number): boolean {
    const at = this.#firstEndingAfter(index);
    return at < this.#starts.length && this.#starts[at]! <= index;
  }

  /** True if any index of [start, end) is in the set. */
  intersects(start: number, end: number): boolean {
    if (start >= end) return false;
    const at = this.#firstEndingAfter(start);
    return at < this.#starts.length && this.#starts[at]! < end;
  }

  /** True if every index of [start, end) is in the set. */
  covers(start: number, end: number): boolean {
    if (start >= end) return true;
    const at = this.#firstEndingAfter(start);
    return at < this.#starts.length && this.#starts[at]! <= start && this.#ends[at]! >= end;
  }

  /** Adds [start, end); returns how many indices were new. */
  add(start: number, end: number): number {
    if (!(start < end)) return 0;
    // Intervals that touch [start, end), adjacent ones included, melt into one.
    const from = this.#firstEndingAtOrAfter(start);
    let to = from;
    let lo = start;
    let hi = end;
    let had = 0;
    while (to < this.#starts.length && this.#starts[to]! <= end) {
      lo = Math.min(lo, this.#starts[to]!);
      hi = Math.max(hi, this.#ends[to]!);
      had += this.#ends[to]! - this.#starts[to]!;
      to += 1;
    }
    if (to - from === 1) {
      this.#starts[from] = lo;
      this.#ends[from] = hi;
    } else {
      this.#starts.splice(from, to - from, lo);
      this.#ends.splice(from, to - from, hi);
    }
    const added = hi - lo - had;
    this.#size += added;
    return added;
  }

  /** Removes [start, end); returns how many indices were there. */
  remove(start: number, end: number): number {
    if (!(start < end)) return 0;
    const from = this.#firstEndingAfter(start);
    let to = from;
    let removed = 0;
    const keptStarts: number[] = [];
    const keptEnds: number[] = [];
    while (to < this.#starts.length && this.#starts[to]! < end) {
      const lo = this.#starts[to]!;
      const hi = this.#ends[to]!;
      if (lo < start) {
        keptStarts.push(lo);
        keptEnds.push(start);
      }
      if (hi > end) {
        keptStarts.push(end);
        keptEnds.push(hi);
      }
      removed += Math.min(hi, end) - Math.max(lo, start);
      to += 1;
    }
    if (removed === 0) return 0;
    this.#starts.splice(from, to - from, ...keptStarts);
    this.#ends.splice(from, to - from, ...keptEnds);
    this.#size -= removed;
    return removed;
  }

  /** The parts of [start, end) that are in the set, in order. */
  within(start: number, end: number): Range[] {
    const found: Range[] = [];
    for (
      let at = this.#firstEndingAfter(start);
      at < this.#starts.length && this.#starts[at]! < end;
      at += 1
    ) {
      const lo = Math.max(start, this.#starts[at]!);
      const hi = Math.min(end, this.#ends[at]!);
      if (lo < hi) found.push({ start: lo, end: hi });
    }
    return found;
  }

  /** The parts of [start, end) that are not in the set, in order. */
  missingIn(start: number, end: number): Range[] {
    const missing: Range[] = [];
    let at = start;
    for (const part of this.within(start, end)) {
      if (part.start > at) missing.push({ start: at, end: part.start });
      at = part.end;
    }
    if (at < end) missing.push({ start: at, end });
    return missing;
  }

  /** The interval that contains `index`, or the first after it, cut at `index`; undefined when none. */
  fromIndex(index: number): Range | undefined {
    const at = this.#firstEndingAfter(index);
    if (at >= this.#starts.length) return undefined;
    return { start: Math.max(index, this.#starts[at]!), end: this.#ends[at]! };
  }

  addAll(ranges: Iterable<Range>): void {
    for (const range of ranges) this.add(range.start, range.end);
  }

  removeAll(ranges: Iterable<Range>): void {
    for (const range of ranges) this.remove(range.start, range.end);
  }

  toRanges(): Range[] {
    return this.#starts.map((start, at) => ({ start, end: this.#ends[at]! }));
  }

  *[Symbol.iterator](): IterableIterator<Range> {
    for (let at = 0; at < this.#starts.length; at += 1) {
      yield { start: this.#starts[at]!, end: this.#ends[at]! };
    }
  }

  clone(): IntervalSet {
    return IntervalSet.of(this);
  }

  clear(): void {
    this.#starts.length = 0;
    this.#ends.length = 0;
    this.#size = 0;
  }

  /** Position of the first interval whose end is > index. */
  #firstEndingAfter(index: number): number {
    let lo = 0;
    let hi = this.#ends.length;
    while (lo < hi) {
      const mid = (lo + hi) >>> 1;
      if (this.#ends[mid]! > index) hi = mid;
      else lo = mid + 1;
    }
    return lo;
  }

  #firstEndingAtOrAfter(index: number): number {
    let lo = 0;
    let hi = this.#ends.length;
    while (lo < hi) {
      const mid = (lo + hi) >>> 1;
      if (this.#ends[mid]! >= index) hi = mid;
      else lo = mid + 1;
    }
    return lo;
  }
}
