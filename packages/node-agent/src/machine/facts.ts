/**
 * What this machine gives an agent: slots and why, memory, identity. `root` lets tests read a fixture tree.
 * Node's own count is wrong under cgroup v1 quotas, so the files are read here (DESIGN 10).
 */
import { existsSync, readFileSync, statfsSync } from "node:fs";
import { availableParallelism, hostname, totalmem } from "node:os";
import { delimiter, join } from "node:path";

const read = (root: string, path: string): string | undefined => {
  try {
    return readFileSync(join(root, path), "utf8").trim();
  } catch {
    return undefined; // absent on this kind of machine
  }
};

export interface Slots {
  readonly slots: number;
  readonly reason: string;
}

/** Flag, else the smallest of affinity, cgroup v2 `cpu.max` along the path, cgroup v1 quota; floor, at least 1. */
export function slotsOf(options: { flag: number | undefined; root?: string }): Slots {
  const { flag, root = "/" } = options;
  if (flag !== undefined) return { slots: flag, reason: "asked for" };
  const found: { cpus: number; reason: string }[] = [];
  const affinity = affinityOf(root);
  found.push(
    affinity === undefined
      ? { cpus: availableParallelism(), reason: "cores of the machine" }
      : { cpus: affinity, reason: "cores this process may use (affinity)" },
  );
  const quota = cgroupQuota(root);
  if (quota !== undefined) found.push(quota);
  const least = found.reduce((a, b) => (b.cpus < a.cpus ? b : a));
  return { slots: Math.max(1, Math.floor(least.cpus)), reason: least.reason };
}

function affinityOf(root: string): number | undefined {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(read(root, "proc/self/status") ?? "")?.[1];
  if (list === undefined) return undefined;
  let cpus = 0;
  for (const part of list.split(",")) {
    const [first, last = first] = part.split("-").map(Number);
    cpus += last! - first! + 1;
  }
  return Number.isInteger(cpus) && cpus > 0 ? cpus : undefined;
}

function cgroupQuota(root: string): { cpus: number; reason: string } | undefined {
  const groups = (read(root, "proc/self/cgroup") ?? "").split("\n").map((line) => line.split(":"));
  let least: { cpus: number; reason: string } | undefined;
  const take = (cpus: number, reason: string): void => {
    if (cpus > 0 && (least === undefined || cpus < least.cpus)) least = { cpus, reason };
  };
  for (const [, controllers = "", path = "/"] of groups) {
    if (controllers === "") {
      for (const dir of upwards(path)) {
        const [max, period] = (read(root, join("sys/fs/cgroup", dir, "cpu.max")) ?? "max").split(" ");
        if (max !== "max") take(Number(max) / Number(period), `cgroup v2 cpu.max of ${dir}`);
      }
    } else if (controllers.split(",").includes("cpu")) {
      for (const dir of upwards(path)) {
        const quota = Number(read(root, join("sys/fs/cgroup/cpu", dir, "cpu.cfs_quota_us")) ?? -1);
        const period = Number(read(root, join("sys/fs/cgroup/cpu", dir, "cpu.cfs_period_us")) ?? 100_000);
        if (quota > 0) take(quota / period, `cgroup v1 quota of ${dir}`);
      }
    }
  }
  return least;
}

/** The group and all above it: the smallest quota on the way counts. */
function upwards(path: string): string[] {
  const dirs: string[] = [];
  for (let dir = path; ; dir = dir.slice(0, dir.lastIndexOf("/"))) {
    dirs.push(dir === "" ? "/" : dir);
    if (dir === "" || dir === "/") return dirs;
  }
}

/** Bytes that this agent's workers may use together. */
export function memoryBytesOf(root = "/"): number {
  let bytes = totalmem();
  const path = /^0::(.*)$/m.exec(read(root, "proc/self/cgroup") ?? "")?.[1];
  if (path !== undefined) {
    for (const dir of upwards(path)) {
      const max = Number(read(root, join("sys/fs/cgroup", dir, "memory.max")));
      if (max > 0) bytes = Math.min(bytes, max);
    }
  }
  return bytes;
}

export const machineIdOf = (root = "/"): string =>
  read(root, "etc/machine-id") || read(root, "var/lib/dbus/machine-id") || `host-${hostname()}`;

/** Where setpriv(1) is, or undefined: workers then die only with the next start of the agent. */
export function findOnPath(name: string, path = process.env["PATH"] ?? ""): string | undefined {
  return path
    .split(delimiter)
    .filter((dir) => dir !== "")
    .map((dir) => join(dir, name))
    .find((file) => existsSync(file));
}

/** Less free disk than this: appends may fail at any moment. */
const diskFloorBytes = 64 * 1024 * 1024;

export const isOutOfSpace = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");

export function isDiskFull(dir: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dir);
    return bavail * bsize < diskFloorBytes;
  } catch {
    return true; // the directory is gone: nothing can be kept
  }
}
