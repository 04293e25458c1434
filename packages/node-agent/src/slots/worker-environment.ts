/** The environment of a worker, whoever starts it: that of its parent, and what a slot for one core asks for. */

/** Numeric libraries start a thread per core by themselves: one per worker is what slots are for. */
const threadVariables = [
  "OMP_NUM_THREADS",
  "OPENBLAS_NUM_THREADS",
  "MKL_NUM_THREADS",
  "NUMEXPR_NUM_THREADS",
  "VECLIB_MAXIMUM_THREADS",
  "RAYON_NUM_THREADS",
];

export function workerEnvironment(own: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const environment: Record<string, string> = { EVERYCORE_WORKER: "1" };
  // Our own place in a trace is nobody else's: tasks of a traced job are told theirs with each slice.
  const inherited = { ...process.env, TRACEPARENT: undefined, TRACESTATE: undefined };
  for (const [name, value] of Object.entries({ ...inherited, ...own }))
    if (value !== undefined) environment[name] = value;
  for (const name of threadVariables) environment[name] ??= "1";
  return environment;
}
