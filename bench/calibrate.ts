/** How many rounds of `spin` are a millisecond on this machine. */
import { spin } from "./tasks.ts";

const tries = 15;

/** The quickest of some tries: the others were interrupted. */
export function roundsPerMs(): number {
  spin(2_000_000); // compiled before it is measured
  let least = Number.POSITIVE_INFINITY;
  const rounds = 3_000_000;
  for (let attempt = 0; attempt < tries; attempt += 1) {
    const startedAt = performance.now();
    spin(rounds);
    least = Math.min(least, performance.now() - startedAt);
  }
  return rounds / least;
}
