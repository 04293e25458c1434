/** How a job ended, where there is something to say: how many items failed, and what the first of them died of. */
import { differingText, endedItems, failedItems } from "@everycore/client/internal";
import type { JobInfo, Outcome } from "@everycore/client/internal";
import { shortId } from "@everycore/protocol";
import type { ErrorInfo } from "@everycore/protocol";
import { readError } from "./result-line.ts";
import { bytesText, durationText } from "./table.ts";

/** Result lines have no room for traces; of a thousand equal ones the first tells all. */
export class FirstFailure {
  #text = "";
  #index = 0;

  note(outcome: Outcome): void {
    if (this.#text !== "" || outcome.isValue || outcome.status === "cancelled") return;
    this.#index = outcome.index;
    this.#text = `; the first is item ${outcome.index}:\n${failureText(readError(outcome))}`;
  }

  get text(): string {
    return this.#text;
  }

  /** How to look into it; `job` is one that the cluster keeps. */
  replayText(job: string): string {
    if (this.#text === "") return "";
    return `\n  run it here: everycore job replay ${shortId(job)} --item ${this.#index}`;
  }
}

/** Where a node has unpacked the task: users know their files by name. */
const bundleFolder = /(?:file:\/\/)?\/[^\s"'()]*\/bundles\/[0-9a-f]{64}\//g;

/** What a person needs to find the cause: trace, memory, last words. */
export function failureText(error: Partial<ErrorInfo> & { name: string; message: string }): string {
  const { name, message, trace = "", cause, peakBytes, stderrTail = "" } = error;
  const lines = [trace.trim() === "" ? `${name}: ${message}` : trace.trimEnd().replaceAll(bundleFolder, "")];
  if (cause !== undefined && !trace.includes(cause)) lines.push(`caused by ${cause}`);
  if (peakBytes !== undefined && peakBytes > 0)
    lines.push(`it used ${bytesText(peakBytes)} of memory at most`);
  if (stderrTail.trim() !== "") lines.push("its last words:", stderrTail.trimEnd());
  return lines.map((line) => line.replaceAll(/^/gm, "  ")).join("\n");
}

/** Its own time limit has ended it. */
const isExpired = (info: JobInfo): boolean => info.state === "cancelled" && (info.counts?.expired ?? 0) > 0;

/** Says on stderr that items failed, by kind; silent when all is good. `isKept`: the job outlives the command. */
export function sayFailures(
  info: JobInfo,
  options: { quiet: boolean; first?: FirstFailure; isKept?: boolean },
): void {
  if (info.state === "failed") {
    process.stderr.write(
      `everycore: job ${shortId(info.id)} failed: ${info.reason || "its task cannot run"}\n`,
    );
    return;
  }
  if (isExpired(info)) {
    const ended = endedItems(info) - (info.counts?.expired ?? 0);
    const of = info.total === 0 ? "" : ` of ${info.total}`;
    process.stderr.write(
      `everycore: job ${shortId(info.id)} expired after ${durationText(info.ranMs)} (--job-timeout); ${ended}${of} items had ended\n`,
    );
    return;
  }
  sayAudit(info, options.quiet);
  const failed = failedItems(info);
  if (failed === 0 || options.quiet || info.state === "cancelled") return;
  const { first, isKept = false } = options;
  const what = `${first?.text ?? ""}${isKept ? (first?.replayText(info.id) ?? "") : ""}`;
  process.stderr.write(`${failed} of ${info.total} items failed (${kindsOf(info)})${what}\n`);
}

/** That two nodes differ is said whatever is asked for; that there was nobody to compare with is a remark. */
function sayAudit(info: JobInfo, isQuiet: boolean): void {
  const { audit } = info;
  if (audit === undefined || info.state === "cancelled") return;
  const differing = differingText(info);
  if (differing !== "") process.stderr.write(`everycore: audit of job ${shortId(info.id)}: ${differing}\n`);
  if (audit.unchecked === 0 || isQuiet) return;
  const of = audit.unchecked + audit.checked;
  process.stderr.write(
    `audit: ${audit.unchecked} of ${of} items were not checked, for no other node has run them\n`,
  );
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
  const differing = differingText(info);
  const audit = differing === "" ? "" : `; audit: ${differing}`;
  return `job ${shortId(info.id)} ${info.state}${reason}: ${info.counts?.value ?? 0} values${kinds === "" ? "" : `, ${kinds}`}${audit}`;
}
