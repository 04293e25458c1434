import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { decode } from "@everycore/protocol";
import { expect, test } from "vitest";
import { bundleJs, bundlePython, importsOf, loadTask, makeBundle, parseTaskName } from "../src/internal.ts";

async function folder(
  files: Record<string, string>,
): Promise<{ path: (name: string) => string } & AsyncDisposable> {
  const root = await mkdtemp(join(tmpdir(), "everycore-test-bundle-"));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), content);
  }
  return {
    path: (name) => join(root, name),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

const namesIn = (bytes: Uint8Array): string[] =>
  Object.keys((decode(bytes) as { files: Record<string, unknown> }).files);

test("the same files give the same digest, in whatever order they were found", () => {
  const [a, b] = [Buffer.from("a"), Buffer.from("b")];
  const one = makeBundle(
    new Map([
      ["a", a],
      ["b", b],
    ]),
    "a",
  );
  expect(
    makeBundle(
      new Map([
        ["b", b],
        ["a", a],
      ]),
      "a",
    ).digest,
  ).toBe(one.digest);
  expect(
    makeBundle(
      new Map([
        ["a", b],
        ["b", a],
      ]),
      "a",
    ).digest,
  ).not.toBe(one.digest);
});

test("TypeScript with its imports becomes one module with a source map", async () => {
  await using files = await folder({
    "task.ts": 'import { two } from "./two.ts";\nexport default (n: number) => n * two;',
    "two.ts": "export const two: number = 2;",
  });
  const bundle = await bundleJs(files.path("task.ts"));
  expect(namesIn(bundle.bytes)).toEqual(["task.mjs", "task.mjs.map"]);
  expect(bundle.exports).toEqual(["default"]);
  expect((await bundleJs(files.path("task.ts"))).digest).toBe(bundle.digest);
});

test("a syntax error is one sentence with file and line", async () => {
  await using files = await folder({ "task.ts": "export const a = 1;\nexport const b = ;" });
  await expect(bundleJs(files.path("task.ts"))).rejects.toMatchObject({
    code: "bad-task",
    message: expect.stringMatching(/task\.ts:2: /) as string,
  });
});

test("a native module is refused before anything runs", async () => {
  await using files = await folder({
    "task.js": 'import addon from "./addon.node";\nexport default () => addon;',
    "addon.node": "\u007fELF",
  });
  await expect(bundleJs(files.path("task.js"))).rejects.toThrow("native module addon.node");
});

test("the export is the one asked for, the default, or the only one; else the choice is shown", async () => {
  await using files = await folder({
    "default.ts": "export const other = 1; export default () => 1;",
    "only.ts":
      "export const square = (n: number) => n * n; export const add = (a: number, b: number) => a + b;",
    "none.ts": "const a = 1; void a;",
  });
  expect(await loadTask({ task: files.path("default.ts") })).toMatchObject({ export: "default" });
  expect(await loadTask({ task: files.path("only.ts"), reduce: "add" })).toMatchObject({
    export: "square",
    reduce: "add",
  });
  await expect(loadTask({ task: files.path("only.ts") })).rejects.toMatchObject({
    hint: expect.stringContaining("only.ts:square") as string,
  });
  await expect(loadTask({ task: `${files.path("only.ts")}:sqaure` })).rejects.toMatchObject({
    hint: "did you mean square?",
  });
  await expect(loadTask({ task: files.path("none.ts") })).rejects.toThrow("exports nothing");
  await expect(loadTask({ task: files.path("missing.ts") })).rejects.toMatchObject({ code: "bad-task" });
});

test("a Python script brings the modules and packages of its own folder, and no others", async () => {
  await using files = await folder({
    "main.py":
      "import os, helper as h\nfrom package.deep import (\n  thing,  # why\n)\nif True:\n    from sibling import x\n\ndef run(n):\n    return n\n",
    "helper.py": "import json\n",
    "sibling.py": "x = 1\n",
    "package/__init__.py": "",
    "package/deep.py": "thing = 1\n",
    "package/data.json": "{}",
    "package/__pycache__/deep.pyc": "",
    "unused.py": "",
  });
  const bundle = await bundlePython(files.path("main.py"));
  expect(namesIn(bundle.bytes)).toEqual([
    "helper.py",
    "main.py",
    "package/__init__.py",
    "package/data.json",
    "package/deep.py",
    "sibling.py",
  ]);
  expect(bundle.entry).toBe("main");
  expect(await loadTask({ task: files.path("main.py") })).toMatchObject({ runtime: "python", export: "run" });
});

test("Python's imports are found as they are written", () => {
  expect(
    importsOf("import a, b.c as d\nfrom . import e\nfrom .f import g\nfrom h import \\\n  i\n").toSorted(),
  ).toEqual([".", ".e", ".f", ".f.g", "a", "b.c", "h", "h.i"].toSorted());
});

test("a misspelled Python function is refused where the script shows all its names", async () => {
  await using files = await folder({
    "main.py": "def count(line):\n    return len(line)\n\ndef other(line):\n    return 1\n",
  });
  await expect(loadTask({ task: `${files.path("main.py")}:cuont` })).rejects.toMatchObject({
    hint: "did you mean count?",
  });
  await expect(loadTask({ task: files.path("main.py") })).rejects.toMatchObject({
    hint: expect.stringContaining("main.py:other") as string,
  });
});

test("a colon belongs to the export only when a name follows", () => {
  expect(parseTaskName("a.ts:run")).toEqual({ path: "a.ts", wanted: "run" });
  expect(parseTaskName("C:/a.ts")).toEqual({ path: "C:/a.ts", wanted: undefined });
  expect(parseTaskName("a.ts")).toEqual({ path: "a.ts", wanted: undefined });
});
