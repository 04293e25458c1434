/** One of the bare processes that the cluster is measured against: waits for its items, runs the loop, tells. */
import { spin } from "./tasks.ts";

export interface BareReport {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

process.on("message", (rounds: readonly number[]) => {
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const results: number[] = [];
  for (const count of rounds) results.push(spin(count));
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const report: BareReport = { seconds, cpuSeconds: (user + system) / 1e6 };
  process.send!(report, () => process.exit(0));
});
process.send!("ready");
