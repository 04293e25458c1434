/** `everycore job pause` and `job resume`: a job that makes room for others, and goes on later. */
import { shortId } from "@everycore/protocol";
import { Command } from "commander";
import { Interrupts } from "../interrupts.ts";
import type { ClusterFlags } from "../session.ts";
import { openSession, withClusterFlags } from "../session.ts";

export const pauseCommand = (): Command =>
  verb("pause", "give a job no more work; what runs of it comes to its end, and it keeps its outcomes");

export const resumeCommand = (): Command => verb("resume", "let a paused job go on");

function verb(name: "pause" | "resume", about: string): Command {
  return withClusterFlags(new Command(name))
    .description(about)
    .argument("<job>", "id of the job, or its first digits")
    .addHelpText("after", `\nExample:\n  everycore job ${name} 1a2b3c4d`)
    .action(async (job: string, flags: ClusterFlags) => {
      using interrupts = new Interrupts("leave");
      const { signal } = interrupts;
      await using session = await openSession(flags);
      const { cluster } = session;
      const info = await (name === "pause"
        ? cluster.pauseJob(job, { signal })
        : cluster.resumeJob(job, { signal }));
      if (flags.quiet !== true) process.stdout.write(`job ${shortId(info.id)} ${info.state}\n`);
    });
}
