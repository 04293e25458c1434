/**
 * Which nodes can run a task. Agents advertise `js`, `exec`, `python`, and each interpreter as `python3.11`: a version
 * that a job asks for is matched exactly, one that it does not ask for is the node's own choice.
 */
import type { TaskSpec } from "@everycore/protocol/pure";
import type { Answer } from "./events.ts";
import type { ClusterState, Node } from "./model.ts";

export function hasRuntime(node: Node, task: TaskSpec): boolean {
  const { runtime, python } = task;
  return node.runtimes.includes(python === undefined ? runtime : `${runtime}${python}`);
}

/**
 * A job that no node can run is refused at once instead of waiting for ever (P5). Where nobody can know yet (no agent
 * is connected, or a new leader still waits for known ones) it is taken, and its `reason` says what it waits for.
 */
export function refuseRuntime(state: ClusterState, task: TaskSpec): Answer | undefined {
  if (state.awaited.size > 0) return undefined;
  const nodes = [...state.nodes.values()].filter((node) => node.state !== "drained");
  if (!nodes.some((node) => node.state === "connected")) return undefined;
  if (nodes.some((node) => hasRuntime(node, task))) return undefined;
  const message = missingRuntime(nodes, task);
  return { ok: false, code: "bad-task", message, hint: hintFor(task) };
}

/** What was asked for, and what the nodes have instead. */
export function missingRuntime(nodes: readonly Node[], task: TaskSpec): string {
  const { runtime, python } = task;
  if (runtime !== "python") return `no node has the runtime ${runtime}`;
  const versions = pythonsOf(nodes);
  if (python === undefined || versions.length === 0) return "no node has Python";
  return `no node has Python ${python}; they have ${versions.join(", ")}`;
}

function hintFor({ runtime, python }: TaskSpec): string {
  if (runtime !== "python") return "see what each has: everycore node list";
  const install = "install it where an agent runs, and start that agent again";
  return python === undefined ? install : `ask for another version, or for none, or ${install}`;
}

/** Versions of Python on these nodes, in order: 3.9 before 3.11. */
function pythonsOf(nodes: readonly Node[]): string[] {
  const versions = new Set<string>();
  for (const name of nodes.flatMap((node) => node.runtimes)) {
    const version = /^python(\d+\.\d+)$/.exec(name)?.[1];
    if (version !== undefined) versions.add(version);
  }
  const minorOf = (version: string): number => Number(version.split(".")[1]);
  return [...versions].toSorted((a, b) => minorOf(a) - minorOf(b));
}
