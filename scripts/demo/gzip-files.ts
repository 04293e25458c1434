/** `npm run demo -- --exec`: what gzip -9 would save in node_modules, a program per file, checked against one shell. */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bytesText } from "../../packages/cli/src/terminal/table.ts";
import { runJob } from "./job.ts";
import type { Demo } from "./job.ts";
import { reportText } from "./report.ts";
import { runSerially } from "./serial.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

export const gzipFiles: Demo = async ({ cluster, slots, say, signal }) => {
  const { files, bytes } = await filesBelow(join(root, "node_modules"));
  say(`running gzip -9 over ${files.length} files of node_modules, ${bytesText(bytes)}\n`);
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
  say("the same in one shell, file after file, to check ...\n");
  const serial = await runSerially({
    command: "sh",
    args: ["-c", 'while IFS= read -r file; do gzip -9 -c "$file" | wc -c; done'],
    input: files.map((file) => `${file}\n`).join(""),
    signal,
  });
  const expected = serial.stdout.trim().split("\n").map(Number);
  const wrong = files.findIndex((_, at) => compressed[at] !== expected[at]);
  if (wrong !== -1) {
    throw new Error(
      `${files[wrong]} has ${compressed[wrong]} bytes here and ${expected[wrong]} in the shell`,
    );
  }
  const times = (serial.seconds / ended.seconds).toFixed(2);
  say(
    `all ${files.length} sizes are the same; it took ${serial.seconds.toFixed(2)} s, ${times} times as long\n`,
  );
};

/** Regular files, sorted; a name with a line break cannot be a line. Links would count their targets twice. */
async function filesBelow(folder: string): Promise<{ files: string[]; bytes: number }> {
  const files: string[] = [];
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (!entry.isFile() || file.includes("\n")) continue;
    files.push(file);
    bytes += (await lstat(file)).size;
  }
  return { files: files.toSorted(), bytes };
}
