/**
 * Random streams that depend on (job seed, item index) alone, so that 1 core and 400 draw the same (P6):
 * splitmix64 over seed and index seeds xoshiro128**. proto/vectors/random.json fixes both languages.
 */

const mask = (1n << 64n) - 1n;

function splitmix64(state: bigint): [bigint, bigint] {
  const next = (state + 0x9e3779b97f4a7c15n) & mask;
  let z = next;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  return [next, z ^ (z >> 31n)];
}

const rotl = (x: number, k: number): number => ((x << k) | (x >>> (32 - k))) >>> 0;

/** A generator of floats in [0, 1) with 53 random bits. */
export function randomOf(seedHex: string, index: number): () => number {
  let [state, word] = splitmix64((BigInt(`0x${seedHex}`) ^ (BigInt(index) * 0xd1342543de82ef95n)) & mask);
  const first = word;
  [state, word] = splitmix64(state);
  let a = Number(first & 0xffff_ffffn);
  let b = Number(first >> 32n);
  let c = Number(word & 0xffff_ffffn);
  let d = Number(word >> 32n);
  const next = (): number => {
    const result = Math.imul(rotl(Math.imul(b, 5) >>> 0, 7), 9) >>> 0;
    const t = (b << 9) >>> 0;
    c = (c ^ a) >>> 0;
    d = (d ^ b) >>> 0;
    b = (b ^ c) >>> 0;
    a = (a ^ d) >>> 0;
    c = (c ^ t) >>> 0;
    d = rotl(d, 11);
    return result;
  };
  return () => ((next() >>> 5) * 67_108_864 + (next() >>> 6)) / 9_007_199_254_740_992;
}
