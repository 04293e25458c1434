/**
 * The tasks that a drill runs, bundled and sent as a user's would be. Each start of an item is written down where the
 * nodes share this machine: one line by one write(2), so that lines of several workers never mix.
 */
import { appendFileSync, closeSync, openSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";

export interface CannedItem {
  readonly index: number;
  /** How long it runs. */
  readonly ms: number;
  /** Gets a line at each start: index, ms since epoch, pid of the worker, pid of its agent. */
  readonly file?: string;
  /** Its worker dies of it, each time. */
  readonly isDeadly?: boolean;
  /** Bytes that it prints. */
  readonly printBytes?: number;
  /** Bytes that it leaves in the folder of its worker, which is in the agent's state directory and goes with the worker. */
  readonly fillBytes?: number;
}

const cell = new Int32Array(new SharedArrayBuffer(4));
const pause = (ms: number): void => void Atomics.wait(cell, 0, 0, ms);

export function canned(item: CannedItem): number | Promise<number> {
  const { index, ms, file, isDeadly = false, printBytes = 0, fillBytes = 0 } = item;
  if (file !== undefined) appendFileSync(file, `${index} ${Date.now()} ${process.pid} ${process.ppid}\n`);
  if (printBytes > 0) return print(printBytes).then(() => index);
  if (fillBytes > 0) fill(fillBytes);
  pause(ms);
  while (isDeadly) {
    process.kill(process.pid, "SIGSEGV");
    pause(1_000);
  }
  return index;
}

/** Waits until it is out of the worker: what a dead worker still had in memory, nobody could count. */
const print = (bytes: number): Promise<void> =>
  new Promise((resolve) => process.stdout.write(`${"x".repeat(bytes - 1)}\n`, () => resolve()));

/** Of noise: disks may pack what repeats. */
function fill(bytes: number): void {
  const piece = randomBytes(1024 * 1024);
  const file = openSync("drill-fill", "w");
  for (let left = bytes; left > 0;) left -= writeSync(file, piece, 0, Math.min(left, piece.length));
  closeSync(file);
}

/** An item of a long queue: it would run for a minute, and answers nobody meanwhile. */
export function patient(n: number): number {
  pause(60_000);
  return n;
}
