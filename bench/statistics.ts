/** Medians, percentiles and spread; and random numbers that are the same in every run. */

/** The value below which `share` of the sorted values lie, by nearest rank. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1));
  return sorted[at] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  if (sorted.length % 2 === 1) return sorted[Math.floor(half)] ?? Number.NaN;
  return ((sorted[half - 1] ?? Number.NaN) + (sorted[half] ?? Number.NaN)) / 2;
}

/** mulberry32: uniform in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Log-normal durations, ms, with the heaviest one moved to the end, where it hurts most. */
export function logNormalMs(options: {
  count: number;
  meanMs: number;
  sigma: number;
  seed: number;
}): number[] {
  const { count, meanMs, sigma, seed } = options;
  const random = seededRandom(seed);
  const mu = Math.log(meanMs) - (sigma * sigma) / 2;
  const values = Array.from({ length: count }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.exp(mu + sigma * normal);
  });
  const heaviest = values.indexOf(Math.max(...values));
  return [...values.slice(0, heaviest), ...values.slice(heaviest + 1), values[heaviest]!];
}
