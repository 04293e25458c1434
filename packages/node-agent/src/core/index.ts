/** The agent's pure core. */
export * from "./events.ts";
export { checkInvariants } from "./invariants.ts";
export { reportOf } from "./jobs.ts";
export type * from "./model.ts";
export { newAgent, step } from "./step.ts";
export { drainTransitions, sliceTransitions, workerTransitions } from "./transitions.ts";
