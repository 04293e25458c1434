/**
 * One job, new to the cluster, from submit to last result. "New" means new code too: each has a bundle of its own,
 * so nothing is cached anywhere. esbuild is not timed: it runs before the submit, while an embedded cluster starts.
 */
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { bundleJs, makeBundle, newRequestId } from "@everycore/client/internal";
import type { Bundle, Connection, JobInfo } from "@everycore/client/internal";
import { decode, times } from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";
import { sumOf, takeSnapshot, usageBetween } from "./process-tree.ts";

const tasks = fileURLToPath(new URL("tasks.ts", import.meta.url));

export interface ColdJob {
  readonly cluster: Connection;
  readonly bundle: Bundle;
  /** Which function of tasks.ts. */
  readonly export: "spin" | "nothing";
  /** A count for a range, or JSON items. */
  readonly items: number | readonly number[];
  /** Called after each list of outcomes; true ends the job there, by cancelling it. */
  readonly isEnough?: () => boolean;
}

export interface ColdRun {
  /** From submit to last result. */
  readonly seconds: number;
  /** From submit to first result. */
  readonly firstSeconds: number;
  /** CPU seconds of each kind of process in the cluster. */
  readonly cpu: Readonly<Record<string, number>>;
  readonly cpuSeconds: number;
  /** CPU seconds of this process, which submits and reads: no part of the cluster, but on the same cores. */
  readonly clientCpuSeconds: number;
  readonly job: string;
  readonly info: JobInfo;
}

/** The tasks' bundle, different from every other one by a file that nobody reads. */
export async function freshBundle(): Promise<Bundle> {
  const { bytes, entry } = await bundleJs(tasks);
  const { files } = decode(bytes) as { files: Record<string, Uint8Array> }; // we have just made it
  return makeBundle(new Map([...Object.entries(files), ["fresh.txt", randomBytes(16)]]), entry);
}

/** A job of a function of tasks.ts over a range of so many items, or over items of a codec. */
export const specOf = (bundle: Bundle, name: string, items: number | "json" | "raw"): JobSpec => ({
  name,
  task: {
    runtime: "js",
    bundle: bundle.digest,
    entry: bundle.entry,
    export: name,
    seed: "0000000000000001",
    rangeStart: 0,
    retries: 0,
  },
  ...(typeof items === "number" ? { codec: "range", rangeItems: items } : { codec: items }),
  priority: 0,
  strict: false,
  ttlMs: times.jobTtlMs,
});

export async function runColdJob(job: ColdJob): Promise<ColdRun> {
  const { cluster, items } = job;
  const before = takeSnapshot();
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  await cluster.putBundle(job.bundle);
  const submission = submit(job);
  const id = await submission.accepted;
  const results = cluster.results(id, { unordered: true });
  let count = 0;
  let isStopped = false;
  let firstSeconds = Number.NaN;
  for await (const list of results.lists()) {
    if (count === 0) firstSeconds = (performance.now() - startedAt) / 1000;
    count += list.length;
    for (const outcome of list) if (!outcome.isValue) outcome.value(); // throws what went wrong
    isStopped = job.isEnough?.() === true;
    if (isStopped) break;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = usageBetween(before, takeSnapshot());
  const { user, system } = process.cpuUsage(cpuBefore);
  submission.closed.catch(() => {}); // a cancelled job's input ends with it
  if (isStopped) await cluster.cancelJob(id, "enough was measured");
  const info = await cluster.waitJob(id);
  await cluster.deleteJob(id); // its log is not left to the next run
  const total = typeof items === "number" ? items : items.length;
  if (!isStopped && count !== total) throw new Error(`${count} of ${total} results came`);
  return {
    seconds,
    firstSeconds,
    cpu,
    cpuSeconds: sumOf(cpu),
    clientCpuSeconds: (user + system) / 1e6,
    job: id,
    info,
  };
}

function submit({ cluster, bundle, items, ...job }: ColdJob): ReturnType<Connection["submit"]> {
  return cluster.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, job.export, typeof items === "number" ? items : "json"),
    ...(typeof items === "number" ? {} : { items: blocksOf(items) }),
  });
}

async function* blocksOf(items: readonly number[]): AsyncGenerator<Uint8Array[]> {
  for (let at = 0; at < items.length; at += 1_000) {
    yield items.slice(at, at + 1_000).map((item) => Buffer.from(JSON.stringify(item)));
  }
}
