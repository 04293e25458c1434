import type { TaskContext } from "@everycore/client";

/** How many of 10,000 darts hit the quarter of a circle. */
export function throwDarts(_round: number, { random }: TaskContext): number {
  let hits = 0;
  for (let dart = 0; dart < 10_000; dart += 1) if (random() ** 2 + random() ** 2 < 1) hits += 1;
  return hits;
}

export const add = (left: number, right: number): number => left + right;
