// The commands of a guide, as a reader types them: the lines that begin with "$ " in its ```console blocks. A word
// after "console" says on which machine.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The blocks for one machine (or, without a name, those for whoever reads), each as one shell script. */
export function blocksOf(guide: string, machine = ""): string[] {
  const file = fileURLToPath(new URL(`../../../docs/guides/${guide}`, import.meta.url));
  const blocks = [...readFileSync(file, "utf8").matchAll(/^```console *(\w*)\n([^]*?)^```$/gm)];
  const scripts = blocks
    .filter(([, name]) => name === machine)
    .map(([, , text = ""]) =>
      text
        .split("\n")
        .filter((line) => line.startsWith("$ "))
        .map((line) => line.slice(2))
        .join("\n"),
    );
  if (scripts.length === 0) throw new Error(`${guide} has no block for "${machine}"`);
  return scripts;
}
