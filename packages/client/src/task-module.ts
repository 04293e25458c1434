/**
 * Tasks as programs name them: a module and one of its functions. With the module's type, items and results are
 * typed too; without it they are what the caller says.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { EverycoreError } from "@everycore/protocol";
import { loadTask } from "./bundle/task.ts";
import type { TaskCode } from "./bundle/task.ts";

/** What a task's function gets besides its item, as its second argument. */
export interface TaskContext {
  /** Index of the item in the job's input, from 0. */
  readonly index: number;
  /** Id of the job. */
  readonly job: string;
  /** A float in [0, 1) from the item's own stream: the same wherever and whenever the item runs. */
  readonly random: () => number;
  /** Where the item stands in its job's trace (W3C Trace Context), if that has one: what spans of its own continue. */
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
}

declare const moduleType: unique symbol;

/** A task module whose type is known; see `taskModule`. */
export interface TaskModule<Module> {
  readonly url: URL;
  readonly [moduleType]?: Module;
}

/** A module of tasks: a URL (`new URL("./task.ts", import.meta.url)`), or a path below the working directory. */
export type TaskSource = URL | string;

/**
 * Names a task module by its URL and its type, so that `map` and `submit` know its functions:
 *
 *     import type * as tasks from "./task.ts";
 *     const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));
 *     for await (const square of cluster.map(task, "square", range(10))) ...   // square: number
 */
export const taskModule = <Module>(url: URL): TaskModule<Module> => ({ url });

/** Names of a module's functions. */
export type TaskName<Module> = {
  [Name in keyof Module]: Module[Name] extends (...args: never[]) => unknown ? Name : never;
}[keyof Module] &
  string;

/** What the function takes: the type of its first parameter. */
export type ItemOf<Module, Name extends keyof Module> = Module[Name] extends (
  item: infer Item,
  ...rest: never[]
) => unknown
  ? Item
  : never;

/** What it gives, awaited. */
export type ValueOf<Module, Name extends keyof Module> = Module[Name] extends (
  ...args: never[]
) => infer Value
  ? Awaited<Value>
  : never;

const compiledExtensions: readonly (readonly [string, string])[] = [
  [".mts", ".mjs"],
  [".ts", ".js"],
];

/** The module's file. Where only its compiled form is left, as in a published program, that one. */
function fileOf(source: TaskSource | TaskModule<unknown>): string {
  const place = typeof source === "object" && !(source instanceof URL) ? source.url : source;
  if (typeof place === "string") return compiledIfGone(place);
  if (place.protocol === "file:") return compiledIfGone(fileURLToPath(place));
  throw new EverycoreError("bad-task", `the task ${place.href} is not a file`, {
    hint: 'name it by new URL("./task.ts", import.meta.url)',
  });
}

function compiledIfGone(path: string): string {
  if (existsSync(path)) return path;
  for (const [from, to] of compiledExtensions) {
    const compiled = path.endsWith(from) ? `${path.slice(0, -from.length)}${to}` : undefined;
    if (compiled !== undefined && existsSync(compiled)) return compiled;
  }
  return path;
}

export interface TaskWish {
  readonly source: TaskSource | TaskModule<unknown>;
  readonly name: string;
  readonly reduce: string | undefined;
  /** Python that is to run a .py module, X.Y. */
  readonly python: string | undefined;
}

/** A task ready to be submitted. */
export interface LoadedTask {
  readonly code: TaskCode;
  /** For people: file:function. */
  readonly title: string;
}

/** Tasks that are kept ready. A program has few; one that makes up names must not fill the memory (P7). */
const tasksMax = 100;

/** Bundles each task once: like an import, a module is what it was when it was first used. */
export class TaskLoader {
  readonly #loaded = new Map<string, Promise<LoadedTask>>();

  load(wish: TaskWish): Promise<LoadedTask> {
    const file = fileOf(wish.source);
    const key = JSON.stringify([file, wish.name, wish.reduce, wish.python]);
    const known = this.#loaded.get(key);
    if (known !== undefined) return known;
    const loading = load(file, wish);
    if (this.#loaded.size >= tasksMax) this.#loaded.delete(this.#loaded.keys().next().value!);
    this.#loaded.set(key, loading);
    // A task that could not be built may be mended before the next try.
    loading.catch(() => this.#loaded.delete(key));
    return loading;
  }
}

async function load(file: string, wish: TaskWish): Promise<LoadedTask> {
  const { name, reduce, python } = wish;
  for (const wanted of [name, reduce]) {
    if (wanted === undefined || /^[A-Za-z_$][\w$]*$/.test(wanted)) continue;
    throw new EverycoreError("bad-task", `"${wanted}" is not the name of a function of ${file}`);
  }
  return { code: await loadTask({ task: `${file}:${name}`, reduce, python }), title: `${file}:${name}` };
}
