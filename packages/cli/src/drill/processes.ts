/**
 * Processes that a drill may disturb. It finds them and signals them; nothing of another user, and nothing that is
 * not a part of the drilled cluster.
 *
 *  H1  a part is a child of the process that owns the cluster (`up`, or this command), and runs a part's program: a
 *      number that was another program's yesterday is never signalled;
 *  H2  what is stopped goes on however the drill ends, kill -9 included: a helper outside of our group holds our
 *      pipe, and continues the process once that is closed.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { basename } from "node:path";
import { EverycoreError } from "@everycore/protocol";

export type PartKind = "nats-server" | "coordinator" | "agent";

export interface Part {
  readonly kind: PartKind;
  readonly pid: number;
}

/** Processes can be told apart here. */
export const canSeeProcesses = (): boolean => process.platform === "linux";

/** H1. */
export function partsOf(owner: number): Part[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => parentOf(pid) === owner && isOurs(pid))
    .flatMap((pid) => {
      const kind = kindOf(pid);
      return kind === undefined ? [] : [{ kind, pid }];
    });
}

/** The process is an agent, and of this user. */
export const isOurAgent = (pid: number): boolean => pid > 0 && isOurs(pid) && kindOf(pid) === "agent";

function kindOf(pid: number): PartKind | undefined {
  const words = read(`/proc/${pid}/cmdline`).split("\0").filter(Boolean);
  if (basename(words[0] ?? "") === "nats-server") return "nats-server";
  const runs = (program: RegExp): boolean => words.some((word) => program.test(word));
  if (runs(/\/coordinator\/\w+\/main\.[jt]s$/)) return "coordinator";
  return runs(/\/node-agent\/\w+\/main\.[jt]s$/) ? "agent" : undefined;
}

function isOurs(pid: number): boolean {
  return statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === process.getuid?.();
}

function parentOf(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // it has ended since it was listed
  }
}

/** Stops the process until it is disposed of (H2). */
export async function stopProcess(pid: number): Promise<AsyncDisposable> {
  const helper = spawn("/bin/sh", ["-c", 'echo ready; read -r line; kill -CONT "$1"', "sh", String(pid)], {
    detached: true, // Ctrl-C is for us alone
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = once(helper, "exit");
  helper.stdin.on("error", () => {}); // it has ended; `ended` tells
  const refused = ended.then(() => {
    throw new EverycoreError("internal", "the helper that continues a stopped process did not start");
  });
  refused.catch(() => {}); // once it is ready, it ends when it should
  await Promise.race([once(helper.stdout, "data"), refused]); // only now is there somebody to continue it
  process.kill(pid, "SIGSTOP");
  const goOn = async (): Promise<void> => {
    helper.stdin.end();
    await ended;
  };
  return { [Symbol.asyncDispose]: goOn };
}
