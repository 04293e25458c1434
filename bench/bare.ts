/** Two bare processes that do the same loop over the same items, half each: what the cluster is measured against. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { BareReport } from "./bare-worker.ts";

const script = fileURLToPath(new URL("bare-worker.ts", import.meta.url));

export interface BareRun {
  /** From the word to begin until both have told that they are done. */
  readonly seconds: number;
  /** Time in the loops, summed. */
  readonly loopSeconds: number;
  readonly cpuSeconds: number;
}

export async function runBare(rounds: readonly number[], processes: number): Promise<BareRun> {
  const children = Array.from({ length: processes }, () => fork(script, { serialization: "advanced" }));
  await Promise.all(children.map((child) => once(child, "message")));
  const startedAt = performance.now();
  const reports = await Promise.all(
    children.map(async (child, at): Promise<BareReport> => {
      child.send(rounds.filter((_, index) => index % processes === at));
      const [report] = (await once(child, "message")) as [BareReport];
      return report;
    }),
  );
  const seconds = (performance.now() - startedAt) / 1000;
  for (const child of children) if (child.exitCode === null) await once(child, "exit");
  return {
    seconds,
    loopSeconds: reports.reduce((sum, report) => sum + report.seconds, 0),
    cpuSeconds: reports.reduce((sum, report) => sum + report.cpuSeconds, 0),
  };
}
