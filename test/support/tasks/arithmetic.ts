// Items that end well.

interface Context {
  readonly index: number;
  random(): number;
}

export const square = (n: number): number => n * n;

/** Says where it ran. */
export const where = (n: number): { n: number; pid: number } => ({ n, pid: process.pid });

/** Burns a core for so many ms. */
export function burn(ms: number): number {
  const until = performance.now() + ms;
  let rounds = 0;
  while (performance.now() < until) rounds += 1;
  return rounds;
}

export const identity = (value: unknown): unknown => value;

export const noop = (): null => null;

export const later = async (n: number): Promise<number> => {
  await Promise.resolve();
  return n + 1;
};

export const random = (_n: number, context: Context): number[] => [
  context.random(),
  context.random(),
  context.random(),
];

/** Sums of these depend on the order of the additions, to the last bit. */
export const fraction = (n: number): number => 1 / (n * n + 1) + Math.sin(n) * 1e10;

export const add = (left: number, right: number): number => left + right;

/** 1e6 characters of JSON text in, a string of the asked-for bytes out. */
export const lengthOf = (text: string): number => text.length;

export const ofLength = (bytes: number): Buffer => Buffer.alloc(bytes, 0x61);

export function chatty(n: number): number {
  console.log(`item ${n} says hello`);
  console.error(`item ${n} complains`);
  return n;
}
