// Items that end in an error, and items that never end.

const cell = new Int32Array(new SharedArrayBuffer(4));

export function odd(n: number): number {
  if (n % 2 === 1) throw new RangeError(`${n} is odd`);
  return n;
}

export function withCause(n: number): number {
  throw new Error(`item ${n} cannot go on`, { cause: new TypeError("the deeper reason") });
}

export function throwsText(): never {
  // oxlint-disable-next-line no-throw-literal -- users do this
  throw "just a text";
}

export function unencodable(n: number): unknown {
  if (n === 1) return { deep: { list: [1, () => 2] } };
  if (n === 2) {
    const circle: { self?: unknown } = {};
    circle.self = circle;
    return circle;
  }
  if (n === 3) return Symbol("mark");
  return n;
}

/** Item 3 runs for ever, without yielding. */
export function stuck(n: number): number {
  while (n === 3) Atomics.wait(cell, 0, 0, 1_000);
  return n;
}

export const stuckForEver = (): never => {
  for (;;) Atomics.wait(cell, 0, 0, 1_000);
};

export const tooLarge = (): Buffer => Buffer.alloc(257 * 1024 * 1024);

export const notAFunction = 42;
