// For a disk that has no room for the outcome of an item that is ended for its time: item 0 leaves the outcome file of
// its worker just below the end of a page, item 1 never ends.

import { appendFileSync, readdirSync, statSync } from "node:fs";

const pageBytes = 4_096;
/** Room that is left behind item 1's head: less than any outcome. */
const leftBytes = 40;
/** A record's head, and what tells the length of a string. */
const overheadBytes = 18 + 3;
const cell = new Int32Array(new SharedArrayBuffer(4));

export function stuck({ index, file }: { index: number; file: string }): string {
  appendFileSync(file, `${index}\n`);
  if (index === 1) for (;;) Atomics.wait(cell, 0, 0, 1_000);
  const [name] = readdirSync("..").filter((entry) => entry.startsWith("out-"));
  // So far it holds the head of this slice; that of the next one is as long.
  const headBytes = statSync(`../${name}`).size;
  return "x".repeat(2 * pageBytes - leftBytes - 2 * headBytes - overheadBytes);
}
