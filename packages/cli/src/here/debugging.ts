/** Flags with which a person looks into a task that runs here, and what they mean to its runtime. */
import type { Debugging } from "@everycore/node-agent/local";
import { EverycoreError } from "@everycore/protocol";
import type { Runtime } from "@everycore/protocol";
import type { Command } from "commander";
import { parseCount } from "../input/values.ts";

export interface DebugFlags {
  readonly inspect?: boolean;
  readonly inspectBrk?: boolean;
  readonly inspectPort?: number;
  readonly pdb?: boolean;
}

/** Node's own, which also lets 0 choose. */
const defaultPort = 9229;

export const withDebugFlags = (command: Command): Command =>
  command
    .option("--inspect", "JavaScript: wait for a debugger before anything runs")
    .option("--inspect-brk", "the same, and stop in front of the task")
    .option(
      "--inspect-port <port>",
      `port of --inspect and --inspect-brk on this machine (default ${defaultPort})`,
      parseCount("--inspect-port", { min: 0, max: 65_535 }),
    )
    .option("--pdb", "Python: open pdb where the task raises");

export function debuggingOf(flags: DebugFlags, runtime: Runtime): Debugging | undefined {
  const inspects = flags.inspect === true || flags.inspectBrk === true;
  if (flags.inspectPort !== undefined && !inspects) throw meansNothing("--inspect-port", "with --inspect");
  if (inspects && runtime !== "js")
    throw meansNothing(flags.inspectBrk === true ? "--inspect-brk" : "--inspect", "for JavaScript tasks");
  if (flags.pdb === true && runtime !== "python") throw meansNothing("--pdb", "for Python tasks");
  if (flags.pdb === true) return { kind: "pdb" };
  if (!inspects) return undefined;
  const port = flags.inspectPort ?? defaultPort;
  return { kind: "inspect", port, stops: flags.inspectBrk === true };
}

const meansNothing = (flag: string, where: string): EverycoreError =>
  new EverycoreError("bad-input", `${flag} means something only ${where}`, {
    hint: flag === "--pdb" ? "use --inspect-brk for JavaScript" : "use --pdb for Python",
  });
