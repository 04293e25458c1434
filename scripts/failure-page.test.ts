// docs/internals/failure.md names tests; each must be there, in its file, by its title.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const rows = readFileSync(root("docs/internals/failure.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("| dies"));

test.each(rows.map((row) => ({ row, name: row.split(" | ")[0]!.slice(2) })))("$name", ({ row }) => {
  const proofs = row.split(" | ").at(-1)!;
  const named = [...proofs.matchAll(/`([^`]+\.test\.ts)`(?:: ((?:"[^"]+"(?:, )?)+))?/g)];
  expect(named.length).toBeGreaterThan(0);
  for (const [, path, titles] of named) {
    expect(existsSync(root(path!)), path).toBe(true);
    const text = readFileSync(root(path!), "utf8");
    for (const [, title] of (titles ?? "").matchAll(/"([^"]+)"/g)) expect(text).toContain(title);
  }
});
