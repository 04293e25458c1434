/** A reduction: `--reduce add` combines the squares in a fixed tree, in the workers. */
export const square = (n: number): number => n * n;
export const add = (a: number, b: number): number => a + b;
