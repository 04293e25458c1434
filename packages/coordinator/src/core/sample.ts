/**
 * Which items of a job are checked (spot-checks.ts): drawn by a seed that follows from the job's key, so that agents
 * cannot know them and any later leader draws the same. Gaps are drawn, not items: a sample costs what it holds.
 */
import { limits } from "@everycore/protocol/pure";

export type SampleSeed = readonly [number, number, number, number];

/** Where the sample would pass its bound, this share of it stays, again and again: as many from each part of the job. */
const thinning = 7 / 8;

interface Drawn {
  readonly index: number;
  /** From 0 to 1: it stays while this is below what thinning leaves. */
  readonly rank: number;
}

export class Sample {
  readonly #seed: SampleSeed;
  readonly #share: number;
  readonly #next: () => number;
  #drawn: Drawn[] = [];
  #stays = 1;
  #thinnings = 0;
  /** The next item that is drawn. */
  #ahead: number;

  /** `total` where it is known before the first item: the share falls at once, to what the bound allows. */
  constructor(seed: SampleSeed, share: number, total: number | undefined) {
    const isTooLarge = total !== undefined && total * share > limits.spotChecksMax;
    this.#seed = seed;
    this.#share = isTooLarge ? (limits.spotChecksMax / total) * thinning : share;
    this.#next = uniform(seed);
    this.#ahead = this.#gap();
  }

  /** Items of the sample in [start, end), in their order, once all before `end` are drawn. */
  within(start: number, end: number): number[] {
    this.#drawTo(end);
    const found: number[] = [];
    for (let at = this.#firstFrom(start); at < this.#drawn.length; at += 1) {
      const { index } = this.#drawn[at]!;
      if (index >= end) break;
      found.push(index);
    }
    return found;
  }

  /** Of the first `total` items: the same, in whatever steps they were drawn. */
  has(index: number): boolean {
    return this.#drawn[this.#firstFrom(index)]?.index === index;
  }

  /** How often it had to be made smaller. */
  get thinnings(): number {
    return this.#thinnings;
  }

  /** The same, of which nothing is drawn yet. */
  fresh(): Sample {
    return new Sample(this.#seed, this.#share, undefined);
  }

  get size(): number {
    return this.#drawn.length;
  }

  #drawTo(end: number): void {
    while (this.#ahead < end) {
      const rank = this.#next();
      if (rank < this.#stays) this.#drawn.push({ index: this.#ahead, rank });
      this.#ahead += 1 + this.#gap();
      while (this.#drawn.length > limits.spotChecksMax) this.#thin();
    }
  }

  #thin(): void {
    this.#stays *= thinning;
    this.#thinnings += 1;
    this.#drawn = this.#drawn.filter(({ rank }) => rank < this.#stays);
  }

  #gap(): number {
    if (this.#share >= 1) return 0;
    return Math.floor(Math.log(1 - this.#next()) / Math.log1p(-this.#share));
  }

  /** Position of the first that is at `index` or behind it. */
  #firstFrom(index: number): number {
    let lo = 0;
    let hi = this.#drawn.length;
    while (lo < hi) {
      const mid = (lo + hi) >>> 1;
      if (this.#drawn[mid]!.index < index) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }
}

/** xoshiro128** by Blackman and Vigna: 53 bits of two draws, from 0 up to 1. */
function uniform([s0, s1, s2, s3]: SampleSeed): () => number {
  let a = s0 >>> 0;
  let b = s1 >>> 0;
  let c = s2 >>> 0;
  let d = (s3 | 1) >>> 0; // never all zero
  const draw = (): number => {
    const scaled = Math.imul(b, 5);
    const result = Math.imul((scaled << 7) | (scaled >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return result;
  };
  return () => ((draw() >>> 5) * 2 ** 26 + (draw() >>> 6)) / 2 ** 53;
}
