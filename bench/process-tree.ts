/**
 * CPU time and memory of the cluster's processes, from /proc. The cluster is whatever descends from this process;
 * a child that has ended is counted where it was waited for (cutime, cstime), so nothing is missed or counted twice
 * between two snapshots.
 */
import { readFileSync, readdirSync } from "node:fs";

/** Kernel ticks per second, as /proc counts; 100 on every Linux that Node supports. */
const ticksPerSecond = 100;

const readsMax = 10;
/** The client's own, for the bundles it makes before the clock runs: no part of the cluster. */
const bundler = "esbuild";

export interface ProcessUsage {
  readonly pid: number;
  readonly role: string;
  /** Own CPU time, s. */
  readonly seconds: number;
  /** CPU time of children that ended, and of theirs, s. */
  readonly endedSeconds: number;
}

export type Snapshot = ReadonlyMap<number, ProcessUsage>;

interface Stat extends Omit<ProcessUsage, "role"> {
  readonly parent: number;
}

/**
 * All processes of the cluster below this one. Read again while processes end: one that ends between the reading of
 * its parent and its own would be in neither, and all its past would count as the work of whoever measures next.
 */
export function takeSnapshot(): Snapshot {
  let snapshot = readTree();
  for (let attempt = 0; attempt < readsMax; attempt += 1) {
    const again = readTree();
    const isSame = [...again.values()].every(
      ({ pid, endedSeconds }) => snapshot.get(pid)?.endedSeconds === endedSeconds,
    );
    if (isSame && again.size === snapshot.size) return again;
    snapshot = again;
  }
  return snapshot;
}

function readTree(): Snapshot {
  const children = new Map<number, Stat[]>();
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) ? readStat(Number(name)) : undefined;
    if (stat === undefined) continue;
    const siblings = children.get(stat.parent) ?? [];
    siblings.push(stat);
    children.set(stat.parent, siblings);
  }
  const found = new Map<number, ProcessUsage>();
  const waiting = [...(children.get(process.pid) ?? [])];
  for (let stat = waiting.pop(); stat !== undefined; stat = waiting.pop()) {
    const { pid, seconds, endedSeconds } = stat;
    const role = roleOf(pid, found.get(stat.parent)?.role);
    if (role === bundler) continue;
    found.set(pid, { pid, seconds, endedSeconds, role });
    waiting.push(...(children.get(pid) ?? []));
  }
  return found;
}

/** CPU seconds by role between two snapshots; workers that came and went stand under "ended workers". */
export function usageBetween(before: Snapshot, after: Snapshot): Record<string, number> {
  const sums: Record<string, number> = {};
  const add = (role: string, seconds: number): void => {
    if (seconds !== 0) sums[role] = (sums[role] ?? 0) + seconds;
  };
  for (const usage of after.values()) {
    const old = before.get(usage.pid);
    add(usage.role, usage.seconds - (old?.seconds ?? 0));
    add("ended workers", usage.endedSeconds - (old?.endedSeconds ?? 0));
  }
  for (const usage of before.values()) {
    // What it had used before is part of its parent's sum now.
    if (!after.has(usage.pid)) add("ended workers", -usage.seconds - usage.endedSeconds);
  }
  return sums;
}

export const sumOf = (seconds: Readonly<Record<string, number>>): number =>
  Object.values(seconds).reduce((sum, value) => sum + value, 0);

/** Highest memory a process ever had, bytes. */
export function peakMemoryBytes(pid: number): number {
  const kilobytes = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) * 1024;
}

export function pidOf(role: string): number {
  for (const usage of takeSnapshot().values()) if (usage.role === role) return usage.pid;
  throw new Error(`there is no ${role} among this process's children`);
}

function readStat(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // after the command's name, which may hold blanks: state ppid ... utime stime cutime cstime at 11 to 14
    const fields = text
      .slice(text.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    const [user, system, endedUser, endedSystem] = fields.slice(11, 15);
    if (endedSystem === undefined) return undefined;
    return {
      pid,
      parent: fields[1]!,
      seconds: (user! + system!) / ticksPerSecond,
      endedSeconds: (endedUser! + endedSystem) / ticksPerSecond,
    };
  } catch {
    return undefined; // it ended while we looked
  }
}

/** What an agent starts is a worker, and what a worker starts is the task's: also once it is a zombie without a name. */
function roleOf(pid: number, parentRole: string | undefined): string {
  if (parentRole === "agent" || parentRole === "worker") return "worker";
  let command: string;
  try {
    command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "other";
  }
  if (/coordinator\/src\/main\.ts/.test(command)) return "coordinator";
  if (/node-agent\/src\/main\.ts/.test(command)) return "agent";
  if (command.includes("nats-server")) return "nats-server";
  return command.includes(bundler) ? bundler : "other";
}
