// Versions of nats-server: the floor, the pinned ones, and how a binary is asked for its own.

import { run } from "./run.ts";

/** 2.12.7 is the first release with everything the job logs use and without the holes of the ones before. */
export const NATS_SERVER_VERSION_MIN = "2.12.7";

const VERSION_TIMEOUT_MS = 5_000;

/** Asks a binary for its version; undefined when it is none, or not a nats-server. */
export async function readVersion(path: string, signal?: AbortSignal): Promise<string | undefined> {
  try {
    const output = await run(path, ["--version"], { timeoutMs: VERSION_TIMEOUT_MS, signal });
    return /nats-server:? v?(\d+\.\d+\.\d+)/.exec(output)?.[1];
  } catch {
    signal?.throwIfAborted();
    return undefined; // not runnable here: another platform's binary, or no nats-server at all
  }
}

export function isRecentEnough(version: string): boolean {
  return compareVersions(version, NATS_SERVER_VERSION_MIN) >= 0;
}

/** Negative, zero or positive, as sort functions want it. */
export function compareVersions(left: string, right: string): number {
  const leftParts = left.split(".").map(Number);
  const rightParts = right.split(".").map(Number);
  for (let index = 0; index < 3; index += 1) {
    const difference = (leftParts[index] ?? 0) - (rightParts[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
