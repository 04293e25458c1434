/**
 * Which nodes can run a task, by their runtimes and labels. Agents advertise `js`, `exec`, `python`, and each interpreter as `python3.11`: a version
 * that a job asks for is matched exactly, one that it does not ask for is the node's own choice.
 */
import type { TaskSpec } from "@everycore/protocol/pure";
import { isRuntimeNeed, keyOf } from "@everycore/protocol/pure";
import type { Answer } from "./events.ts";
import type { ClusterState, Job, Node } from "./model.ts";

export function hasRuntime(node: Node, task: TaskSpec): boolean {
  return runtimesOf(task).every((name) => node.runtimes.includes(name));
}

/** As agents advertise them. */
function runtimesOf({ runtime, python, require }: TaskSpec): string[] {
  const wanted = [python === undefined ? runtime : `${runtime}${python}`];
  for (const need of require ?? []) if (isRuntimeNeed(need)) wanted.push(need.replace("=", ""));
  return wanted;
}

const hasLabel = (node: Node, need: string): boolean =>
  need.includes("=") ? node.labels.includes(need) : node.labels.some((label) => keyOf(label) === need);

/** Required labels that the node lacks. */
export const lackedLabels = (node: Node, { require }: TaskSpec): string[] =>
  require === undefined ? [] : require.filter((need) => !isRuntimeNeed(need) && !hasLabel(node, need));

export const canRun = (node: Node, task: TaskSpec): boolean =>
  hasRuntime(node, task) && (task.require === undefined || lackedLabels(node, task).length === 0);

/** By what it has, and by what it has said of the job's task since. */
export const fits = (node: Node, job: Job): boolean =>
  canRun(node, job.spec.task) && !job.failedOn.has(node.id);

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

/** What was asked for, and what the nodes have instead; a label that is missing may come with a node to come. */
export function missingOf(nodes: readonly Node[], task: TaskSpec): string {
  const able = nodes.filter((node) => hasRuntime(node, task));
  return able.length === 0 ? missingRuntime(nodes, task) : missingLabels(able, task);
}

function missingLabels(nodes: readonly Node[], task: TaskSpec): string {
  const nowhere = (task.require ?? []).filter(
    (need) => !isRuntimeNeed(need) && !nodes.some((node) => hasLabel(node, need)),
  );
  if (nowhere.length === 0) return `no node has all of ${task.require!.join(", ")}`;
  const there = [...new Set(nodes.flatMap((node) => node.labels))].toSorted();
  const shown = there.slice(0, labelsShown).join(", ") + (there.length > labelsShown ? ", ..." : "");
  return `no node has the label ${nowhere.join(", ")}; they have ${shown === "" ? "none" : shown}`;
}

const labelsShown = 10;

function missingRuntime(nodes: readonly Node[], task: TaskSpec): string {
  const lacked = runtimesOf(task).find((name) => !nodes.some((node) => node.runtimes.includes(name)));
  if (lacked === undefined) return `no node has all of ${runtimesOf(task).join(", ")}`;
  const version = /^python(\d.*)$/.exec(lacked)?.[1];
  if (lacked !== "python" && version === undefined) return `no node has the runtime ${lacked}`;
  const versions = pythonsOf(nodes);
  if (version === undefined || versions.length === 0) return "no node has Python";
  return `no node has Python ${version}; they have ${versions.join(", ")}`;
}

function hintFor(task: TaskSpec): string {
  const isPython = runtimesOf(task).some((name) => name.startsWith("python"));
  if (!isPython) return "see what each has: everycore node list";
  const install = "install it where an agent runs, and start that agent again";
  return !runtimesOf(task).some((name) => /^python\d/.test(name))
    ? install
    : `ask for another version, or for none, or ${install}`;
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
