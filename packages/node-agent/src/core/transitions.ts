/** The phases of what an agent keeps, as tables. Whatever is not in a table is a bug and throws. */

/**
 * Life of a worker process. `starting`: spawned, nothing heard. `spare`: ready, without a job. `loading`: has a
 * task that is not loaded yet; slices may already wait behind it. `serving`: its task is loaded. `dying`: we sent
 * a signal; only its death is awaited. A killed agent leaves all of them dead (pdeathsig, or the next start).
 */
export const workerTransitions = {
  starting: { ready: "spare", kill: "dying" },
  spare: { task: "loading", kill: "dying" },
  loading: { loaded: "serving", kill: "dying" },
  serving: { kill: "dying" },
  dying: { kill: "dying" },
} as const;
export type WorkerLife = keyof typeof workerTransitions;

/**
 * Life of a slice. `asking`: an announced slice waits for the leader's word. `sent`: the worker has it.
 * `cutting`: its limit was lowered and the cursor is about to be read. `cut`: that was read; what is beyond the
 * limit is ours again.
 */
export const sliceTransitions = {
  asking: { allow: "sent" },
  sent: { cut: "cutting" },
  cutting: { read: "cut" },
  cut: { cut: "cutting" },
} as const;
export type SliceLife = keyof typeof sliceTransitions;

/** Life of the agent towards its leader. What is drained never goes back: the process ends with it. */
export const drainTransitions = {
  working: { drain: "draining" },
  draining: { drain: "draining", undrain: "working", done: "drained" },
  drained: { drain: "drained", done: "drained" },
} as const;
export type DrainLife = keyof typeof drainTransitions;

type Table = Readonly<Record<string, Readonly<Record<string, string>>>>;

export function move<T extends Table>(
  table: T,
  step: { machine: string; id: string | number; from: keyof T & string; event: string },
): keyof T & string {
  const to = table[step.from]?.[step.event];
  if (to === undefined)
    throw new Error(`${step.machine} ${step.id}: no "${step.event}" in state "${step.from}"`);
  return to as keyof T & string;
}
