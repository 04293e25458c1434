/** FILE[:EXPORT], as users name a task, turned into a bundle and the function to call. */
import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { EverycoreError } from "@everycore/protocol";
import { nearest } from "../nearest.ts";
import type { Bundle } from "./archive.ts";
import { bundleJs, chooseExport, jsExtensions } from "./js.ts";
import { bundlePython } from "./python.ts";

export interface TaskCode {
  readonly runtime: "js" | "python";
  readonly bundle: Bundle;
  readonly export: string;
  readonly reduce?: string;
}

/** What the specification of a job says of its code. */
export const codeFields = ({ runtime, bundle, export: name, reduce }: TaskCode) => ({
  runtime,
  bundle: bundle.digest,
  entry: bundle.entry,
  export: name,
  ...(reduce === undefined ? {} : { reduce }),
});

/** Splits FILE[:EXPORT]. A colon belongs to the export only if a name follows it. */
export function parseTaskName(text: string): { path: string; wanted: string | undefined } {
  const match = /^(.+):([A-Za-z_$][\w$]*)$/.exec(text);
  return match ? { path: match[1]!, wanted: match[2]! } : { path: text, wanted: undefined };
}

export async function loadTask(options: {
  readonly task: string;
  readonly reduce?: string | undefined;
  /** Version of Python that will run it, if one is asked for. */
  readonly python?: string | undefined;
}): Promise<TaskCode> {
  const { path, wanted } = parseTaskName(options.task);
  await checkTaskFile(path);
  return extname(path) === ".py" ? loadPython(path, wanted, options) : loadJs(path, wanted, options.reduce);
}

/** Says before anything is started that the file cannot be a task. */
export async function checkTaskFile(path: string): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined || !info.isFile()) {
    throw new EverycoreError("bad-task", `there is no file ${path}`, {
      hint: "the task is FILE or FILE:EXPORT",
    });
  }
  const extension = extname(path);
  if (extension === ".py" || (jsExtensions as readonly string[]).includes(extension)) return;
  throw new EverycoreError("bad-task", `${path} is neither JavaScript, TypeScript nor Python`, {
    hint: "use .js, .mjs, .ts, .mts or .py, or run a program with: everycore run -- PROGRAM {}",
  });
}

async function loadJs(
  path: string,
  wanted: string | undefined,
  reduce: string | undefined,
): Promise<TaskCode> {
  const bundle = await bundleJs(path);
  // With a reducer of its own name, "the only export" means the only other one.
  const candidates = wanted === undefined ? bundle.exports.filter((name) => name !== reduce) : bundle.exports;
  const name = chooseExport({ path, exports: candidates, wanted });
  if (reduce === undefined) return { runtime: "js", bundle, export: name };
  return {
    runtime: "js",
    bundle,
    export: name,
    reduce: chooseExport({ path, exports: bundle.exports, wanted: reduce }),
  };
}

async function loadPython(
  path: string,
  wanted: string | undefined,
  { reduce, python }: { readonly reduce?: string | undefined; readonly python?: string | undefined },
): Promise<TaskCode> {
  const bundle = await bundlePython(path, python);
  for (const name of [wanted, reduce]) {
    if (name === undefined || bundle.exports === undefined || bundle.exports.includes(name)) continue;
    const meant = nearest(name, bundle.exports);
    throw new EverycoreError("bad-task", `${path} defines no ${name}`, {
      hint:
        meant === undefined
          ? `it defines ${bundle.exports.join(", ") || "nothing"}`
          : `did you mean ${meant}?`,
    });
  }
  const candidates = bundle.functions.filter((name) => name !== reduce);
  const name = wanted ?? (candidates.length === 1 ? candidates[0] : undefined);
  if (name === undefined) {
    const names = candidates.slice(0, 10).map((candidate) => `${path}:${candidate}`);
    throw new EverycoreError("bad-task", `${path} has ${candidates.length} functions`, {
      hint: names.length === 0 ? "define one: def square(n): ..." : `name one: ${names.join(", ")}`,
    });
  }
  return { runtime: "python", bundle, export: name, ...(reduce === undefined ? {} : { reduce }) };
}
