/** 4,000 items of 1 ms: what a slice, a cursor and a commit cost, seen as a share of the cores. */
import { measureEfficiency } from "../efficiency.ts";
import type { Figure } from "../figure.ts";

export const oneMs: Figure = {
  name: "one-ms",
  run: (context) =>
    measureEfficiency(context, {
      what: "4,000 items of 1 ms, js",
      itemMs: Array.from({ length: 4_000 }, () => 1),
      target: 0.85,
      cpuTarget: 0.88,
    }),
};
