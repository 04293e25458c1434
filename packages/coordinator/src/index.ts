/** The coordinator as a part: `main.ts` runs it as a process. */
export type { CoordinatorConfig } from "./config.ts";
export { parseConfig } from "./config.ts";
export type { RunningCoordinator } from "./coordinator.ts";
export { startCoordinator } from "./coordinator.ts";
