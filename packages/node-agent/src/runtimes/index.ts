/**
 * The runtimes of this node. A new runtime is one file here (how its host is started, whether this machine has
 * it) and one host: host/*.ts for those written in TypeScript, python/ for those in Python (`exec` has one of each).
 */
import type { Runtime } from "@everycore/protocol";
import { EverycoreError } from "@everycore/protocol";
import { execRuntime } from "./exec.ts";
import { jsRuntime } from "./js.ts";
import { pythonRuntime } from "./python.ts";
import type { FoundRuntime, RuntimeSupport, StartCommand } from "./runtime.ts";

export type { FoundRuntime, StartCommand } from "./runtime.ts";

const supports: Readonly<Record<Runtime, RuntimeSupport>> = {
  js: jsRuntime,
  python: pythonRuntime,
  exec: execRuntime,
};

/** What this machine can run; the first of a name is the one that is used. */
export async function discover(): Promise<FoundRuntime[]> {
  const found = await Promise.all(Object.values(supports).map((support) => support.discover()));
  return found.flat();
}

export interface StartOptions {
  /** Folder with the worker's page and outcome files. */
  readonly slotDir: string;
  /** What `discover` found. */
  readonly interpreters: readonly FoundRuntime[];
  /** python: the version asked for, "3.11"; absent for the first found. */
  readonly python?: string;
}

export function startCommand(runtime: Runtime, options: StartOptions): StartCommand {
  const { interpreters, python, slotDir } = options;
  const found = interpreters.find(
    ({ name, version }) =>
      name === runtime && (name !== "python" || python === undefined || version.startsWith(`${python}.`)),
  );
  if (found === undefined) {
    const what = python === undefined ? runtime : `${runtime} ${python}`;
    throw new EverycoreError("bad-task", `this node has no ${what}`);
  }
  return supports[runtime].start(slotDir, found, interpreters);
}
