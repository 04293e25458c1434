/**
 * How fast a job goes and when it may be over, from counts and times alone. A rate of the last seconds and one of the
 * whole time say different things when a job speeds up or its late items are heavier; the truth is mostly between.
 */

const windowMs = 10_000;
/** Samples kept of the window: one each half second is fine enough. */
const sampleEveryMs = 500;
/** A range narrower than this is one number to a reader. */
const narrow = 1.2;

interface Sample {
  readonly at: number;
  readonly done: number;
}

export interface Estimate {
  /** ms left by the faster and by the slower of the two rates. */
  readonly soonest: number;
  readonly latest: number;
}

export class Pace {
  readonly #samples: Sample[] = [];
  #first: Sample | undefined;
  #last: Sample | undefined;

  /** Times in ms that never run back. Fewer items done than before means that some were opened again. */
  add(at: number, done: number): void {
    if (this.#last !== undefined && done < this.#last.done) {
      this.#samples.length = 0;
      this.#first = undefined;
    }
    const sample = { at, done };
    this.#first ??= sample;
    this.#last = sample;
    const newest = this.#samples.at(-1);
    if (newest === undefined || at - newest.at >= sampleEveryMs) this.#samples.push(sample);
    while (this.#samples.length > 1 && at - this.#samples[1]!.at >= windowMs) this.#samples.shift();
  }

  /** Items per second lately; 0 while nothing is known. */
  perSecond(now: number): number {
    return this.#since(this.#samples[0], now);
  }

  /** undefined while nothing is known. */
  estimate(now: number, left: number): Estimate | undefined {
    const rates = [this.perSecond(now), this.#since(this.#first, now)].filter((rate) => rate > 0);
    if (rates.length === 0 || left <= 0) return undefined;
    const ms = rates.map((rate) => (left / rate) * 1_000);
    return { soonest: Math.min(...ms), latest: Math.max(...ms) };
  }

  #since(from: Sample | undefined, now: number): number {
    if (from === undefined || this.#last === undefined || now <= from.at) return 0;
    return ((this.#last.done - from.done) / (now - from.at)) * 1_000;
  }
}

export const isNarrow = ({ soonest, latest }: Estimate): boolean => latest <= soonest * narrow;
