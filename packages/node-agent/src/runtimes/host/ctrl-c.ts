/**
 * Ctrl-C for a loop in a process that is not a worker host. Node ends a script that never yields, if asked; for that it
 * takes SIGINT to itself as the script begins, takes the process's listeners off, and gives all back at the end. In
 * between there are moments when SIGINT ends the process by force, with its files left behind; between two short
 * slices they come hundreds of times a second.
 *
 * So a thread waits in such a script for as long as the process lives: Node then has the signal all the time. It tells
 * the script that began last: the turn that runs, or else our thread, which tells the listeners.
 */
import type { Script } from "node:vm";
import { Worker } from "node:worker_threads";

const code = `
const { parentPort } = require("node:worker_threads");
const { Script } = require("node:vm");
const cell = new Int32Array(new SharedArrayBuffer(4));
globalThis.wait = () => {
  parentPort.postMessage("waits");
  Atomics.wait(cell, 0, 0);
};
const script = new Script("wait()");
for (;;) {
  try {
    script.runInThisContext({ breakOnSigint: true });
  } catch {
    parentPort.postMessage("SIGINT");
  }
}
`;

let holding: Promise<void> | undefined;
let isHeld = false;

/** From now on SIGINT reaches its listeners at any moment. Once for a process; without listeners it is left alone. */
export function holdCtrlC(): Promise<void> {
  if (process.listenerCount("SIGINT") === 0) return Promise.resolve();
  return (holding ??= hold());
}

async function hold(): Promise<void> {
  const settled = Promise.withResolvers<void>();
  // Nothing of how this process is profiled: it would be a profile of a thread that waits.
  const thread = new Worker(code, { eval: true, execArgv: [], env: {} });
  thread.on("message", (message) => {
    if (message === "SIGINT") process.emit("SIGINT", "SIGINT");
    isHeld = true;
    settled.resolve();
  });
  const lost = (): void => {
    isHeld = false; // each turn takes the signal and gives it back, as without us
    settled.resolve();
  };
  thread.on("error", lost);
  thread.on("exit", lost);
  await settled.promise;
  thread.unref();
}

/** Runs a script that Ctrl-C ends. It must call `taken` before anything else. */
export function runBreakable(script: Script): void {
  // Node takes listeners off where there are some, and with the last of them its hold of the signal would go.
  if (isHeld) Object.defineProperty(process, "listenerCount", { configurable: true, value: () => 0 });
  try {
    script.runInThisContext({ breakOnSigint: true });
  } finally {
    taken();
  }
}

export const taken = (): void => void Reflect.deleteProperty(process, "listenerCount");
