import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { statesPage, statesPath } from "./diagrams.ts";

test("docs/internals/states.md is drawn from today's transition tables", () => {
  expect(readFileSync(statesPath, "utf8")).toBe(statesPage());
});
