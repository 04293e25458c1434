/** `@everycore/node-agent/local`: items on the user's own machine, for the command alone (docs/decisions/0060). */
export { unpackBundle } from "../data/inputs.ts";
export { discover } from "../runtimes/index.ts";
export type { FoundRuntime } from "../runtimes/index.ts";
export { HostWorker } from "./host-worker.ts";
export type { Debugging } from "./host-worker.ts";
export { OwnWorker } from "./own-worker.ts";
export { LoadFailure } from "./worker.ts";
export type { LocalSlice, LocalSliceEnd, LocalWorker } from "./worker.ts";
