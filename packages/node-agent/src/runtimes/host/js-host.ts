/** Worker host of the runtime `js`: an exported function of an ES module, called fn(item, ctx), awaited. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { TaskFrame } from "@everycore/protocol/worker";
import { EverycoreError } from "@everycore/protocol/worker";
import { WorkerLoop } from "./loop.ts";
import type { Runner } from "./loop.ts";
import { randomOf } from "./random.ts";
import type { Combine } from "./reduction.ts";

type Task = (item: unknown, context: Context) => unknown;

/** What a task is told besides its item. One object for all items: take what you need before you await. */
class Context {
  index = 0;
  readonly job: string;
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

class JsRunner implements Runner {
  #task: Task = () => undefined;
  #context: Context | undefined;
  combine: Combine | undefined;

  async load(task: TaskFrame): Promise<void> {
    process.setSourceMapsEnabled(true);
    const url = pathToFileURL(join(task.dir ?? "", task.entry ?? "")).href;
    const module = (await import(url)) as Record<string, unknown>;
    this.#task = exported(module, task.export ?? "default") as Task;
    this.combine = task.reduce === undefined ? undefined : (exported(module, task.reduce) as Combine);
    this.#context = new Context(task);
  }

  run(item: unknown, index: number): unknown {
    this.#context!.index = index;
    return this.#task(item, this.#context!);
  }
}

function exported(module: Record<string, unknown>, name: string): unknown {
  const found = module[name];
  if (typeof found === "function") return found;
  const there = Object.keys(module).filter((key) => typeof module[key] === "function");
  const what = found === undefined ? `no export "${name}"` : `"${name}" is a ${typeof found}, not a function`;
  throw new EverycoreError("bad-task", `${what}; functions there: ${there.join(", ") || "none"}`);
}

new WorkerLoop(new JsRunner(), process.argv[2] ?? "");
