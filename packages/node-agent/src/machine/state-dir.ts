/** The state directory: one agent at a time (lock), a node id drawn once and bound to the machine. */
import { randomBytes } from "node:crypto";
import { accessSync, constants, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NodeId } from "@everycore/protocol";
import { EverycoreError, isNodeId } from "@everycore/protocol";
import { isAlive, startTimeOf } from "./processes.ts";

export interface StateDir {
  readonly node: NodeId;
  release(): void;
}

export function openStateDir(dir: string, machineId: string): StateDir {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    accessSync(dir, constants.W_OK);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new EverycoreError("bad-input", `the state directory ${dir} cannot be used (${code})`, {
      hint: "choose a directory that can be written by --data",
      cause: error,
    });
  }
  const lock = join(dir, "lock");
  takeLock(dir, lock);
  return { node: nodeIdOf(dir, machineId), release: () => rmSync(lock, { force: true }) };
}

/** pid and start time: a pid used again by another process does not hold it. A link is made by one process only. */
function takeLock(dir: string, lock: string): void {
  const mine = `${lock}.${process.pid}`;
  writeFileSync(mine, JSON.stringify({ pid: process.pid, startTime: startTimeOf(process.pid) ?? 0 }), {
    mode: 0o600,
  });
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return linkSync(mine, lock);
      } catch (error) {
        const holder = holderOf(lock);
        if (attempt >= 3 || (holder !== undefined && isAlive(holder.pid, holder.startTime))) {
          const who = holder === undefined ? "another agent" : `the agent with pid ${holder.pid}`;
          const hint = "end it, or give this one its own state directory with --data";
          throw new EverycoreError("conflict", `state directory ${dir} is in use by ${who}`, {
            hint,
            cause: error,
          });
        }
        rmSync(lock, { force: true });
      }
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

function holderOf(lock: string): { pid: number; startTime: number } | undefined {
  try {
    return JSON.parse(readFileSync(lock, "utf8")) as { pid: number; startTime: number }; // written by takeLock
  } catch {
    return undefined; // released meanwhile, or torn by a power cut
  }
}

/** A copied state directory (cloned machine image) gets a new id: two nodes of one id would fight for leases. */
function nodeIdOf(dir: string, machineId: string): NodeId {
  const file = join(dir, "node.json");
  try {
    const known = JSON.parse(readFileSync(file, "utf8")) as { node?: unknown; machine?: unknown };
    if (isNodeId(known.node) && known.machine === machineId) return known.node;
  } catch {
    // first start, or unreadable: a new id is always safe
  }
  const node = randomBytes(8).toString("hex") as NodeId;
  writeFileSync(file, JSON.stringify({ node, machine: machineId }), { mode: 0o600 });
  return node;
}
