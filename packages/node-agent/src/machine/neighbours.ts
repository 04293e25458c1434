/**
 * Agents of one user on one machine know of each other (DESIGN 10): each leaves its slots in a small file while it
 * lives. Together they should not have more slots than the machine has cores; where they do, it is said, in the
 * log and in `node list`, since both may be what the user wants.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { slotsOf } from "./facts.ts";
import type { Slots } from "./facts.ts";
import { isAlive, startTimeOf } from "./processes.ts";

export interface ClaimedSlots extends Slots {
  /** A sentence when the agents of this machine have more slots than it has cores. */
  readonly warning: string | undefined;
  release(): void;
}

export interface ClaimOptions {
  readonly flag: number | undefined;
  /** Folder of the files; the user's runtime folder by default. */
  readonly dir?: string;
  readonly cores?: number;
}

export function claimSlots(options: ClaimOptions): ClaimedSlots {
  const { flag, dir = defaultDir(), cores = availableParallelism() } = options;
  const own = slotsOf({ flag });
  const file = join(dir, String(process.pid));
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const facts = lstatSync(dir);
    if (!facts.isDirectory() || facts.uid !== process.getuid?.()) return alone(own);
    const others = slotsOfOthers(dir);
    writeFileSync(file, JSON.stringify({ startTime: startTimeOf(process.pid) ?? 0, slots: own.slots }), {
      mode: 0o600,
    });
    const sum = others.reduce((total, slots) => total + slots, own.slots);
    const warning =
      others.length > 0 && sum > cores
        ? `${others.length} other agents of this user run here: together ${sum} slots on ${cores} cores`
        : undefined;
    const reason = warning === undefined ? own.reason : `${own.reason}; ${warning}`;
    return { slots: own.slots, reason, warning, release: () => rmSync(file, { force: true }) };
  } catch {
    return alone(own); // no folder for it: a courtesy less
  }
}

const alone = (own: Slots): ClaimedSlots => ({ ...own, warning: undefined, release: () => {} });

const defaultDir = (): string =>
  join(
    process.env["XDG_RUNTIME_DIR"] ?? join(tmpdir(), `everycore-${userInfo().uid}`),
    "everycore",
    "agents",
  );

/** Slots of each agent that lives; files of the dead are removed. */
function slotsOfOthers(dir: string): number[] {
  const slots: number[] = [];
  for (const name of readdirSync(dir)) {
    const pid = Number(name);
    if (pid === process.pid) continue;
    const said = parse(join(dir, name));
    if (said !== undefined && isAlive(pid, said.startTime)) slots.push(said.slots);
    else rmSync(join(dir, name), { force: true });
  }
  return slots;
}

function parse(path: string): { startTime: number; slots: number } | undefined {
  try {
    const value = JSON.parse(readFileSync(path, "utf8")) as { startTime?: unknown; slots?: unknown };
    const { startTime, slots } = value;
    return typeof startTime === "number" && typeof slots === "number" ? { startTime, slots } : undefined;
  } catch {
    return undefined; // torn by a death, or not ours
  }
}
