/**
 * What the tasks of a job printed, on stderr when the job has ended: whoever debugs by print looks for it there, and
 * an embedded cluster takes it away with it. Where the nodes are other machines `job output` asks them when wanted.
 */
import type { JobInfo } from "@everycore/client/internal";
import { limits, shortId } from "@everycore/protocol";
import type { Session } from "../session.ts";
import { bytesText } from "./table.ts";

const withinMs = 5_000;

export async function showPrints(
  session: Session,
  info: JobInfo,
  options: { quiet: boolean; signal: AbortSignal },
): Promise<void> {
  const { quiet, signal } = options;
  if (!session.isHere || quiet || signal.aborted || info.state === "cancelled") return;
  const limit = limits.outputBytesPerJob;
  let shown = 0;
  let left = 0;
  const ends = AbortSignal.any([signal, AbortSignal.timeout(withinMs)]);
  try {
    for await (const { data, dropped } of session.cluster.outputOf(info.id, { signal: ends })) {
      const part = data.subarray(0, limit - shown);
      shown += part.length;
      left += data.length - part.length + dropped;
      process.stderr.write(part);
    }
  } catch {
    if (!signal.aborted)
      process.stderr.write(
        `what the tasks printed cannot be had: everycore job output ${shortId(info.id)}\n`,
      );
  }
  if (left > 0) process.stderr.write(`${bytesText(left)} more were printed than is kept or shown\n`);
}
