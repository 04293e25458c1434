/** Flags that `map` and `run` share, and the job they describe. */
import { auditShare, failureLimit, newSeed } from "@everycore/client/internal";
import { checkRequirements, EverycoreError, limits, times } from "@everycore/protocol";
import type { FailureLimit, JobSpec, TaskSpec } from "@everycore/protocol";
import { Option } from "commander";
import type { Command } from "commander";
import { checkReadable, fileBytes, readLines } from "../input/lines.ts";
import { parseCount, parseDuration, parseRange, parseSeed } from "../input/values.ts";
import type { ItemRange } from "../input/values.ts";
import type { FollowOptions } from "../follow-job.ts";
import type { JobInput } from "../input/job-input.ts";
import { parseHalt } from "../halt.ts";
import type { Halt } from "../halt.ts";
import { Interrupts } from "../interrupts.ts";
import type { ClusterFlags } from "../session.ts";
import { withClusterFlags } from "../session.ts";
import { progressChoices } from "../terminal/progress.ts";
import type { ProgressChoice } from "../terminal/progress.ts";

export interface SubmitFlags extends ClusterFlags {
  readonly range?: ItemRange;
  readonly items?: string;
  readonly eachLine?: string;
  readonly detach?: boolean;
  readonly retries: number;
  readonly retryDelay?: number;
  readonly itemTimeout?: number;
  readonly seed?: string;
  readonly name?: string;
  readonly priority: number;
  readonly ttl?: number;
  readonly keep?: boolean;
  readonly unordered?: boolean;
  readonly out?: string;
  readonly progress: ProgressChoice;
  readonly halt?: Halt;
  readonly maxFailures?: FailureLimit;
  readonly jobTimeout?: number;
  readonly speculate?: boolean;
  readonly audit?: number;
  readonly joblog?: string;
  readonly require?: readonly string[];
}

export function withSubmitFlags(command: Command): Command {
  return withClusterFlags(command)
    .option("--range <first-last>", "items are the integers from FIRST to LAST, both included", parseRange)
    .option("--each-line <file>", "items are the lines of a file; - reads stdin")
    .option("--detach", "print the job's id and leave; needs a cluster that stays")
    .option(
      "--retries <count>",
      "tries after the first for items that fail",
      parseCount("--retries", { min: 0, max: limits.retriesMax }),
      0,
    )
    .option(
      "--retry-delay <duration>",
      "wait before an item is tried again, doubled with each try (default: none before the first retry, then 250ms)",
      parseDuration,
    )
    .option("--item-timeout <duration>", "an item that runs longer is killed: 500ms, 30s, 5m", parseDuration)
    .option("--seed <seed>", "seed of the items' random numbers: an integer or 16 hex digits", parseSeed)
    .option("--name <name>", "name of the job, for people")
    .option(
      "--priority <number>",
      "higher goes first",
      parseCount("--priority", { min: -1000, max: 1000 }),
      0,
    )
    .option("--ttl <duration>", "delete the job so long after its end (default 24h)", parseDuration)
    .option("--keep", "never delete the job by itself")
    .option("--unordered", "print results as they come instead of in item order")
    .option("--out <file>", "write results to a file instead of stdout")
    .option(
      "--require <need>",
      "only nodes with this label (key=value, or key) or Python (python=3.11); may be given several times",
      (text: string, list: readonly string[] | undefined) => checkRequirements([...(list ?? []), text]),
    )
    .option(
      "--halt <when>",
      "end the job when items fail: now,fail=1 kills what runs, soon,fail=10% lets it end",
      parseHalt,
    )
    .option(
      "--max-failures <limit>",
      "the cluster ends the job as failed when more items fail than this: 0, 3, or 10% of all",
      (text: string) => failureLimit("--max-failures", text),
    )
    .option(
      "--job-timeout <duration>",
      "the cluster ends the job when it has run for so long, pauses not counted: 30s, 5m, 2h (exit 3)",
      parseDuration,
    )
    .option(
      "--speculate",
      "late in the job, an item that takes much longer than others is tried on a second node too",
    )
    .option(
      "--audit <share>",
      "run this share of the items again on another node and compare their values: 1%, or 0.01 (exit 1 if some differ)",
      (text: string) => auditShare("--audit", text),
    )
    .option("--joblog <file>", "write a line for each item, in GNU parallel's format")
    .addOption(
      new Option("--progress <how>", "on stderr: auto is a bar on a terminal, plain lines where CI is set")
        .choices(progressChoices)
        .default("auto"),
    );
}

/** Exactly one of the input flags. */
export function inputOf(flags: SubmitFlags): JobInput {
  if (flags.detach === true && (flags.halt !== undefined || flags.joblog !== undefined))
    throw new EverycoreError(
      "bad-input",
      "--halt and --joblog are kept by the command that follows the job",
      {
        hint: "leave --detach away; --max-failures is kept by the cluster",
      },
    );
  const given = [flags.range, flags.items, flags.eachLine].filter((flag) => flag !== undefined);
  const example = "--range 0-99, --items FILE.jsonl or --each-line FILE (- reads standard input)";
  if (given.length === 0)
    throw new EverycoreError("bad-input", "there are no items", { hint: `give ${example}` });
  if (given.length > 1)
    throw new EverycoreError("bad-input", "items are given more than once", {
      hint: `give one of ${example}`,
    });
  if (flags.range !== undefined)
    return { codec: "range", range: flags.range, pipe: false, bytes: 0, source: () => undefined };
  const file = flags.items ?? flags.eachLine!;
  const codec = flags.items === undefined ? "utf8" : "json";
  checkReadable(file);
  const bytes = fileBytes(file);
  return {
    codec,
    range: undefined,
    pipe: bytes === undefined,
    bytes: bytes ?? 0,
    source: (signal) => readLines({ file, codec, signal }),
  };
}

export function specOf(options: {
  flags: SubmitFlags;
  input: JobInput;
  name: string;
  strict: boolean;
  task: Omit<TaskSpec, "seed" | "rangeStart" | "retries">;
}): JobSpec {
  const { flags, input } = options;
  if (flags.itemTimeout === 0) throw new EverycoreError("bad-input", "--item-timeout must be more than 0");
  if (flags.jobTimeout === 0) throw new EverycoreError("bad-input", "--job-timeout must be more than 0");
  return {
    name: (flags.name ?? options.name).slice(0, 200),
    task: {
      ...options.task,
      seed: flags.seed ?? newSeed(),
      rangeStart: input.range?.start ?? 0,
      retries: flags.retries,
      ...(flags.require === undefined ? {} : { require: flags.require }),
      ...(flags.itemTimeout === undefined ? {} : { itemTimeoutMs: flags.itemTimeout }),
    },
    codec: input.codec,
    ...(input.range === undefined ? {} : { rangeItems: input.range.items }),
    priority: flags.priority,
    strict: options.strict,
    ttlMs: flags.keep === true ? 0 : (flags.ttl ?? times.jobTtlMs),
    ...(flags.retryDelay === undefined ? {} : { retryDelayMs: flags.retryDelay }),
    ...(flags.maxFailures === undefined ? {} : { maxFailures: flags.maxFailures }),
    ...(flags.jobTimeout === undefined ? {} : { jobTimeoutMs: flags.jobTimeout }),
    ...(flags.speculate === undefined ? {} : { speculate: flags.speculate }),
    ...(flags.audit === undefined ? {} : { audit: flags.audit }),
  };
}

/** How a submitted job is followed, as the flags say. */
export const followFlags = (
  flags: SubmitFlags,
): Pick<FollowOptions, "quiet" | "unordered" | "progress" | "halt" | "joblog"> => ({
  quiet: flags.quiet ?? false,
  unordered: flags.unordered ?? false,
  progress: flags.progress,
  halt: flags.halt,
  joblog: flags.joblog,
});

/** Ctrl-C cancels the job; a detached one says nothing of it. */
export const cancelOnInterrupt = (flags: SubmitFlags): Interrupts =>
  new Interrupts("cancel", flags.detach === true ? "" : "cancelling; once more to leave at once");
