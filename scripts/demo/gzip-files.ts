/** `npm run demo -- --exec`: what gzip -9 would save in node_modules, a program per file, checked against one shell. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bytesText, countText } from "../../packages/cli/src/terminal/table.ts";
import { runJob } from "./job.ts";
import type { Demo } from "./job.ts";
import { reportText } from "./report.ts";
import { runSerially } from "./serial.ts";

/** Every so many files one is compressed again in one shell: all of them would take longer than the demo itself. */
const checkEvery = 10;
const root = fileURLToPath(new URL("../..", import.meta.url));

export const gzipFiles: Demo = async ({ cluster, slots, say, signal }) => {
  const found = await filesBelow(join(root, "node_modules"));
  const files = found.map(({ path }) => path);
  const bytes = found.reduce((sum, file) => sum + file.bytes, 0);
  say(`running gzip -9 over ${countText(files.length)} files of node_modules, ${bytesText(bytes)}\n`);
  const compressed: number[] = [];
  const ended = await runJob({
    cluster,
    slots,
    name: "gzip -9",
    // The bytes are only counted: the compressed files themselves would all travel through the job's log.
    task: {
      runtime: "exec",
      argv: ["sh", "-c", 'gzip -9 -c "$1" | wc -c', "sh", "{}"],
      cwd: root,
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin" },
    },
    items: files,
    signal,
    onOutcomes: (outcomes) => {
      for (const outcome of outcomes) compressed[outcome.index] = Number(String(outcome.value()).trim());
    },
  });
  say(reportText(ended, await cluster.listNodes({ signal })));
  const sum = compressed.reduce((total, size) => total + size, 0);
  const percent = ((100 * (bytes - sum)) / bytes).toFixed(1);
  say(`\n${bytesText(bytes)} become ${bytesText(sum)}: ${bytesText(bytes - sum)} (${percent} %) saved\n`);
  await compareWithShell({ found, compressed, say, signal });
};

async function compareWithShell(options: {
  found: readonly FoundFile[];
  compressed: readonly number[];
  say: (text: string) => void;
  signal: AbortSignal;
}): Promise<void> {
  const { found, compressed, say, signal } = options;
  const chosen = found.flatMap((file, at) => (at % checkEvery === 0 ? [{ file, here: compressed[at] }] : []));
  const serial = await runSerially({
    command: "sh",
    args: ["-c", 'while IFS= read -r file; do gzip -9 -c "$file" | wc -c; done'],
    input: chosen.map(({ file }) => `${file.path}\n`).join(""),
    signal,
  });
  const expected = serial.stdout.trim().split("\n").map(Number);
  const changed: string[] = [];
  for (const [at, { file, here }] of chosen.entries()) {
    if (here === expected[at]) continue;
    if (!(await hasChanged(file))) {
      throw new Error(`${file.path} has ${here} bytes here and ${expected[at]} in the shell`);
    }
    changed.push(file.path);
  }
  const same = countText(chosen.length - changed.length);
  say(`${same} files compressed again by one shell, one after the other: the same sizes\n`);
  if (changed.length > 0) say(`written to by others meanwhile, so not compared: ${changed.join(", ")}\n`);
}

interface FoundFile {
  readonly path: string;
  readonly bytes: number;
  readonly modifiedAt: number;
}

/** Regular files, sorted; a name with a line break cannot be a line. Links would count their targets twice. */
async function filesBelow(folder: string): Promise<FoundFile[]> {
  const files: FoundFile[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || path.includes("\n")) continue;
    const info = await stat(path).catch(() => undefined); // removed since it was listed
    if (info !== undefined) files.push({ path, bytes: info.size, modifiedAt: info.mtimeMs });
  }
  return files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** Tools keep caches in node_modules, and another one may run. */
async function hasChanged({ path, modifiedAt }: FoundFile): Promise<boolean> {
  const now = await stat(path).catch(() => undefined);
  return now?.mtimeMs !== modifiedAt;
}
