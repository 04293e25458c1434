/** `everycore drill`: what a cluster survives, tried on the real one, before it is trusted. */
import { nearest } from "@everycore/client/internal";
import type { JobInfo } from "@everycore/client/internal";
import { EverycoreError, shortId } from "@everycore/protocol";
import { Command } from "commander";
import { once } from "node:events";
import { createInterface } from "node:readline/promises";
import { drill } from "../drill/drill.ts";
import { openGround } from "../drill/ground.ts";
import type { Ground } from "../drill/ground.ts";
import { listText, reportText, reportValues } from "../drill/report.ts";
import { rowIds, rows } from "../drill/rows.ts";
import type { Row, RowId } from "../drill/rows.ts";
import { exitCodes, Interrupted } from "../failure.ts";
import { Interrupts } from "../interrupts.ts";
import type { ClusterFlags } from "../session.ts";
import { withClusterFlags } from "../session.ts";
import { durationText } from "../terminal/table.ts";
import { formatOption, printJson } from "./job.ts";

interface DrillFlags extends ClusterFlags {
  readonly only?: readonly RowId[];
  readonly list?: boolean;
  readonly yes?: boolean;
  readonly output: "table" | "json";
}

export const drillCommand = (): Command =>
  withClusterFlags(new Command("drill"))
    .description(
      "kill, stop and cut parts of a running cluster under a job of its own, and show what survived",
    )
    .option("--only <row,...>", "only these rows, in the order of --list", parseRows)
    .option("--list", "what the rows do and what is promised; nothing is disturbed")
    .option("--yes", "go on although other jobs are running")
    .addOption(formatOption())
    .addHelpText(
      "after",
      `
A row needs what it disturbs to be this user's: parts of a running \`up\`, or of a cluster of its own where none is
configured. What it may not do elsewhere is skipped, with the reason. Other jobs lose nothing, but may wait, and
items of theirs may run again.

Exit code 0: nothing was lost, nothing hung; 1: a row FAILED.

Examples:
  everycore drill
  everycore drill --only worker,agent,leader
  everycore drill --list`,
    )
    .action(async (flags: DrillFlags) => {
      process.exitCode = await run(flags);
    });

function parseRows(text: string): readonly RowId[] {
  const words = text.split(",").map((word) => word.trim());
  for (const word of words) {
    if ((rowIds as readonly string[]).includes(word)) continue;
    const meant = nearest(word, rowIds);
    const hint = meant === undefined ? `the rows are ${rowIds.join(", ")}` : `did you mean ${meant}?`;
    throw new EverycoreError("bad-input", `"${word}" is no row of a drill`, { hint });
  }
  return rowIds.filter((id) => words.includes(id));
}

async function run(flags: DrillFlags): Promise<number> {
  const wanted = flags.only === undefined ? rows : rows.filter(({ id }) => flags.only?.includes(id));
  if (flags.list === true) {
    if (flags.output === "json") printJson(wanted);
    else process.stdout.write(listText(wanted));
    return exitCodes.good;
  }
  using interrupts = new Interrupts("cancel", "ending the drill; once more to leave at once");
  await using ground = await openGround(flags, interrupts.signal);
  await askFirst(ground, flags);
  await refuseUnwell(ground);
  const say = (line: string): void => void (flags.quiet === true || process.stderr.write(`drill: ${line}\n`));
  const reports = await drill(ground, wanted, {
    remarks: say,
    begins: (row: Row) => say(`${row.id}: ${row.what}`),
    ends: ({ row, verdict, tookMs }) =>
      verdict === "skipped" || say(`${row.id}: ${verdict}, ${durationText(tookMs)}`),
  });
  if (flags.output === "json") printJson(reportValues(reports));
  else process.stdout.write(reportText(reports));
  if (reports.every(({ verdict }) => verdict === "skipped")) {
    throw new EverycoreError("refused", "nothing was tried: no row could be had on this cluster", {
      hint: "the rows say why; a cluster of the drill's own has them all, one of `everycore up` nearly all",
    });
  }
  return reports.some(({ verdict }) => verdict === "FAILED") ? exitCodes.itemsFailed : exitCodes.good;
}

/** Nobody's running jobs are disturbed unasked. */
async function askFirst(ground: Ground, flags: DrillFlags): Promise<void> {
  if (flags.yes === true || ground.kind === "embedded") return;
  const active = await othersJobs(ground);
  if (active.length === 0) return;
  const names = active.slice(0, 3).map(({ id, name }) => `${shortId(id)} (${name.slice(0, 40)})`);
  const more = active.length > 3 ? ` and ${active.length - 3} more` : "";
  const found = `${active.length === 1 ? "a job is" : "jobs are"} running there: ${names.join(", ")}${more}`;
  const refusal = new EverycoreError("conflict", `the drill was not begun: ${found}`, {
    hint: "wait until nothing runs, or say --yes: nothing of them is lost, but items may run again",
  });
  if (!process.stdin.isTTY || !process.stderr.isTTY) throw refusal;
  if (
    !/^y(es)?$/i.test(await answerTo(`${found}.\nDisturb them? Nothing is lost, items may run again. [y/N] `))
  )
    throw refusal;
}

/** Ctrl-C, which a terminal in this mode tells only us, leaves; the end of the input is no answer. */
async function answerTo(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const ended = once(terminal, "close").then(() => "");
  try {
    return (await Promise.race([terminal.question(question), ended])).trim();
  } catch (error) {
    throw (error as Error).name === "AbortError" ? new Interrupted("cancel") : error;
  } finally {
    terminal.close();
  }
}

/** A cluster that is not well before would be blamed for what the drill did not do. */
async function refuseUnwell(ground: Ground): Promise<void> {
  const lack = await ground.unsteady();
  if (lack === undefined) return;
  throw new EverycoreError("conflict", `the cluster is not well, and was not drilled: ${lack}`, {
    hint: "everycore status shows what it waits for",
  });
}

async function othersJobs({ cluster, signal }: Ground): Promise<JobInfo[]> {
  const states = ["accepting", "running", "cancelling"];
  const lists = await Promise.all(states.map((state) => cluster.listJobs({ state, limit: 10 }, { signal })));
  return lists.flatMap(({ jobs }) => jobs);
}
