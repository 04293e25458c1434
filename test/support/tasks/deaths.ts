// Items whose worker dies: item 5 of each, all others end well.

const cell = new Int32Array(new SharedArrayBuffer(4));

function waitForDeath(): never {
  for (;;) Atomics.wait(cell, 0, 0, 1_000);
}

export function segfault(n: number): number {
  if (n !== 5) return n;
  process.stderr.write("about to touch memory that is not mine\n");
  process.kill(process.pid, "SIGSEGV");
  return waitForDeath();
}

export function exits(n: number): number {
  if (n === 5) process.exit(7);
  return n;
}

/** As the kernel's out-of-memory killer ends it. */
export function killed(n: number): number {
  if (n !== 5) return n;
  process.kill(process.pid, "SIGKILL");
  return waitForDeath();
}

/** Takes memory until something stops it: 25 MB every 50 ms. */
export function hoards(n: number): number {
  if (n !== 5) return n;
  const kept: Buffer[] = [];
  for (;;) {
    kept.push(Buffer.alloc(25 * 1024 * 1024, kept.length));
    Atomics.wait(cell, 0, 0, 50);
  }
}

export function throwsLater(n: number): Promise<number> | number {
  if (n !== 5) return n;
  setTimeout(() => {
    throw new Error("nobody catches this");
  }, 0);
  return new Promise<number>(() => {});
}

export const always = (): never => process.exit(9);
