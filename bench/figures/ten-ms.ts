/** 600 items of 10 ms. */
import { measureEfficiency } from "../efficiency.ts";
import type { Figure } from "../figure.ts";

export const tenMs: Figure = {
  name: "ten-ms",
  run: (context) =>
    measureEfficiency(context, {
      what: "600 items of 10 ms, js",
      itemMs: Array.from({ length: 600 }, () => 10),
      target: 0.92,
    }),
};
