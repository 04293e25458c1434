/** What the verbs of `everycore job` have in common. */
import type { Connection } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import { Command } from "commander";
import { describeFailure } from "../failure.ts";
import { Interrupts } from "../interrupts.ts";
import type { ClusterFlags } from "../session.ts";
import { openSession, withClusterFlags } from "../session.ts";

export const example = (text: string): string => `\nExample:\n  ${text}`;

/** A verb on one job that shows something. */
export function jobVerb(name: string, about: string): Command {
  return withClusterFlags(new Command(name))
    .description(about)
    .argument("<job>", "id of the job, or its first digits")
    .addHelpText("after", example(`everycore job ${name} 1a2b3c4d`));
}

/** A verb that does the same to each job named, one after the other; what it cannot do to one it says at the end. */
export function jobsVerb<Flags extends ClusterFlags>(
  name: string,
  about: string,
  act: (cluster: Connection, job: string, signal: AbortSignal, flags: Flags) => Promise<string>,
): Command {
  return withClusterFlags(new Command(name))
    .description(about)
    .argument("<job...>", "ids of jobs, or their first digits")
    .addHelpText("after", example(`everycore job ${name} 1a2b3c4d`))
    .action((jobs: string[], flags: Flags) =>
      withCluster(flags, async (cluster, signal) => {
        const refusals: EverycoreError[] = [];
        for (const job of jobs) {
          try {
            const text = await act(cluster, job, signal, flags);
            if (flags.quiet !== true) process.stdout.write(`${text}\n`);
          } catch (error) {
            if (!(error instanceof EverycoreError) || signal.aborted) throw error;
            refusals.push(error);
          }
        }
        const last = refusals.pop();
        for (const refusal of refusals) process.stderr.write(describeFailure(refusal).text);
        if (last !== undefined) throw last;
        return undefined;
      }),
    );
}

/** Runs `action` with a connection; Ctrl-C leaves. */
export async function withCluster(
  flags: ClusterFlags,
  action: (cluster: Connection, signal: AbortSignal) => Promise<number | undefined>,
): Promise<void> {
  using interrupts = new Interrupts("leave");
  await using session = await openSession(flags);
  const code = await action(session.cluster, interrupts.signal);
  if (code !== undefined) process.exitCode = code;
}
