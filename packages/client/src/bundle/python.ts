/**
 * Python tasks: the script and every module and package of its own folder that it imports, however deep. Imports
 * are found by reading the sources, not by running them; installed packages are the nodes' business. Where a Python
 * is at hand it checks the syntax; without one the worker will.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { EverycoreError, limits } from "@everycore/protocol";
import { makeBundle } from "./archive.ts";
import type { Bundle } from "./archive.ts";

const execFileAsync = promisify(execFile);
const filesMax = 5_000;
const syntaxCheckMs = 5_000;
const skippedFolders = new Set(["__pycache__", "node_modules"]);

export interface PythonBundle extends Bundle {
  /** Names that the module defines or imports at top level; undefined when a star import hides some. */
  readonly exports: readonly string[] | undefined;
  /** Top-level functions in order of definition, without those that start with an underscore. */
  readonly functions: readonly string[];
}

/** Bundles the script at `path`, to be run by that version of Python if one is named; the module's name is the file's. */
export async function bundlePython(path: string, version?: string): Promise<PythonBundle> {
  const file = resolve(path);
  const module = basename(file, extname(file));
  if (!/^[A-Za-z_]\w*$/.test(module)) {
    throw new EverycoreError("bad-task", `${path}: "${module}" cannot be a Python module's name`, {
      hint: "rename the file: letters, digits and underscores only",
    });
  }
  const files = await collect(file);
  await checkSyntax(file, { shown: path, interpreter: `python${version ?? "3"}` });
  const source = files.get(basename(file))!.toString("utf8");
  return { ...makeBundle(files, module), ...namesOf(source) };
}

async function collect(file: string): Promise<Map<string, Buffer>> {
  const root = dirname(file);
  const files = new Map<string, Buffer>();
  const waiting = [file];
  const seen = new Set<string>();
  let bytes = 0;
  while (waiting.length > 0) {
    const next = waiting.pop()!;
    if (seen.has(next)) continue;
    seen.add(next);
    const content = await readFile(next);
    bytes += content.length;
    files.set(relative(root, next).replaceAll("\\", "/"), content);
    if (files.size > filesMax || bytes > limits.bundleBytesMax) {
      throw new EverycoreError(
        "over-limit",
        `${file} imports more than ${filesMax} files or ${limits.bundleBytesMax} bytes of its own folder`,
      );
    }
    if (next.endsWith(".py")) {
      for (const name of importsOf(content.toString("utf8")))
        waiting.push(...(await filesOfModule(root, dirname(next), name)));
    }
  }
  return files;
}

/** Modules named by import statements: `a.b`, `.sibling`. Text in strings may add some; they do no harm. */
export function importsOf(source: string): string[] {
  const joined = source.replaceAll(/\\\r?\n/g, " ");
  const names = new Set<string>();
  for (const [, list] of joined.matchAll(/^[ \t]*import[ \t]+([^\n#;]+)/gm)) {
    for (const part of list!.split(",")) names.add(part.trim().split(/\s+/)[0]!);
  }
  for (const [, module, list] of joined.matchAll(
    /^[ \t]*from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)/gm,
  )) {
    names.add(module!);
    const separator = module!.endsWith(".") ? "" : ".";
    for (const part of list!.replaceAll(/[()]|#[^\n]*/g, "").split(",")) {
      const name = part.trim().split(/\s+/)[0]!;
      if (/^\w+$/.test(name)) names.add(`${module}${separator}${name}`);
    }
  }
  return [...names].filter((name) => name !== "");
}

/** A package comes whole, data files included: what it reads at run time cannot be seen from its imports. */
async function filesOfModule(root: string, folder: string, name: string): Promise<string[]> {
  const dots = /^\.*/.exec(name)![0].length;
  let base = dots === 0 ? root : folder;
  for (let up = 1; up < dots; up += 1) base = dirname(base);
  if (relative(root, base).startsWith("..")) return [];
  const parts = name
    .slice(dots)
    .split(".")
    .filter((part) => part !== "");
  if (parts.length === 0) return [];
  const first = join(base, parts[0]!);
  if (existsSync(`${first}.py`)) return [`${first}.py`];
  const isPackage = existsSync(join(first, "__init__.py")) || (parts.length > 1 && existsSync(first));
  return isPackage ? filesBelow(first) : [];
}

async function filesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    const isSkipped = relative(folder, path)
      .split(/[\\/]/)
      .some((part) => skippedFolders.has(part) || part.startsWith("."));
    if (entry.isFile() && !isSkipped) files.push(path);
    if (files.length > filesMax) break;
  }
  return files;
}

/** By the version that will run it: what is an error in 3.11 may be none in 3.14. */
async function checkSyntax(file: string, options: { shown: string; interpreter: string }): Promise<void> {
  const { shown, interpreter } = options;
  const program =
    "import sys\nsource = open(sys.argv[1], 'rb').read()\ncompile(source, sys.argv[1], 'exec', dont_inherit=True)";
  try {
    await execFileAsync(interpreter, ["-I", "-S", "-c", program, file], { timeout: syntaxCheckMs });
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr) : "";
    const last = stderr.trim().split("\n").at(-1) ?? "";
    if (!/^(SyntaxError|IndentationError|TabError|ValueError)/.test(last)) return; // not here: the worker will tell
    const line = [...stderr.matchAll(/line (\d+)/g)].at(-1)?.[1]; // the lines before are of our own program
    throw new EverycoreError("bad-task", `${shown}${line === undefined ? "" : `:${line}`}: ${last}`, {
      cause: error,
    });
  }
}

/** Names at the left margin; enough to say "did you mean", never to refuse what a star import may bring. */
function namesOf(source: string): Pick<PythonBundle, "exports" | "functions"> {
  const functions = [...source.matchAll(/^(?:async[ \t]+)?def[ \t]+(\w+)/gm)].map((match) => match[1]!);
  const others = [
    ...[...source.matchAll(/^class[ \t]+(\w+)/gm)].map((match) => match[1]!),
    ...[...source.matchAll(/^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)/gm)].map((match) => match[1]!),
  ];
  // Anything at deeper indentation, by import, or by exec may define names: then nothing is refused here.
  const hidesNames =
    /^[ \t]*(from[ \t].*import|import[ \t])/m.test(source) ||
    /globals\(\)|exec\(|^(if|try|for|with|while)\b/m.test(source);
  const exports = hidesNames ? undefined : [...new Set([...functions, ...others])].toSorted();
  return { exports, functions: functions.filter((name) => !name.startsWith("_")) };
}
