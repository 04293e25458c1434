// What one node computes is not what another one does: its agent's environment makes it lie.

import { appendFileSync } from "node:fs";

const cell = new Int32Array(new SharedArrayBuffer(4));

/** The square of its item; of each fifth one a node that lies gives another. */
export function square(n: number): number {
  Atomics.wait(cell, 0, 0, 5);
  return n * n + (process.env["TEST_LIES"] === "1" && n % 5 === 0 ? 1 : 0);
}

/** Large enough for messages of its own; it differs in its last byte alone. */
export function large(n: number): Uint8Array {
  const bytes = new Uint8Array(1_500_000).fill(n);
  if (process.env["TEST_LIES"] === "1" && n === 1) bytes[bytes.length - 1] = 255;
  return bytes;
}

/** Notes where each of its items ran. */
export function noted({ n, log }: { n: number; log: string }): number {
  Atomics.wait(cell, 0, 0, 10);
  appendFileSync(log, `${n}\n`);
  return n;
}
