/** How many cores this machine gives us: affinity and the control group's quota, whichever is less. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

export function coresHere(): { cores: number; reason: string } {
  const cores = availableParallelism();
  const quota = cgroupQuota();
  if (quota !== undefined && quota < cores)
    return { cores: Math.max(1, Math.floor(quota)), reason: `cgroup cpu.max allows ${quota}` };
  return { cores, reason: "cores this process may use" };
}

function cgroupQuota(): number | undefined {
  try {
    const path = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
    const parts = path.split("/").filter((part) => part !== "");
    let least: number | undefined;
    for (let depth = 0; depth <= parts.length; depth += 1) {
      const quota = readQuota(["/sys/fs/cgroup", ...parts.slice(0, depth), "cpu.max"].join("/"));
      if (quota !== undefined) least = Math.min(least ?? quota, quota);
    }
    return least;
  } catch {
    return undefined; // no control groups here
  }
}

function readQuota(file: string): number | undefined {
  try {
    const [quota, period] = readFileSync(file, "utf8").trim().split(" ").map(Number);
    return quota !== undefined && period !== undefined && quota > 0 && period > 0
      ? quota / period
      : undefined;
  } catch {
    return undefined; // the root has no such file
  }
}

/** `total` slots over `agents` agents, at least one each. */
export function divideSlots(total: number, agents: number): number[] {
  return Array.from({ length: agents }, (_, at) =>
    Math.max(1, Math.floor(total / agents) + (at < total % agents ? 1 : 0)),
  );
}
