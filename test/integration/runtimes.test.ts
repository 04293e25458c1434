// Each runtime from end to end, as a user meets it: one command, its lines, its exit code.

import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore, jsonLines } from "../support/command.ts";
import { taskFile, upTo } from "../support/jobs.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 2 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[], stdin = ""): Promise<Ended> =>
  everycore(args, { stdin, environment: cluster.environment, cwd: cluster.dir });

const values = (stdout: string): unknown[] =>
  jsonLines(stdout).map((line) => (line as { value: unknown }).value);

test("map runs a TypeScript function over a range and prints one JSON line per item in item order", async () => {
  const { code, stdout, stderr } = await run([
    "map",
    `${taskFile("arithmetic.ts")}:square`,
    "--range",
    "1-5",
  ]);
  expect(stderr).toBe("");
  expect(stdout).toBe(
    `{"index":0,"value":1}\n{"index":1,"value":4}\n{"index":2,"value":9}\n{"index":3,"value":16}\n{"index":4,"value":25}\n`,
  );
  expect(code).toBe(0);
});

test("map runs a JavaScript file that imports its neighbours, by its default export", async () => {
  await writeFile(cluster.path("neighbour.js"), "export const factor = 3;\n");
  await writeFile(
    cluster.path("task.js"),
    'import { factor } from "./neighbour.js";\nimport { basename } from "node:path";\n' +
      "export default async (n) => basename(`/a/${n * factor}`);\n",
  );
  const { code, stdout, stderr } = await run(["map", "task.js", "--range", "0-2"]);
  expect(stderr).toBe("");
  expect(values(stdout)).toEqual(["0", "3", "6"]);
  expect(code).toBe(0);
});

test("an async function is awaited", async () => {
  const { stdout } = await run(["map", `${taskFile("arithmetic.ts")}:later`, "--range", "0-3", "--values"]);
  expect(stdout).toBe("1\n2\n3\n4\n");
});

test("map runs a Python function over a range, JSON lines and text lines", async () => {
  const range = await run(["map", `${taskFile("plain.py")}:square`, "--range", "0-4"]);
  expect(range.stderr).toBe("");
  expect(values(range.stdout)).toEqual([0, 1, 4, 9, 16]);
  const items = await run(["map", `${taskFile("plain.py")}:square`, "--items", "-"], "1.5\n2\n");
  expect(values(items.stdout)).toEqual([2.25, 4]);
  const lines = await run(
    ["map", `${taskFile("plain.py")}:words`, "--each-line", "-"],
    "one two\n\nÜber  alles geht\n",
  );
  expect(values(lines.stdout)).toEqual([
    { words: 2, first: ["one"] },
    { words: 0, first: [] },
    { words: 3, first: ["Über"] },
  ]);
});

test("a Python script ships the modules of its folder that it imports", async () => {
  await writeFile(cluster.path("neighbour.py"), "FACTOR = 3\n");
  await writeFile(
    cluster.path("task.py"),
    "from neighbour import FACTOR\n\n\ndef triple(n):\n    return n * FACTOR\n",
  );
  const { code, stdout, stderr } = await run(["map", "task.py:triple", "--range", "0-2", "--values"]);
  expect(stderr).toBe("");
  expect(stdout).toBe("0\n3\n6\n");
  expect(code).toBe(0);
});

test("Python's kinds of values arrive as JSON, with bytes, big integers and infinity spelled out", async () => {
  const { stdout } = await run(["map", `${taskFile("plain.py")}:many_kinds`, "--range", "3-3", "--values"]);
  expect(jsonLines(stdout)[0]).toEqual([
    null,
    true,
    3,
    1.5,
    "üüü",
    { $bytes: Buffer.from("raw").toString("base64") },
    { key: [1, 2, 3] },
    { $num: String(2n ** 60n) },
    { $num: "Infinity" },
  ]);
});

test("run gives back what the programs print, unmixed and in item order", async () => {
  const { code, stdout, stderr } = await run(["run", "--range", "1-3", "--", "echo", "item {}"]);
  expect(stderr).toBe("");
  expect(stdout).toBe("item 1\nitem 2\nitem 3\n");
  expect(code).toBe(0);
});

test("run replaces {} {/} {.} {#}, and puts an item that no argument names last", async () => {
  const lines = "/data/one.tar.gz\nplain\n";
  const named = await run(
    ["run", "--each-line", "-", "--", "printf", "%s|", "{}", "{/}", "{.}", "{#}"],
    lines,
  );
  expect(named.stdout).toBe("/data/one.tar.gz|one.tar.gz|/data/one.tar|1|plain|plain|plain|2|");
  const last = await run(["run", "--each-line", "-", "--", "printf", "<%s>"], lines);
  expect(last.stdout).toBe("</data/one.tar.gz><plain>");
});

test("an item is one argument, whatever it contains: no shell reads it", async () => {
  const { stdout } = await run(
    ["run", "--each-line", "-", "--", "printf", "<%s>\n", "{}"],
    "a b; echo c\n$(id)\n*\n",
  );
  expect(stdout).toBe("<a b; echo c>\n<$(id)>\n<*>\n");
});

test("several hundred items on two slots come in item order", async () => {
  const { stdout, code } = await run([
    "map",
    `${taskFile("arithmetic.ts")}:square`,
    "--range",
    "0-499",
    "--values",
  ]);
  expect(jsonLines(stdout)).toEqual(upTo(500).map((n) => n * n));
  expect(code).toBe(0);
});
