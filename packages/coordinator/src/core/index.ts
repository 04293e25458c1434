/** Surface of the pure core; the simulator uses it as `@everycore/coordinator/core`. */
export type { Answer, Effect, EffectKind, Event, EventKind, LeaderRecord } from "./events.ts";
export { EventClock } from "./event-clock.ts";
export { acceptedIn, JobAudit } from "./audit.ts";
export type { ExplainLine } from "./explain.ts";
export { explainJob } from "./explain.ts";
export { checkInvariants } from "./invariants.ts";
export { takesInput } from "./jobs.ts";
export type { ClusterState, Job, Keys, Lease, LeaseReport, Node, NodeReport, StorageLevel } from "./model.ts";
export { isHeldBack } from "./pause.ts";
export { countsOfItems, missingItems } from "./reduced.ts";
export { newCluster, step } from "./step.ts";
export type { Load } from "./totals.ts";
export { loadOf } from "./totals.ts";
export {
  jobTransitions,
  leaseTransitions,
  nodeTransitions,
  phaseTransitions,
  standingTransitions,
} from "./transitions.ts";
export type { JobView, NodeView, UsageView } from "./views.ts";
export { isBundleUsed, jobView, jobViews, logEndOf, nodeView, nodeViews, waitingReasons } from "./views.ts";
