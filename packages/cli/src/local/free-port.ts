/**
 * A port for a program that does not run yet. Outgoing connections are given ports from 32768 on (Linux) or 49152 on:
 * one of those could take the port meanwhile, even the very try of an agent to reach who is to listen there. So it is
 * sought below them.
 */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { EverycoreError } from "@everycore/protocol";

const lowest = 20_000;
const beyond = 32_000;
const triesMax = 100;

/** Nobody listens there at this moment. */
export function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  const answer = Promise.withResolvers<boolean>();
  server.once("error", () => answer.resolve(false));
  server.listen(port, host, () => server.close(() => answer.resolve(true)));
  return answer.promise;
}

const freedEveryMs = 50;

/** Waits until nobody listens there, at most so long; who comes then says what is wrong. */
export async function untilFree(host: string, port: number, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    if (await isFree(host, port)) return true;
    if (performance.now() >= deadline) return false;
    await delay(freedEveryMs);
  }
}

/** A port of this machine that was free a moment ago. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < triesMax; tries += 1) {
    const port = randomInt(lowest, beyond);
    if (await isFree("127.0.0.1", port)) return port;
  }
  throw new EverycoreError("conflict", `no free port was found from ${lowest} to ${beyond - 1}`, {
    hint: "give one: --listen 127.0.0.1:PORT",
  });
}
