/** `everycore job`: look at jobs, wait for them, read them, end them. */
import type { ExplainLine, JobInfo } from "@everycore/client/internal";
import { endedItems, failedItems } from "@everycore/client/internal";
import { EverycoreError, isEnded, jobStates, limits, shortId } from "@everycore/protocol";
import { Command, Option } from "commander";
import { exitCodeOf, exitCodes } from "../failure.ts";
import { endOfReturned, returnedFilesOf } from "../files/program-files.ts";
import { parseCount, parseDuration } from "../input/values.ts";
import type { ClusterFlags } from "../session.ts";
import { withClusterFlags } from "../session.ts";
import { agoText, bytesText, durationText, fields, table } from "../terminal/table.ts";
import { auditText, spotCheckRows } from "../terminal/audit-text.ts";
import { printerOf } from "../terminal/outcome-lines.ts";
import { openSink } from "../terminal/sink.ts";
import { endText, FirstFailure, sayFailures } from "../terminal/summary.ts";
import { example, jobsVerb, jobVerb, withCluster } from "./job-verbs.ts";
import { pauseCommand, resumeCommand } from "./pause.ts";
import { replayCommand } from "./replay.ts";
import { retryCommand } from "./retry.ts";
import { watchCommand } from "./watch.ts";

interface FormatFlags extends ClusterFlags {
  readonly output: "table" | "json";
}

export const formatOption = (): Option =>
  new Option("-o, --output <format>", "table or json").choices(["table", "json"]).default("table");

export const printJson = (value: unknown): void =>
  void process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);

export function jobCommand(): Command {
  const command = new Command("job")
    .description("look at jobs, follow them, wait for them, read their results, end them")
    .addHelpText("after", "\nExample:\n  everycore job list");
  command.addCommand(list()).addCommand(get()).addCommand(watchCommand());
  command.addCommand(pauseCommand()).addCommand(resumeCommand());
  for (const verb of [
    wait(),
    results(),
    output(),
    cancel(),
    retryCommand(),
    replayCommand(),
    remove(),
    audit(),
  ])
    command.addCommand(verb);
  return command;
}

function list(): Command {
  return withClusterFlags(new Command("list"))
    .description("jobs, the newest first")
    .addOption(new Option("--state <state>", "only jobs in this state").choices(jobStates))
    .option("--limit <count>", "at most so many", parseCount("--limit", { min: 1, max: limits.jobsMax }), 100)
    .addOption(formatOption())
    .addHelpText("after", example("everycore job list --state running"))
    .action((flags: FormatFlags & { state?: string; limit: number }) =>
      withCluster(flags, async (cluster, signal) => {
        const filter =
          flags.state === undefined ? { limit: flags.limit } : { state: flags.state, limit: flags.limit };
        const { jobs, total } = await cluster.listJobs(filter, { signal });
        if (flags.output === "json") printJson(jobs);
        else if (jobs.length > 0) process.stdout.write(jobTable(jobs, Date.now()));
        else if (flags.quiet !== true) process.stderr.write("no jobs\n");
        if (total > jobs.length && flags.quiet !== true)
          process.stderr.write(`${jobs.length} of ${total} jobs; --limit shows more\n`);
        return undefined;
      }),
    );
}

function jobTable(jobs: readonly JobInfo[], now: number): string {
  const rows = jobs.map((job) => [
    shortId(job.id),
    job.state,
    String(endedItems(job)),
    job.total === 0 && !isEnded(job.state) ? "?" : String(job.total),
    String(failedItems(job)),
    agoText(job.createdAt, now),
    job.name.slice(0, 40),
    job.reason.slice(0, 60),
  ]);
  return table(["JOB", "STATE", "ENDED", "ITEMS", "FAILED", "CREATED", "NAME", "REASON"], rows);
}

function get(): Command {
  return jobVerb("get", "everything known about a job")
    .option("--explain", "why it is where it is: what it waits for, what is ahead of it, where its items are")
    .addOption(formatOption())
    .action((job: string, flags: FormatFlags & { explain?: boolean }) =>
      withCluster(flags, async (cluster, signal) => {
        if (flags.explain === true) {
          const { id, name, explanation } = await cluster.explainJob(job, { signal });
          const lines = explanation?.lines;
          if (lines === undefined) {
            const message = `the coordinator of job ${shortId(id)} is older than this command and explains nothing`;
            throw new EverycoreError("refused", message, { hint: "use the everycore that it is of" });
          }
          if (flags.output === "json") printJson({ id, name, explanation: lines });
          else process.stdout.write(explanationText(id, lines));
          return undefined;
        }
        const info = await cluster.getJob(job, { signal });
        if (flags.output === "json") printJson(info);
        else process.stdout.write(jobText(info, Date.now()));
        return undefined;
      }),
    );
}

/** What several lines are about is named before the first of them. */
function explanationText(id: string, lines: readonly ExplainLine[]): string {
  const width = Math.max(...lines.map(({ about }) => about.length));
  const rows = lines.map(({ about, text }, at) => {
    const name = lines[at - 1]?.about === about ? "" : about;
    return `${name.padEnd(width)}  ${text}\n`;
  });
  return `${"job".padEnd(width)}  ${id}\n${rows.join("")}`;
}

function jobText(info: JobInfo, now: number): string {
  const counts = Object.entries(info.counts ?? {})
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(", ");
  const until = info.endedAt === 0 ? now : info.endedAt;
  const text = fields([
    ["id", info.id],
    ["name", info.name],
    ["state", info.state],
    ["reason", info.reason],
    ["task", `${info.runtime} ${info.task}`],
    ["items", info.total === 0 && !isEnded(info.state) ? `${info.appended} so far` : String(info.total)],
    ["outcomes", counts || "none yet"],
    ["leased", isEnded(info.state) ? "" : String(info.leased)],
    ["missing", info.reduced ? String(info.missing) : ""],
    ["created", agoText(info.createdAt, now)],
    ["ran for", info.startedAt === 0 ? "" : durationText(until - info.startedAt)],
    ["limits", limitsText(info)],
    ...spotCheckRows("audit", info.audit, info.total),
    ["cost", info.itemMs === 0 ? "" : `${info.itemMs.toPrecision(3)} ms an item`],
    [
      "retries",
      `${info.retries}, strikes ${info.strikes}, duplicates dropped ${info.duplicates}, round ${info.round}`,
    ],
    ["leases", String(info.leasesSent)],
    ["values", info.outputBytes === 0 ? "" : bytesText(info.outputBytes)],
    ["codec", info.codec],
    ["seed", info.seed],
    ["bundle", info.bundle.slice(0, 16)],
    ...info.repairs.map((repair) => ["", repairText(repair)] as const),
  ]);
  return info.usage.length === 0 ? text : `${text}\n${usageTable(info)}`;
}

/** Below the bundle of the job itself. */
const repairText = ({ round, bundle, entry, export: name }: JobInfo["repairs"][number]): string =>
  `${bundle.slice(0, 16)} from round ${round} on (${entry}:${name})`;

function limitsText(info: JobInfo): string {
  const { jobTimeoutMs, ranMs, maxFailures } = info;
  const limits = [];
  if (maxFailures !== "") limits.push(`fails when more than ${maxFailures} of its items do`);
  if (jobTimeoutMs > 0)
    limits.push(`expires after ${durationText(jobTimeoutMs)}, has run for ${durationText(ranMs)}`);
  return limits.join("; ");
}

function usageTable(info: JobInfo): string {
  const rows = info.usage.flatMap((node) =>
    node.slots.map((slot) => [
      shortId(node.node),
      node.host,
      String(slot.slot),
      String(slot.items),
      String(slot.slices),
      String(slot.splits),
      durationText(slot.busyMs),
      durationText(slot.cpuMs),
    ]),
  );
  return table(["NODE", "HOST", "SLOT", "ITEMS", "SLICES", "SPLITS", "BUSY", "CPU"], rows);
}

function wait(): Command {
  return jobVerb("wait", "wait until a job has ended; its exit code tells how")
    .option("--timeout <duration>", "give up after so long (exit 124)", parseDuration)
    .action((job: string, flags: ClusterFlags & { timeout?: number }) =>
      withCluster(flags, async (cluster, signal) => {
        const info = await cluster.waitJob(job, {
          signal,
          ...(flags.timeout === undefined ? {} : { timeoutMs: flags.timeout }),
        });
        if (flags.quiet !== true) process.stdout.write(`${endText(info)}\n`);
        return exitCodeOf(info);
      }),
    );
}

interface ResultsFlags extends ClusterFlags {
  readonly from: number;
  readonly follow: boolean;
  readonly values?: boolean;
  readonly unordered?: boolean;
  readonly out?: string;
  readonly outputDir?: string;
}

function results(): Command {
  return jobVerb("results", "results of a job as JSON lines, following it until it has ended")
    .option(
      "--from <index>",
      "first item wanted",
      parseCount("--from", { min: 0, max: limits.jobItemsMax }),
      0,
    )
    .option("--no-follow", "only what there is now")
    .option("--values", "print bare values and skip failures")
    .option("--unordered", "as they come instead of in item order")
    .option("--out <file>", "write to a file instead of stdout")
    .option("--output-dir <dir>", "write the files of `run --output` into DIR/INDEX/NAME")
    .action((job: string, flags: ResultsFlags) =>
      withCluster(flags, async (cluster, signal) => {
        await using sink = openSink(flags.out);
        const info = await cluster.getJob(job, { signal });
        const returned = returnedFilesOf(info, flags);
        const { follow, unordered = false } = flags;
        // A reduction has one result, an item of its own behind all others (docs/decisions/0012).
        const ended = info.reduced && follow ? await cluster.waitJob(info.id, { signal }) : info;
        const from = info.reduced ? Math.max(flags.from, ended.total) : flags.from;
        const reading = cluster.results(info.id, {
          from,
          follow,
          unordered,
          signal: AbortSignal.any([signal, sink.gone]),
        });
        const first = new FirstFailure();
        const print = printerOf(sink, { valuesOnly: flags.values === true, first });
        try {
          for await (const list of reading.lists()) await print(returned?.take(list) ?? list);
        } catch (error) {
          if (sink.gone.aborted && !signal.aborted) return exitCodes.good; // the reader has seen enough
          throw error;
        }
        const { end } = reading;
        if (isEnded(end.state)) sayFailures(end, { quiet: flags.quiet ?? false, first, isKept: true });
        if (returned !== undefined) return endOfReturned(returned, end, flags);
        return isEnded(end.state) ? exitCodeOf(end) : exitCodes.good;
      }),
    );
}

function output(): Command {
  return jobVerb("output", "what the tasks of a job printed").action((job: string, flags: ClusterFlags) =>
    withCluster(flags, async (cluster, signal) => {
      await using sink = openSink(undefined);
      let dropped = 0;
      for await (const chunk of cluster.outputOf(job, { signal })) {
        dropped += chunk.dropped;
        if (chunk.stream === "stderr") process.stderr.write(chunk.data);
        else await sink.write(chunk.data);
        if (sink.gone.aborted) break;
      }
      if (dropped > 0)
        process.stderr.write(
          `${bytesText(dropped)} more were printed; the limit is ${bytesText(limits.outputBytesPerJob)} a node\n`,
        );
      return undefined;
    }),
  );
}

function cancel(): Command {
  return jobsVerb("cancel", "end jobs now; what has an outcome keeps it", async (cluster, job, signal) => {
    const before = await cluster.getJob(job, { signal });
    if (isEnded(before.state)) {
      throw new EverycoreError("conflict", `job ${shortId(before.id)} has ended already (${before.state})`);
    }
    await cluster.cancelJob(before.id, "cancelled by its user", { signal });
    return endText(await cluster.waitJob(before.id, { signal }));
  });
}

function remove(): Command {
  return jobsVerb("delete", "delete ended jobs with their results", async (cluster, job, signal) => {
    const { job: id } = await cluster.deleteJob(job, { signal });
    return `job ${shortId(id)} deleted`;
  });
}

function audit(): Command {
  return jobVerb("audit", "prove from the log that every item has exactly one outcome")
    .addOption(formatOption())
    .action((job: string, flags: FormatFlags) =>
      withCluster(flags, async (cluster, signal) => {
        const found = await cluster.auditJob(job, { signal });
        if (flags.output === "json") printJson(found);
        else process.stdout.write(auditText(found));
        const isGood = found.closed && (found.checks?.differing ?? 0) === 0;
        return isGood ? exitCodes.good : exitCodes.itemsFailed;
      }),
    );
}
