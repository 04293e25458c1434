import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { reference, referenceFile } from "./cli-reference.ts";

test("docs/cli.md is what the command says of itself: node scripts/cli-reference.ts", () => {
  expect(readFileSync(referenceFile, "utf8")).toBe(reference());
});

test("every verb that is not hidden has its section, with an example", () => {
  const text = reference();
  for (const verb of ["map", "run", "job watch", "job pause", "node undrain", "agent", "config get"])
    expect(text).toContain(`\n## everycore ${verb}\n`);
  expect(text).not.toContain("## everycore embedded");
  const lacking = text
    .split("\n## ")
    .slice(1, -1)
    .filter((section) => !section.includes("Example"));
  expect(lacking.map((section) => section.split("\n")[0])).toEqual([]);
});
