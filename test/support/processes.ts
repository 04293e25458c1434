// Which processes belong to a test: those whose command line, environment or working folder names its folder.
// Read from /proc, so it also finds what nobody holds a handle on: leaked workers, programs, servers.

import { readFileSync, readdirSync, readlinkSync } from "node:fs";

export interface FoundProcess {
  readonly pid: number;
  readonly parent: number;
  /** One letter of /proc/<pid>/stat: R, S, D, T, Z. */
  readonly state: string;
  readonly command: string;
  readonly residentBytes: number;
}

const pageBytes = 4096;

/** Living processes of the test that owns `folder`; zombies do not live. */
export function processesOf(folder: string): FoundProcess[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => belongsTo(name, folder))
    .flatMap((name) => readProcess(Number(name)) ?? [])
    .filter(({ state }) => state !== "Z");
}

/** What is known about a process, or undefined when it is gone. */
export function readProcess(pid: number): FoundProcess | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === "") return undefined;
  const [state = "?", parent = "0"] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const resident = Number(read(`/proc/${pid}/statm`).split(" ")[1] ?? 0) * pageBytes;
  const command = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim().slice(0, 300);
  return { pid, parent: Number(parent), state, command, residentBytes: resident };
}

export const isRunning = (pid: number): boolean => (readProcess(pid)?.state ?? "Z") !== "Z";

/** True if the process has an established TCP connection (IPv4) to this port. */
export function hasConnection(pid: number, port: number): boolean {
  const established = "01";
  const remote = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const inodes = read(`/proc/${pid}/net/tcp`)
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[2]?.endsWith(remote) === true && fields[3] === established)
    .map((fields) => `socket:[${fields[9]}]`);
  try {
    const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    return inodes.some((inode) => open.includes(inode));
  } catch {
    return false; // an fd was closed while we looked, or the process is gone
  }
}

function belongsTo(pid: string, folder: string): boolean {
  if (read(`/proc/${pid}/cmdline`).includes(folder)) return true;
  if (read(`/proc/${pid}/environ`).includes(folder)) return true;
  try {
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(folder);
  } catch {
    return false; // gone, or another user's
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // gone since it was listed, or another user's
  }
}
