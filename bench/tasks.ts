/** What the figures run: the same functions in the cluster's workers and in the bare processes. */
import { appendFileSync } from "node:fs";

/** Fixed work: an item that is interrupted takes longer and does not do less, as it would if it watched the clock. */
export function spin(rounds: number): number {
  let state = 1;
  for (let round = 0; round < rounds; round += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
  }
  return state;
}

export function nothing(): void {}

/** About a tenth of a millisecond, whatever the item: of a range, whose items are numbers that say nothing. */
export const brief = (): number => spin(50_000);

/** Comes back as it went: what large items cost on their way. */
export const echo = (bytes: Uint8Array): Uint8Array => bytes;

/** Leaves a line where it runs, so that each run of an item can be counted. */
export function noted({ file, index, rounds }: { file: string; index: number; rounds: number }): number {
  appendFileSync(file, `${index}\n`);
  return spin(rounds);
}

/** Never yields: whoever wants the core has to take it. */
export function endless(): never {
  for (;;);
}

/** Notes the time, ms since 1970, and takes its process with it. */
export function crash(file: string): never {
  appendFileSync(file, `${performance.timeOrigin + performance.now()}\n`);
  process.kill(process.pid, "SIGKILL");
  for (;;);
}
