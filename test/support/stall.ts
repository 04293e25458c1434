// How long a coordinator's own thread stood still, as its event loop saw it: whatever else the machine does, an answer
// that comes late because the asker was busy is not counted.

import { readFile } from "node:fs/promises";
import type { Role } from "./role.ts";

/** The loop looks at its clock this often: a delay of so much is none. */
const resolutionMs = 10;

/** The longest stall since this was last asked, ms: reading the metrics begins anew. */
async function longestStall(coordinator: Pick<Role, "get">): Promise<number> {
  const { text } = await coordinator.get("/metrics");
  const found = /^everycore_coordinator_nodejs_eventloop_lag_max_seconds (\S+)$/m.exec(text);
  if (found === null) throw new Error("the coordinator's metrics say nothing of its event loop");
  return Math.max(0, Number(found[1]) * 1_000 - resolutionMs);
}

/** ms that its main thread could have run and had no core, since it began; 0 where the kernel does not say. */
async function waitedForCore({ pid }: Pick<Role, "pid">): Promise<number> {
  const text = await readFile(`/proc/${pid}/schedstat`, "utf8").catch(() => "");
  return Number(text.split(" ")[1] ?? 0) / 1e6;
}

/** No message makes everybody else wait for longer, ms. */
const stallMs = 50;
/** On a machine with more to do than it has cores, ms. */
const crowdedStallMs = 500;
/** Share of the time that a thread waits for a core there. */
const crowdedShare = 0.05;
const triesMax = 3;

/**
 * Does `work` while it is measured, and again if the coordinator stood still for too long: a message that stalls it
 * does so each time, another process on the same core does not. Gives how often it was done; throws when it always
 * stalled.
 */
export async function withoutStall(
  coordinator: Pick<Role, "get" | "pid">,
  work: () => Promise<void>,
): Promise<number> {
  const seen: number[] = [];
  while (seen.length < triesMax) {
    await longestStall(coordinator); // begins to measure
    const before = { at: performance.now(), waited: await waitedForCore(coordinator) };
    await work();
    const longest = await longestStall(coordinator);
    const waited = (await waitedForCore(coordinator)) - before.waited;
    seen.push(Math.round(longest));
    const isCrowded = waited > crowdedShare * (performance.now() - before.at);
    if (longest <= (isCrowded ? crowdedStallMs : stallMs)) return seen.length;
  }
  throw new Error(`the coordinator stood still for ${seen.join(", ")} ms in ${triesMax} tries`);
}
