/** Facts about processes from /proc: identity across reuse of pids, memory, boot. Linux; elsewhere undefined. */
import { readFileSync } from "node:fs";

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // gone, or no /proc here: the caller decides what that means
  }
};

/** Clock ticks since boot at which the process started: with the pid its identity. */
export function startTimeOf(pid: number): number | undefined {
  const ticks = Number(statOf(pid)?.[19]);
  return Number.isFinite(ticks) ? ticks : undefined;
}

/** Fields of proc(5) "stat" from the third, the state, on; the name before may hold spaces and parentheses. */
function statOf(pid: number): string[] | undefined {
  const stat = read(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** The same process, and not one that has ended and whose parent has not asked for it yet. */
export function isAlive(pid: number, startTime: number): boolean {
  const state = statOf(pid)?.[0];
  return state !== "Z" && state !== "X" && startTimeOf(pid) === startTime;
}

/** Resident and peak memory in bytes. */
export function memoryOf(pid: number): { rss: number; peak: number } | undefined {
  const status = read(`/proc/${pid}/status`);
  if (status === undefined) return undefined;
  const kb = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0);
  return { rss: kb("VmRSS") * 1024, peak: kb("VmHWM") * 1024 };
}

/** 32 hex digits; files of another boot are worthless. */
export const bootIdOf = (): string =>
  (read("/proc/sys/kernel/random/boot_id") ?? "").trim().replaceAll("-", "").padStart(32, "0");

/** Signals a whole group; false when nothing of it is left. */
export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false; // ESRCH: gone already
  }
}

/** Ends what a former agent left, if the pid still is the same process (same start). */
export function endLeftover(pid: number, startTime: number): boolean {
  if (pid <= 1 || startTimeOf(pid) !== startTime) return false;
  return signalGroup(pid, "SIGKILL");
}
