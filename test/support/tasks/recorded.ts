// Items that leave a line in a file for each execution, and that can be held until a gate opens.

import { appendFileSync, existsSync } from "node:fs";

export interface RecordedItem {
  readonly file: string;
  readonly index: number;
  readonly ms: number;
  readonly gate?: string;
}

const cell = new Int32Array(new SharedArrayBuffer(4));
const pause = (ms: number): void => void Atomics.wait(cell, 0, 0, ms);

export function run(item: RecordedItem): number {
  appendFileSync(item.file, `${item.index}\n`);
  if (item.ms > 0) pause(item.ms);
  while (item.gate !== undefined && !existsSync(item.gate)) pause(5);
  return item.index;
}

/** Its first execution hangs until the gate opens, or its worker is ended; all others give a value. */
export function hangsOnce(item: RecordedItem & { readonly failures: string }): number {
  const { gate: _, ...free } = item;
  if (existsSync(item.failures)) return run(free);
  if (item.gate === undefined) return run(item);
  appendFileSync(item.failures, "hung once\n");
  return run(item);
}

/** Ends in an error on its first execution, well afterwards. */
export function flaky(item: RecordedItem & { readonly failures: string }): number {
  run(item);
  if (existsSync(item.failures)) return item.index;
  appendFileSync(item.failures, "failed once\n");
  throw new Error(`item ${item.index} fails the first time`);
}

/** Its worker dies on each execution until `failures` exists. */
export function crashesOnce(item: RecordedItem & { readonly failures: string }): number {
  run(item);
  if (existsSync(item.failures)) return item.index;
  appendFileSync(item.failures, "crashed once\n");
  process.kill(process.pid, "SIGSEGV");
  for (;;) pause(1_000);
}

/** Its worker dies on each execution of a poison item. */
export function poisonous(item: RecordedItem & { readonly isPoison: boolean }): number {
  run(item);
  if (item.isPoison) process.kill(process.pid, "SIGSEGV");
  while (item.isPoison) pause(1_000);
  return item.index;
}

export const fraction = (item: RecordedItem & { readonly failures?: string }): number => {
  if (item.failures !== undefined) crashesOnce({ ...item, failures: item.failures });
  return 1 / (item.index * item.index + 1) + Math.sin(item.index) * 1e10;
};

export const add = (left: number, right: number): number => left + right;
