/**
 * A process of simulated agents, started by fleet.ts with what they are in argv. It says `ready` once all are linked,
 * answers each message with what they have done since the last, and ends when its parent does.
 */
import type { NodeId } from "@everycore/protocol";
import { agentServiceDefinition } from "../../packages/node-agent/src/control/link.ts";
import { seededRandom } from "../statistics.ts";
import { AgentRecord } from "./recorder.ts";
import type { AgentReport } from "./recorder.ts";
import { SimulatedAgent } from "./simulated-agent.ts";

export interface AgentsOptions {
  readonly address: string;
  readonly secret: string;
  /** Numbers [first, first + count) of the agents. */
  readonly first: number;
  readonly count: number;
}

export interface FleetReport extends AgentReport {
  readonly items: number;
  readonly busyMs: number;
}

/** Hellos at once: a real cluster does not start in one moment either. */
const startAtOnce = 25;

const { address, secret, first, count } = JSON.parse(process.argv[2]!) as AgentsOptions; // fleet.ts made it
const record = new AgentRecord();
const service = agentServiceDefinition();
const agents = Array.from({ length: count }, (_, at) => {
  const node = (first + at + 1).toString(16).padStart(16, "0") as NodeId; // 16 hex digits
  return new SimulatedAgent({ node, address, secret, service, record, random: seededRandom(first + at) });
});
process.on("disconnect", () => process.exit(0));
process.on("message", () => {
  let items = 0;
  let busyMs = 0;
  for (const { worker } of agents) {
    items += worker.items;
    busyMs += worker.busyMs;
  }
  const report: FleetReport = { ...record.take(), items, busyMs };
  process.send!(report);
});
for (let at = 0; at < count; at += startAtOnce)
  await Promise.all(agents.slice(at, at + startAtOnce).map((agent) => agent.start()));
process.send!("ready");
