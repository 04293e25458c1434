// Bytes and values that nobody asked for: from a seed, so that a failure can be had again.

import { encode } from "@everycore/protocol";

export interface Dice {
  /** 0 <= n < sides */
  readonly roll: (sides: number) => number;
  readonly pick: <T>(list: readonly T[]) => T;
}

/** mulberry32: small, good enough to hit every branch, the same everywhere. */
export function dice(seed: number): Dice {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const roll = (sides: number): number => Math.floor(next() * sides);
  return { roll, pick: (list) => list[roll(list.length)]! };
}

export const randomBytesOf = ({ roll }: Dice, lengthMax: number): Buffer =>
  Buffer.from(Array.from({ length: roll(lengthMax) }, () => roll(256)));

const hostileNumbers = [
  0,
  -1,
  1,
  0.5,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 53 - 1,
  2 ** 53,
  1e300,
  -1e300,
  Number.NaN,
  Infinity,
];
const hostileTexts = [
  "",
  "0",
  "__proto__",
  "constructor",
  "../../etc/passwd",
  "\0",
  "🦊".repeat(50),
  "a".repeat(70_000),
  "%s%n",
  "'; --",
];

export const hostileNumber = (of: Dice): number => of.pick(hostileNumbers);
export const hostileText = (of: Dice): string => of.pick(hostileTexts);

/** A value of any kind, nested a little. */
export function hostileValue(of: Dice, depth = 3): unknown {
  switch (of.roll(depth > 0 ? 9 : 7)) {
    case 0:
      return null;
    case 1:
      return of.roll(2) === 0;
    case 2:
    case 3:
      return hostileNumber(of);
    case 4:
      return hostileText(of);
    case 5:
      return randomBytesOf(of, 64);
    case 6:
      return 2n ** 63n - 1n;
    case 7:
      return Array.from({ length: of.roll(4) }, () => hostileValue(of, depth - 1));
    default:
      return Object.fromEntries(
        Array.from({ length: of.roll(4) }, () => [
          of.pick(["v", "job", "__proto__", "x"]),
          hostileValue(of, depth - 1),
        ]),
      );
  }
}

/** The message, changed: bytes flipped, cut, repeated, or fields of its map replaced and left out. */
export function mutate(of: Dice, fields: Readonly<Record<string, unknown>>): Buffer {
  const whole = encode(fields);
  switch (of.roll(5)) {
    case 0:
      return randomBytesOf(of, 300);
    case 1:
      return whole.subarray(0, of.roll(whole.length));
    case 2:
      return flip(of, whole);
    case 3:
      return Buffer.concat([whole, whole]);
    default:
      return encode(replace(of, fields));
  }
}

function flip(of: Dice, bytes: Buffer): Buffer {
  const flipped = Buffer.from(bytes);
  for (let count = 1 + of.roll(4); count > 0; count -= 1) flipped[of.roll(flipped.length)] = of.roll(256);
  return flipped;
}

function replace(of: Dice, fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const changed: Record<string, unknown> = { ...fields };
  const names = Object.keys(fields);
  for (let count = 1 + of.roll(2); count > 0; count -= 1) {
    const name = of.pick(names);
    if (of.roll(4) === 0) delete changed[name];
    else changed[name] = hostileValue(of);
  }
  return changed;
}
