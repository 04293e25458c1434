/** Simulated agents in a few processes, and what they report together. */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { JobId } from "@everycore/protocol";
import type { AgentsOptions, FleetReport } from "./agents.ts";
import type { ProbeTimes } from "./recorder.ts";

const program = fileURLToPath(new URL("agents.ts", import.meta.url));
/** Agents of one process at most. */
const perProcessMax = 250;

export interface Fleet extends AsyncDisposable {
  /** What all have done since the last call; items and busy time since their start. */
  report(): Promise<FleetReport>;
}

export async function startFleet(options: {
  address: string;
  secret: string;
  agents: number;
}): Promise<Fleet> {
  const { agents, ...access } = options;
  const processes: ChildProcess[] = [];
  const dispose = async (): Promise<void> => {
    await Promise.all(
      processes.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill("SIGKILL");
        await once(child, "exit");
      }),
    );
  };
  try {
    for (let first = 0; first < agents; first += perProcessMax) {
      const own: AgentsOptions = { ...access, first, count: Math.min(perProcessMax, agents - first) };
      processes.push(fork(program, [JSON.stringify(own)], { serialization: "advanced" }));
    }
    await Promise.all(processes.map((child) => heard(child)));
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    report: async () => {
      const reports = await Promise.all(
        processes.map((child) => {
          const answer = heard(child);
          child.send("report");
          return answer as Promise<FleetReport>; // agents.ts sends nothing else once it is ready
        }),
      );
      return reports.reduce(added);
    },
    [Symbol.asyncDispose]: dispose,
  };
}

async function heard(child: ChildProcess): Promise<unknown> {
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`a process of simulated agents has ended with ${String(code)}`);
  });
  ended.catch(() => {}); // it may end later, when nobody waits for it
  const [message] = (await Promise.race([once(child, "message"), ended])) as [unknown];
  return message;
}

const added = (one: FleetReport, other: FleetReport): FleetReport => ({
  items: one.items + other.items,
  busyMs: one.busyMs + other.busyMs,
  leases: one.leases + other.leases,
  commits: one.commits + other.commits,
  resends: one.resends + other.resends,
  gaveBack: one.gaveBack + other.gaveBack,
  brokenLinks: one.brokenLinks + other.brokenLinks,
  ackMs: [...one.ackMs, ...other.ackMs],
  probes: new Map<JobId, ProbeTimes>([...one.probes, ...other.probes]),
});
