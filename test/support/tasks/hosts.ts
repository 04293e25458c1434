// Items that meet a bad host, or are bad for theirs.

const cell = new Int32Array(new SharedArrayBuffer(4));

function waitForDeath(): never {
  for (;;) Atomics.wait(cell, 0, 0, 1_000);
}

/** Where the agent's environment says so, each worker dies of its first item. */
export function onBadHost(n: number): number {
  if (process.env["TEST_BAD_HOST"] === "1") {
    process.kill(process.pid, "SIGSEGV");
    waitForDeath();
  }
  Atomics.wait(cell, 0, 0, 20);
  return n;
}

/** Item 5 takes the whole agent with it; a worker is the agent's child. */
export function killsAgent(n: number): number {
  if (n === 5) {
    process.kill(process.ppid, "SIGKILL");
    waitForDeath();
  }
  return n;
}
