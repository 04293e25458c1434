/** Where the numbers of a run are kept: one JSON file each in bench/results/, with the machine they come from. */
import { mkdir, writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("results", import.meta.url));

/** `kind` tells the files of one bench from those of another; gives the file's path. */
export async function writeResults(kind: string, startedAt: Date, content: object): Promise<string> {
  await mkdir(folder, { recursive: true });
  const name = startedAt.toISOString().replaceAll(/[:.]/g, "-");
  const file = join(folder, `${kind}-${name}.json`);
  const [cpu] = cpus();
  const machine = {
    cpu: cpu?.model ?? "unknown",
    cores: cpus().length,
    memoryBytes: totalmem(),
    node: process.version,
  };
  await writeFile(file, `${JSON.stringify({ startedAt, machine, ...content }, undefined, 2)}\n`);
  return relative(process.cwd(), file);
}
