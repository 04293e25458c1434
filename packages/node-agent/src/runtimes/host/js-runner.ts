/** Runtime `js`: an exported function of an ES module, called fn(item, ctx), awaited. Whatever process it runs in. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { SliceFrame, TaskFrame } from "@everycore/protocol/worker";
import { EverycoreError } from "@everycore/protocol/worker";
import type { Runner } from "./loop.ts";
import { randomOf } from "./random.ts";
import type { Combine } from "./reduction.ts";

type Task = (item: unknown, context: Context) => unknown;

/** What a task is told besides its item. One object for all items: take what you need before you await. */
class Context {
  index = 0;
  readonly job: string;
  traceparent: string | undefined;
  tracestate: string | undefined;
  readonly #seed: string;
  #random: (() => number) | undefined;
  #randomOf = -1;

  constructor(task: TaskFrame) {
    this.job = task.job;
    this.#seed = task.seed;
  }

  /** A float in [0, 1) of the item's own stream, derived from (job seed, index): the same wherever it runs. */
  readonly random = (): number => {
    if (this.#random === undefined || this.#randomOf !== this.index) {
      this.#random = randomOf(this.#seed, this.index);
      this.#randomOf = this.index;
    }
    return this.#random();
  };
}

export class JsRunner implements Runner {
  readonly #stops: boolean;
  #task: Task = () => undefined;
  #context: Context | undefined;
  combine: Combine | undefined;

  /** `stops`: a debugger that is attached stops in front of the task (`--inspect-brk`). */
  constructor({ stops }: { stops: boolean }) {
    this.#stops = stops;
  }

  async load(task: TaskFrame): Promise<void> {
    process.setSourceMapsEnabled(true);
    const module = await imported(join(task.dir ?? "", task.entry ?? ""));
    const found = exported(module, task.export ?? "default") as Task;
    this.#task = this.#stops ? stopping(found) : found;
    this.combine = task.reduce === undefined ? undefined : (exported(module, task.reduce) as Combine);
    this.#context = new Context(task);
  }

  continueTrace = ({ traceparent, tracestate }: SliceFrame): void => {
    Object.assign(this.#context!, { traceparent, tracestate });
  };

  run(item: unknown, index: number): unknown {
    this.#context!.index = index;
    const task = this.#task; // called as a function: its `this` is not ours, nor is its name in traces
    return task(item, this.#context!);
  }
}

const stopping =
  (task: Task): Task =>
  (item, context) => {
    // oxlint-disable-next-line no-debugger -- what --inspect-brk asks for: one step into here is the task's first line
    debugger;
    return task(item, context);
  };

async function imported(path: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof SyntaxError) locate(error, path);
    throw error;
  }
}

/** A syntax error caught from import() does not say where it is; `node --check` does. Once in the life of a job. */
function locate(error: SyntaxError, path: string): void {
  const { status, stderr } = spawnSync(process.execPath, ["--check", path], {
    encoding: "utf8",
    timeout: 5_000,
  });
  if (status === 0 || !stderr.includes(path)) return;
  const [place = ""] = stderr.split("\n", 1);
  error.message += ` (${place.slice(place.lastIndexOf("/") + 1)})`;
  error.stack = stderr.split(/\n\s+at /, 1)[0]!;
}

function exported(module: Record<string, unknown>, name: string): unknown {
  const found = module[name];
  if (typeof found === "function") return found;
  const there = Object.keys(module).filter((key) => typeof module[key] === "function");
  const what = found === undefined ? `no export "${name}"` : `"${name}" is a ${typeof found}, not a function`;
  throw new EverycoreError("bad-task", `${what}; functions there: ${there.join(", ") || "none"}`);
}
