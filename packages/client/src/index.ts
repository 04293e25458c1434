/**
 * @everycore/client: run functions over items on every core of every host. What is exported here is what programs may
 * rely on; the rest of the package is internal.
 */
export { EverycoreError } from "@everycore/protocol";
export type { ErrorCode, ErrorInfo, JobState } from "@everycore/protocol";
export type { CallOptions } from "./channel.ts";
export { Cluster } from "./cluster.ts";
export type { MapOptions } from "./cluster.ts";
export { connect } from "./connect.ts";
export type { ConnectOptions } from "./connect.ts";
export {
  ItemCancelledError,
  ItemCrashedError,
  ItemError,
  ItemExpiredError,
  ItemFailedError,
  ItemLostError,
  ItemTimeoutError,
  JobAuditError,
  JobCancelledError,
  JobError,
  JobFailedError,
} from "./failures.ts";
export type { AnyItemError, ItemErrorKind } from "./failures.ts";
export { range } from "./items.ts";
export type { ItemRange, Items } from "./items.ts";
export type { JobOptions } from "./job-options.ts";
export { Job } from "./job.ts";
export type { JobResultsOptions, JobWaitOptions } from "./job.ts";
export { MapResults } from "./map-results.ts";
export type { PartialReduction } from "./map-results.ts";
export type { ItemOutcome } from "./outcomes.ts";
export { taskModule } from "./task-module.ts";
export type { ItemOf, TaskContext, TaskModule, TaskName, TaskSource, ValueOf } from "./task-module.ts";
export type {
  AuditInfo,
  ClusterStatus,
  Counts,
  DifferingItemInfo,
  JobInfo,
  NodeInfo,
  Replication,
  NodeUsageInfo,
  OutputChunk,
  RoundAuditInfo,
  RuntimeInfo,
  SlotUsageInfo,
  SpotCheckInfo,
} from "./wire-types.ts";
