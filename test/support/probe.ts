// Asks processes how they are, again and again, from a thread of its own: what the test itself computes meanwhile must
// not look like a stall of theirs.

import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { setTimeout as delay } from "node:timers/promises";

const pauseMs = 5;

/** Answer times in ms of GETs to all of `urls` at once, sorted, while `work` is done. */
export async function probed(urls: readonly string[], work: () => Promise<void>): Promise<number[]> {
  const thread = new Worker(new URL(import.meta.url), { workerData: urls });
  const started = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<number[]>();
  thread.on("message", (said: number[] | "started") =>
    said === "started" ? started.resolve() : answer.resolve(said),
  );
  thread.once("error", (error) => {
    started.reject(error);
    answer.reject(error);
  });
  answer.promise.catch(() => {}); // awaited below
  await started.promise;
  try {
    await work();
  } finally {
    thread.postMessage("enough");
  }
  const times = await answer.promise;
  await thread.terminate();
  return times.toSorted((left, right) => left - right);
}

/** The median, and the worst but one in a hundred: one answer may be late because the machine is busy. */
export function summaryOf(times: readonly number[]): { median: number; late: number } {
  const at = (share: number): number =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  return { median: at(0.5), late: at(0.99) };
}

if (!isMainThread && Array.isArray(workerData)) {
  const urls = workerData as string[]; // given above
  const times: number[] = [];
  let isEnough = false;
  parentPort!.once("message", () => {
    isEnough = true;
  });
  const ask = (): Promise<string[]> => Promise.all(urls.map(async (url) => (await fetch(url)).text()));
  for (let warming = 0; warming < 5; warming += 1) await ask(); // connections and code of our own
  parentPort!.postMessage("started");
  while (!isEnough) {
    const beganAt = performance.now();
    await ask();
    times.push(performance.now() - beganAt);
    await delay(pauseMs);
  }
  parentPort!.postMessage(times);
}
