/** The bare loop in Python: as many processes as slots, half of the items each, started before the clock runs. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { BareRun } from "../bare.ts";

const script = join(import.meta.dirname, "drivers", "bare.py");

export async function runBarePython(
  python: string,
  rounds: readonly number[],
  processes: number,
): Promise<BareRun> {
  const children = Array.from({ length: processes }, () => {
    const child = spawn(python, [script], { stdio: ["pipe", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout });
    return { child, next: async () => ((await once(lines, "line")) as [string])[0] };
  });
  await Promise.all(
    children.map(async ({ child, next }, at) => {
      const ready = next();
      child.stdin.write(`${JSON.stringify(rounds.filter((_, index) => index % processes === at))}\n`);
      await ready;
    }),
  );
  const startedAt = performance.now();
  const reports = await Promise.all(
    children.map(async ({ child, next }) => {
      const told = next();
      child.stdin.end("go\n");
      return JSON.parse(await told) as { seconds: number; cpuSeconds: number }; // bare.py's only line
    }),
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  return {
    seconds,
    loopSeconds: reports.reduce((sum, report) => sum + report.seconds, 0),
    cpuSeconds: reports.reduce((sum, report) => sum + report.cpuSeconds, 0),
  };
}
