// A task that starts programs of its own: a cancel must take them too.

import { spawn } from "node:child_process";
import { appendFileSync } from "node:fs";

const cell = new Int32Array(new SharedArrayBuffer(4));

/** Starts a child that would live for ever, writes its pid, and hangs. */
export function parent(item: { readonly file: string }): never {
  const child = spawn("sleep", ["1000000"], { stdio: "ignore" });
  appendFileSync(item.file, `${process.pid} ${child.pid}\n`);
  for (;;) Atomics.wait(cell, 0, 0, 1_000);
}
