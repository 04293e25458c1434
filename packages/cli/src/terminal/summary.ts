/** One sentence about how a job ended, where there is something to say. */
import { failedItems } from "@everycore/client/internal";
import type { JobInfo } from "@everycore/client/internal";
import { shortId } from "@everycore/protocol";

/** Says on stderr that items failed, by kind; silent when all is good. */
export function sayFailures(info: JobInfo, options: { quiet: boolean }): void {
  if (info.state === "failed") {
    process.stderr.write(
      `everycore: job ${shortId(info.id)} failed: ${info.reason || "its task cannot run"}\n`,
    );
    return;
  }
  const failed = failedItems(info);
  if (failed === 0 || options.quiet || info.state === "cancelled") return;
  process.stderr.write(`${failed} of ${info.total} items failed (${kindsOf(info)})\n`);
}

/** "3 error, 1 crash" */
export function kindsOf(info: JobInfo): string {
  return Object.entries(info.counts ?? {})
    .filter(([kind, count]) => kind !== "value" && count > 0)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(", ");
}

/** "job 1a2b3c4d done: 97 values, 3 error" */
export function endText(info: JobInfo): string {
  const kinds = kindsOf(info);
  const reason = info.reason === "" ? "" : ` (${info.reason})`;
  return `job ${shortId(info.id)} ${info.state}${reason}: ${info.counts?.value ?? 0} values${kinds === "" ? "" : `, ${kinds}`}`;
}
