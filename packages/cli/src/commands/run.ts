/** `everycore run`: any program over items, what GNU parallel's users expect. */
import type { Outcome, OutcomeList } from "@everycore/client/internal";
import { EverycoreError, limits } from "@everycore/protocol";
import { Command } from "commander";
import { exitCodeOf, exitCodes } from "../failure.ts";
import { LocalArgumentRemark } from "../files/local-arguments.ts";
import type { ProgramFiles } from "../files/program-files.ts";
import { endOfReturned, programFiles, returnedFiles } from "../files/program-files.ts";
import { followJob, submitDetached } from "../follow-job.ts";
import { openOrEmbed } from "../session.ts";
import type { Sink } from "../terminal/sink.ts";
import { openSink } from "../terminal/sink.ts";
import { showPrints } from "../terminal/prints.ts";
import { sayFailures } from "../terminal/summary.ts";
import { cancelOnInterrupt, followFlags, inputOf, specOf, withSubmitFlags } from "./submit-flags.ts";
import type { JobInput } from "../input/job-input.ts";
import type { SubmitFlags } from "./submit-flags.ts";

interface RunFlags extends SubmitFlags {
  readonly scratch?: boolean;
  readonly env?: readonly string[];
  readonly files?: readonly string[];
  readonly output?: readonly string[];
  readonly outputDir?: string;
}

export function runCommand(): Command {
  const command = withSubmitFlags(new Command("run"));
  return command
    .description("run a program once for each item, on all cores")
    .argument(
      "<program...>",
      "program and arguments: {} item, {/} its base name, {.} without extension, {#} its number from 1",
    )
    .option("--scratch", "run in an empty folder and a bare environment instead of where you are")
    .option(
      "--env <name>",
      "a variable for the programs: NAME as it is here, or NAME=VALUE; may be given several times",
      (text: string, list: readonly string[] | undefined) => [...(list ?? []), text],
    )
    .option(
      "--files <pattern...>",
      "files or folders to ship to the nodes; each item gets copies in an empty folder (implies --scratch)",
    )
    .option(
      "--output <pattern...>",
      "files that come back from the items' folders, such as '*.png' (implies --scratch)",
    )
    .option("--output-dir <dir>", "where they go, into DIR/INDEX/NAME (default: the current folder)")
    .passThroughOptions()
    .configureOutput({
      outputError: (text, write) => {
        const { files, output } = command.opts<RunFlags>();
        const tookProgram = text.includes("'program'") && (files ?? output) !== undefined;
        write(tookProgram ? `${text}${aboutProgram}` : text);
      },
    })
    .addHelpText(
      "after",
      `
Prints what the programs print, unmixed and in item order. An item that no argument names is put last.

Examples:
  everycore run --range 1-100 -- ./simulate --seed {}
  ls *.log | everycore run --each-line - -- gzip {}
  everycore run --each-line urls.txt --item-timeout 30s --retries 2 -- curl -sfO {}
  everycore run --range 1-100 --files render 'scenes/*' --output '*.png' --output-dir out -- ./render {}`,
    )
    .action(async (argv: string[], flags: RunFlags) => {
      process.exitCode = await run(argv, flags);
    });
}

/** `--files` and `--output` take all that follows, up to the next flag. */
const aboutProgram = "put -- before the program: everycore run --files 'data/*' -- PROGRAM {}\n";

async function run(program: string[], flags: RunFlags): Promise<number> {
  const input = inputOf(flags);
  const argv = program.some((part) => /\{[/.#]?\}/.test(part)) ? program : [...program, "{}"];
  const named = variablesOf(flags.env ?? []);
  const files = programFiles(flags, argv, process.cwd());
  const returned = returnedFiles(flags);
  using interrupts = cancelOnInterrupt(flags);
  const { signal } = interrupts;
  await using session = await openOrEmbed(flags, signal);
  const isInPlace = session.isHere && flags.scratch !== true && files === undefined;
  const place = isInPlace
    ? { cwd: process.cwd(), env: bounded({ ...environmentHere(), ...named }) }
    : flags.env === undefined
      ? {}
      : { addEnv: bounded(named) };
  if (files?.bundle !== undefined) await session.cluster.putBundle(files.bundle, { signal });
  const source = session.isHere || flags.quiet === true ? input : remarked(input, argv, files);
  const spec = specOf({
    flags,
    input,
    name: program.join(" "),
    strict: false,
    task: { runtime: "exec", argv, ...place, ...files?.task },
  });
  const { cluster } = session;
  if (flags.detach === true) {
    process.stdout.write(`${await submitDetached({ cluster, spec, input: source, signal })}\n`);
    return exitCodes.good;
  }
  await using sink = openSink(flags.out);
  const follow = followFlags(flags);
  const print = (outcomes: OutcomeList): Promise<void> =>
    printOutputs(sink, returned?.take(outcomes) ?? outcomes, flags);
  const outputGone = sink.gone;
  const info = await followJob({ cluster, spec, input: source, signal, outputGone, ...follow, print });
  // What failed programs wrote to stderr stands beside their items already.
  if ((info.counts?.value ?? 0) > 0) await showPrints(session, info, { ...follow, signal });
  sayFailures(info, follow);
  return returned === undefined ? exitCodeOf(info) : endOfReturned(returned, info, flags);
}

/** Looks at each item on its way to other machines. */
function remarked(input: JobInput, argv: readonly string[], files: ProgramFiles | undefined): JobInput {
  const folder = process.cwd();
  const remark = new LocalArgumentRemark({ argv, folder, shipped: files?.names ?? new Set() });
  if (input.codec !== "utf8") return input;
  return {
    ...input,
    source: (signal) => {
      const items = input.source(signal);
      return items === undefined ? undefined : remark.watch(items);
    },
  };
}

/** The programs see what they would see started by hand, but not the cluster's secret. */
function environmentHere(): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env))
    if (value !== undefined && name !== "EVERYCORE_SECRET") environment[name] = value;
  return environment;
}

/** What `--env` names. A name that is not set here is a mistake: the programs would miss it far away. */
function variablesOf(texts: readonly string[]): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const text of texts) {
    const [name = ""] = text.split("=", 1);
    const value = name.length < text.length ? text.slice(name.length + 1) : process.env[name];
    if (name === "" || text.includes("\0"))
      throw new EverycoreError("bad-input", `--env "${text}" names no variable`, {
        hint: "write --env NAME or --env NAME=VALUE",
      });
    if (value === undefined)
      throw new EverycoreError("bad-input", `--env ${name}: it is not set here`, {
        hint: `set it, or write --env ${name}=VALUE`,
      });
    variables[name] = value;
  }
  return variables;
}

/** P7. */
function bounded(environment: Record<string, string>): Record<string, string> {
  let bytes = 0;
  for (const [name, value] of Object.entries(environment)) bytes += name.length + value.length;
  if (bytes <= limits.specBytesMax / 2) return environment;
  throw new EverycoreError(
    "over-limit",
    `the programs' environment has ${bytes} bytes; a job may carry ${limits.specBytesMax / 2}`,
    { hint: "use --scratch, or start the command with env -i" },
  );
}

/** What arrived together is written together; a batch is bounded by gRPC's message limit. */
async function printOutputs(sink: Sink, outcomes: OutcomeList, flags: RunFlags): Promise<void> {
  const outputs: Uint8Array[] = [];
  for (const outcome of outcomes) {
    if (outcome.isValue) {
      outputs.push(outcome.payload);
      continue;
    }
    if (outcome.status === "cancelled") continue; // the job's own end says why, once
    const { kind, message, stdout, stderrTail } = outcome.error();
    if (stdout !== undefined) outputs.push(stdout);
    const tail = stderrTail === undefined || stderrTail.trim() === "" ? "" : `\n${stderrTail.trimEnd()}`;
    process.stderr.write(`${itemName(outcome, flags)}: ${message || kind}${tail}\n`);
  }
  const bytes = Buffer.concat(outputs);
  if (bytes.length > 0) await sink.write(bytes);
}

/** The item itself where it is known, else its index. */
const itemName = ({ index }: Outcome, { range }: RunFlags): string =>
  range === undefined ? `item ${index}` : `item ${index} (${range.start + index})`;
