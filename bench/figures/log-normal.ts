/**
 * 1,500 items of very different cost, the heaviest last: how well leases, slices and splits balance. Held against the
 * best that is possible when the heaviest item starts last: half of all the work, and half of that item alone.
 */
import { measureEfficiency } from "../efficiency.ts";
import type { Figure } from "../figure.ts";
import { logNormalMs } from "../statistics.ts";

const itemMs = logNormalMs({ count: 1_500, meanMs: 4, sigma: 1, seed: 1 });
const nominalMs = itemMs.reduce((sum, ms) => sum + ms, 0);
const heaviestShare = Math.max(...itemMs) / nominalMs;

export const logNormal: Figure = {
  name: "log-normal",
  run: (context) =>
    measureEfficiency(context, {
      what: "1,500 log-normal items, js",
      itemMs,
      target: 0.88,
      // T and h as the bare processes took them in the same minute, not as they are on paper.
      ideal: ({ loopSeconds }, processes) =>
        loopSeconds / processes + (loopSeconds * heaviestShare * (processes - 1)) / processes,
    }),
};
