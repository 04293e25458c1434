/** How a command ends badly: one sentence with what to do on stderr, and the exit code that DESIGN 12 promises. */
import { EverycoreError } from "@everycore/protocol";
import { failedItems } from "@everycore/client/internal";
import type { JobInfo } from "@everycore/client/internal";
import { CommanderError } from "commander";
import { isHalted } from "./halt.ts";

/** Exit codes that are no error's own. */
export const exitCodes = { good: 0, itemsFailed: 1, cancelled: 3, internal: 5, left: 130 } as const;

/** The user pressed Ctrl-C. `cancel` ends the job, `leave` only this command. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly exitCode: number;

  constructor(what: "cancel" | "leave") {
    super(what === "cancel" ? "cancelled" : "left");
    this.exitCode = what === "cancel" ? exitCodes.cancelled : exitCodes.left;
  }
}

/** Exit code of a job that has ended. */
export function exitCodeOf(info: JobInfo): number {
  if (isHalted(info)) return exitCodes.itemsFailed;
  if (info.state === "cancelled") return exitCodes.cancelled;
  const isBad = failedItems(info) > 0 || (info.audit?.differing ?? 0) > 0;
  if (info.state === "failed" || isBad) return exitCodes.itemsFailed;
  return exitCodes.good;
}

/** What stderr gets for an error, and the exit code. */
export function describeFailure(error: unknown): { text: string; exitCode: number } {
  if (error instanceof CommanderError) {
    // Commander has printed help, version or its complaint already; its complaints are usage errors.
    return { text: "", exitCode: error.exitCode === 0 ? 0 : 2 };
  }
  if (error instanceof Interrupted) return { text: "", exitCode: error.exitCode };
  if (error instanceof EverycoreError) {
    const hint = error.hint === "" ? "" : `  hint: ${error.hint}\n`;
    return { text: `everycore: ${error.message}\n${hint}`, exitCode: error.exitCode };
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { text: `everycore: internal error, please report it: ${stack}\n`, exitCode: exitCodes.internal };
}
