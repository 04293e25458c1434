/** `everycore job retry`: the failed items once more, with other code if need be. */
import { loadTask, parseTaskName } from "@everycore/client/internal";
import type { Connection, TaskCode } from "@everycore/client/internal";
import { EverycoreError, shortId } from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";
import type { Command } from "commander";
import { exitCodes } from "../failure.ts";
import { verifyCode } from "../here/verification.ts";
import { parseCount } from "../input/values.ts";
import type { ClusterFlags } from "../session.ts";
import { jobsVerb } from "./job-verbs.ts";

interface RetryFlags extends ClusterFlags {
  readonly failed?: boolean;
  readonly code?: string;
  readonly verify?: number;
}

/** Items that are run here one after the other, while a person waits. */
const verifyMax = 10_000;

export const retryCommand = (): Command =>
  jobsVerb<RetryFlags>("retry", "run the failed items of ended jobs again", retry)
    .option("--failed", "the items that have no value: what it does anyway")
    .option("--code <file[:export]>", "run them with this code instead; what ended well keeps its value")
    .option(
      "--verify <count>",
      "with --code: first run so many items that ended well on this machine, and go on only if the values are the same",
      parseCount("--verify", { min: 1, max: verifyMax }),
    )
    .addHelpText("after", "  everycore job retry 1a2b3c4d --code fixed.ts --verify 20");

async function retry(
  cluster: Connection,
  typed: string,
  signal: AbortSignal,
  flags: RetryFlags,
): Promise<string> {
  if (flags.code === undefined) {
    if (flags.verify !== undefined)
      throw new EverycoreError("bad-input", "--verify means something only with --code");
    return retried(await cluster.retryJob(typed, { signal }));
  }
  const info = await cluster.getJob(typed, { signal });
  if (info.total === 0)
    throw new EverycoreError("conflict", `job ${shortId(info.id)} has no failed items to retry`);
  const { spec } = await cluster.itemInput(info.id, 0, { signal });
  const code = await loadCode(flags.code, spec, info.id);
  if (flags.verify !== undefined) {
    const found = await verifyCode({ cluster, info, code, count: flags.verify, signal });
    const { checked, different } = found;
    const compared = `${checked} of its good ${checked === 1 ? "item" : "items"} run with ${flags.code} here`;
    if (different.length > 0) {
      process.exitCode = exitCodes.itemsFailed;
      return [
        ...different,
        `job ${shortId(info.id)} is as it was: of ${compared}, ${different.length} differ`,
      ].join("\n");
    }
    if (flags.quiet !== true) process.stdout.write(`job ${shortId(info.id)}: ${compared}, all the same\n`);
  }
  return retried(await cluster.retryJob(info.id, { code, signal }));
}

const retried = ({ id, state, round }: { id: string; state: string; round: number }): string =>
  `job ${shortId(id)} ${state}, round ${round}`;

/** The same function of other code, unless another one is named. */
async function loadCode(given: string, { task }: JobSpec, job: string): Promise<TaskCode> {
  const name = `job ${shortId(job)}`;
  if (task.runtime === "exec")
    throw new EverycoreError("conflict", `${name} runs a program, which no code can replace`, {
      hint: "leave --code away",
    });
  const { path, wanted = task.export } = parseTaskName(given);
  const code = await loadTask({ task: `${path}:${wanted}`, python: task.python });
  if (code.runtime === task.runtime) return code;
  throw new EverycoreError("bad-task", `${path} is ${code.runtime} code, and ${name} runs ${task.runtime}`, {
    hint: "submit it as a job of its own",
  });
}
