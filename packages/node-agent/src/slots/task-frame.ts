/** What a worker is told of its job, on a node and where an item is replayed on a user's machine. */
import type { TaskFrame, TaskSpec } from "@everycore/protocol";

export function taskFrame(
  task: TaskSpec,
  /** `dir`: folder of the unpacked bundle. */
  place: Pick<TaskFrame, "job" | "node" | "slot" | "scratch"> & { readonly dir: string | undefined },
): TaskFrame {
  const { runtime, entry, export: name, reduce, argv, cwd, env, addEnv, returns } = task;
  const { job, dir, node, slot, scratch } = place;
  return {
    t: "task",
    job,
    runtime,
    ...(dir === undefined ? {} : { dir }),
    ...(entry === undefined ? {} : { entry }),
    ...(name === undefined ? {} : { export: name }),
    ...(reduce === undefined ? {} : { reduce }),
    ...(argv === undefined ? {} : { argv }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
    ...(addEnv === undefined ? {} : { addEnv }),
    ...(returns === undefined ? {} : { returns }),
    seed: task.seed,
    rangeStart: task.rangeStart,
    retries: task.retries,
    node,
    slot,
    scratch,
  };
}
