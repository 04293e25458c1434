// Waiting for a condition without guessing how long it takes.

import { setTimeout as delay } from "node:timers/promises";

export interface UntilOptions {
  /** The deadline. Default 10 s; generous, because a passing test never waits for it. */
  readonly withinMs?: number;
  /** What is waited for, as it should stand in the failure: "the job to be done". */
  readonly what: string;
  /** Default 20 ms. */
  readonly everyMs?: number;
}

/**
 * Polls `condition` until it gives something truthy, and returns that. A condition that throws counts as "not yet";
 * its last error becomes the cause of the failure.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  options: UntilOptions,
): Promise<NonNullable<T>> {
  const { withinMs = 10_000, what, everyMs = 20 } = options;
  const deadline = performance.now() + withinMs;
  let lastError: unknown;
  do {
    try {
      const value = await condition();
      if (value) return value;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    await delay(everyMs);
  } while (performance.now() < deadline);
  throw new Error(`waited ${withinMs} ms in vain for ${what}`, { cause: lastError });
}
