/** The list of mutations stays true to the code: each can be made, and each has something that should notice. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { mutations } from "./mutations.ts";

const root = join(import.meta.dirname, "../..");
const timesIn = (text: string, part: string): number => text.split(part).length - 1;

test.for(mutations)("its text stands in the code once: $name", ({ edits, seeds, test: file }) => {
  for (const edit of edits) {
    expect(timesIn(readFileSync(join(root, edit.file), "utf8"), edit.find), edit.find).toBe(1);
    expect(edit.replace).not.toBe(edit.find);
  }
  expect(seeds !== undefined || file !== undefined).toBe(true);
  if (file !== undefined) expect(existsSync(join(root, file)), file).toBe(true);
});

test("there are more than twenty, each under a name of its own", () => {
  expect(mutations.length).toBeGreaterThanOrEqual(20);
  expect(new Set(mutations.map(({ name }) => name)).size).toBe(mutations.length);
});
