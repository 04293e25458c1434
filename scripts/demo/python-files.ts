/** `npm run demo -- --python`: the most complex functions of Python's standard library, checked against one process. */
import { isDeepStrictEqual } from "node:util";
import { fileURLToPath } from "node:url";
import { glob } from "node:fs/promises";
import { join, relative } from "node:path";
import { loadTask } from "@everycore/client/internal";
import type { NodeInfo } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import { countText, table } from "../../packages/cli/src/terminal/table.ts";
import { runJob } from "./job.ts";
import type { Demo } from "./job.ts";
import { reportText } from "./report.ts";
import { runSerially } from "./serial.ts";

const script = fileURLToPath(new URL("complexity.py", import.meta.url));
const shown = 15;

/** [lines, functions, [complexity, name, line, tokens] of the most complex ones], or why the file cannot be parsed. */
type Measured = readonly [number, number, readonly (readonly [number, string, number, number])[]] | string;

export const rankPython: Demo = async ({ cluster, slots, say, signal }) => {
  const python = interpreterOf(await cluster.listNodes({ signal }));
  const library = await runSerially({
    command: python.path,
    args: ["-c", 'import sysconfig; print(sysconfig.get_path("stdlib"))'],
    input: "",
    signal,
  });
  const folder = library.stdout.trim();
  const files = await sourceFiles(folder);
  say(
    `measuring ${countText(files.length)} files of Python ${python.version}'s standard library in ${folder}\n`,
  );
  const { bundle, export: name } = await loadTask({ task: `${script}:measure` });
  await cluster.putBundle(bundle, { signal });
  const measured: Measured[] = [];
  const ended = await runJob({
    cluster,
    slots,
    name: "complexity",
    task: {
      runtime: "python",
      bundle: bundle.digest,
      entry: bundle.entry,
      export: name,
      python: python.version.split(".").slice(0, 2).join("."),
    },
    items: files,
    signal,
    onOutcomes: (outcomes) => {
      for (const outcome of outcomes) measured[outcome.index] = outcome.value() as Measured; // checked below
    },
  });
  say(reportText(ended, await cluster.listNodes({ signal })));
  say(`\n${rankingText(files, measured, folder)}`);
  say("\nthe same in one Python process, to check ...\n");
  const serial = await runSerially({
    command: python.path,
    args: [script],
    input: files.map((file) => `${file}\n`).join(""),
    signal,
  });
  const expected = JSON.parse(serial.stdout) as Measured[];
  const wrong = files.findIndex((_, at) => !isDeepStrictEqual(measured[at], expected[at]));
  if (wrong !== -1) throw new Error(`${files[wrong]} was measured differently by one process`);
  const times = (serial.seconds / ended.seconds).toFixed(2);
  say(
    `all ${countText(files.length)} results are the same; it took ${serial.seconds.toFixed(2)} s, ${times} times as long\n`,
  );
};

/** The interpreter that the agents run, so that both sides parse with the same grammar. */
function interpreterOf(nodes: readonly NodeInfo[]): NodeInfo["runtimes"][number] {
  const runtime = nodes[0]?.runtimes.find(({ name }) => name === "python");
  if (runtime === undefined) {
    throw new EverycoreError("bad-task", "the agents have found no Python 3.10 or newer on this machine", {
      hint: "install python3, or run the demo without --python",
    });
  }
  return runtime;
}

async function sourceFiles(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const file of glob("**/*.py", {
    cwd: folder,
    exclude: (name) => /site-packages|dist-packages/.test(name),
  })) {
    files.push(join(folder, file));
  }
  return files.toSorted();
}

function rankingText(files: readonly string[], measured: readonly Measured[], folder: string): string {
  let lines = 0;
  let functions = 0;
  let unparsed = 0;
  const rows: { complexity: number; tokens: number; name: string; place: string }[] = [];
  for (const [at, result] of measured.entries()) {
    if (typeof result === "string") {
      unparsed += 1;
      continue;
    }
    lines += result[0];
    functions += result[1];
    for (const [complexity, name, line, tokens] of result[2]) {
      rows.push({ complexity, tokens, name, place: `${relative(folder, files[at]!)}:${line}` });
    }
  }
  rows.sort((a, b) => b.complexity - a.complexity || (a.place < b.place ? -1 : 1));
  const broken = unparsed === 0 ? "" : `; ${countText(unparsed)} files are no Python on purpose`;
  const cells = rows
    .slice(0, shown)
    .map(({ complexity, tokens, name, place }) => [countText(complexity), countText(tokens), name, place]);
  return (
    `${countText(functions)} functions in ${countText(lines)} lines${broken}\n\n` +
    table(["complexity", "tokens", "function", "where"], cells)
  );
}
