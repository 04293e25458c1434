/** The agent as a library: tests start it in their own process. */
export { Agent } from "./agent.ts";
export type { AgentParts } from "./agent.ts";
export type { AgentConfig } from "./config.ts";
