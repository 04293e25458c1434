/**
 * One job of a demo, from submit to last result, with live progress on stderr: items, rate, time left, and how busy
 * the cores are. Outcomes go to the caller as they come; what ran where is in the job that is returned.
 */
import { newRequestId } from "@everycore/client/internal";
import type { Connection, JobInfo, OutcomeList } from "@everycore/client/internal";
import { isEnded, times } from "@everycore/protocol";
import type { Codec, TaskSpec } from "@everycore/protocol";
import { Pace } from "../../packages/cli/src/terminal/pace.ts";
import { countsOf, progressText } from "../../packages/cli/src/terminal/progress.ts";

const cancelWithinMs = 5_000;
/** Without a terminal progress is a line each so often, ms. */
const lineEveryMs = 3_000;

/** What every demo gets. */
export interface DemoContext {
  readonly cluster: Connection;
  readonly slots: number;
  /** Where the picture goes; default ./everycore-demo.png. */
  readonly out: string | undefined;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

export type Demo = (context: DemoContext) => Promise<void>;

export interface DemoJob {
  readonly cluster: Connection;
  readonly slots: number;
  readonly name: string;
  readonly task: Omit<TaskSpec, "seed" | "rangeStart" | "retries">;
  /** A count for the integers from 0, or lines. */
  readonly items: number | readonly string[];
  readonly signal: AbortSignal;
  readonly onOutcomes: (outcomes: OutcomeList) => void;
}

export interface EndedJob {
  readonly info: JobInfo;
  /** From submit to last result. */
  readonly seconds: number;
}

export async function runJob(job: DemoJob): Promise<EndedJob> {
  const { cluster, items, signal } = job;
  const startedAt = performance.now();
  const submission = cluster.submit({
    requestId: newRequestId(),
    spec: {
      name: job.name,
      task: { ...job.task, seed: "0000000000000001", rangeStart: 0, retries: 0 },
      codec: codecOf(items),
      ...(typeof items === "number" ? { rangeItems: items } : {}),
      priority: 0,
      strict: false,
      ttlMs: times.jobTtlMs,
    },
    ...(typeof items === "number" ? {} : { items: blocksOf(items) }),
    signal,
  });
  const id = await submission.accepted;
  const over = new AbortController();
  const watching = showProgress(job, id, AbortSignal.any([signal, over.signal])).catch(() => {}); // a convenience
  try {
    const results = cluster.results(id, { unordered: true, signal });
    for await (const list of results.lists()) job.onOutcomes(list);
    const seconds = (performance.now() - startedAt) / 1000;
    await submission.closed;
    const info = isEnded(results.end.state) ? results.end : await cluster.waitJob(id, { signal });
    return { info, seconds };
  } catch (error) {
    if (signal.aborted) await cancel(cluster, id);
    throw error;
  } finally {
    over.abort();
    await watching;
  }
}

const codecOf = (items: DemoJob["items"]): Codec => (typeof items === "number" ? "range" : "utf8");

async function* blocksOf(lines: readonly string[]): AsyncGenerator<Uint8Array[]> {
  for (let at = 0; at < lines.length; at += 1_000) {
    yield lines.slice(at, at + 1_000).map((line) => Buffer.from(line));
  }
}

/** The cores are free again before the cluster is taken down: agents need not kill what runs. */
async function cancel(cluster: Connection, id: string): Promise<void> {
  const signal = AbortSignal.timeout(cancelWithinMs);
  await cluster
    .cancelJob(id, "Ctrl-C", { signal })
    .then(() => cluster.waitJob(id, { signal }))
    .catch(() => {}); // the cluster ends anyway, and its work with it
}

async function showProgress(job: DemoJob, id: string, signal: AbortSignal): Promise<void> {
  const { isTTY } = process.stderr;
  const startedAt = performance.now();
  const pace = new Pace();
  let shownAt = 0;
  try {
    for await (const info of job.cluster.watchJob(id, { signal })) {
      const elapsedMs = performance.now() - startedAt;
      if (!isTTY && elapsedMs - shownAt < lineEveryMs) continue;
      shownAt = elapsedMs;
      const line = progressLine(info, pace, { elapsedMs, slots: job.slots });
      process.stderr.write(isTTY ? `\r  ${line}\u001B[K` : `  ${line}\n`);
    }
  } finally {
    if (isTTY) process.stderr.write("\r\u001B[K");
  }
}

/** `610/1,296 47 % · 101/s · 6.8 s left · cores 98 % busy` */
function progressLine(info: JobInfo, pace: Pace, options: { elapsedMs: number; slots: number }): string {
  const { elapsedMs, slots } = options;
  const counts = countsOf(info);
  pace.add(elapsedMs, counts.done);
  const estimate =
    counts.total === undefined ? undefined : pace.estimate(elapsedMs, counts.total - counts.done);
  const text = progressText(counts, { perSecond: pace.perSecond(elapsedMs), estimate });
  const busy = Math.min(1, busyMsOf(info) / (elapsedMs * slots));
  return `${text} · cores ${Math.round(100 * busy)} % busy`;
}

/** Time that slots spent in items that have been committed, ms. */
export function busyMsOf(info: JobInfo): number {
  let sum = 0;
  for (const node of info.usage) for (const slot of node.slots) sum += slot.busyMs;
  return sum;
}
