// Jobs as tests submit them: a task of test/support/tasks by its name, a range or a list of items, and the outcomes
// read back. The public client does the work.

import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  codeFields,
  type Connection,
  type JobInfo,
  type Outcome,
  type TaskCode,
  loadTask,
  newRequestId,
} from "@everycore/client/internal";
import { EverycoreError, type JobSpec, type TaskSpec } from "@everycore/protocol";
import { until } from "./until.ts";

const tasks = join(import.meta.dirname, "tasks");

/** Path of a file in test/support/tasks, as `map` takes it. */
export const taskFile = (name: string): string => join(tasks, name);

export interface JobOptions {
  /** `file.ts:export` below test/support/tasks, or argv of a program. */
  readonly task: string | readonly string[];
  /** Both ends included. */
  readonly range?: readonly [number, number];
  /** JSON values; strings of a program's items travel as lines. */
  readonly items?: readonly unknown[] | AsyncIterable<unknown>;
  readonly retries?: number;
  readonly itemTimeoutMs?: number;
  readonly seed?: string;
  readonly reduce?: string;
  readonly strict?: boolean;
  readonly speculate?: boolean;
  readonly audit?: number;
  readonly priority?: number;
  readonly name?: string;
  readonly detached?: boolean;
  readonly pipe?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

/** Bundles are content-addressed: the same task is built once per test file. */
const built = new Map<string, Promise<TaskCode>>();

function build(task: string, reduce: string | undefined): Promise<TaskCode> {
  const key = `${task} ${reduce}`;
  let code = built.get(key);
  if (code === undefined) built.set(key, (code = loadTask({ task: taskFile(task), reduce })));
  return code;
}

async function taskSpecOf(cluster: Connection, options: JobOptions): Promise<TaskSpec> {
  const { task, range, retries = 0, itemTimeoutMs, seed = "0000000000000007", env } = options;
  const shared = {
    seed,
    rangeStart: range?.[0] ?? 0,
    retries,
    ...(itemTimeoutMs === undefined ? {} : { itemTimeoutMs }),
    ...(env === undefined ? {} : { env }),
  };
  if (typeof task !== "string") return { runtime: "exec", argv: task, ...shared };
  const code = await build(task, options.reduce);
  await cluster.putBundle(code.bundle);
  return {
    ...codeFields(code),
    ...shared,
  };
}

export async function specOf(cluster: Connection, options: JobOptions): Promise<JobSpec> {
  const { range, task, priority = 0, strict = false } = options;
  return {
    name: options.name ?? (typeof task === "string" ? task : task.join(" ")).slice(0, 200),
    task: await taskSpecOf(cluster, options),
    codec: range !== undefined ? "range" : typeof task === "string" ? "json" : "utf8",
    ...(range === undefined ? {} : { rangeItems: range[1] - range[0] + 1 }),
    priority,
    strict,
    ttlMs: 3_600_000,
    ...(options.speculate === undefined ? {} : { speculate: options.speculate }),
    ...(options.audit === undefined ? {} : { audit: options.audit }),
  };
}

async function* encoded(
  items: NonNullable<JobOptions["items"]>,
  isText: boolean,
): AsyncGenerator<Uint8Array[]> {
  for await (const item of items) yield [Buffer.from(isText ? String(item) : JSON.stringify(item), "utf8")];
}

/** Submits; resolves with the id once all input is durable. */
export async function submit(cluster: Connection, options: JobOptions): Promise<string> {
  const spec = await specOf(cluster, options);
  const submission = cluster.submit({
    requestId: newRequestId(),
    spec,
    detached: options.detached ?? true,
    pipe: options.pipe ?? false,
    ...(options.items === undefined ? {} : { items: encoded(options.items, spec.codec === "utf8") }),
  });
  return (await submission.closed).id;
}

/** A job of a test that takes longer hangs: said with what is known of it, before the test's own time is over. */
const collectWithinMs = 100_000;

/** All outcomes of a job, in the order in which they came; follows it to its end. */
export async function collect(
  cluster: Connection,
  job: string,
  options: { unordered?: boolean; from?: number; withinMs?: number } = {},
): Promise<{ outcomes: Outcome[]; info: JobInfo }> {
  const { withinMs = collectWithinMs, ...how } = options;
  const signal = AbortSignal.timeout(withinMs);
  const outcomes: Outcome[] = [];
  try {
    for await (const outcome of cluster.results(job, { ...how, signal })) outcomes.push(outcome);
  } catch (error) {
    if (!signal.aborted) throw error;
    const [info, nodes] = await Promise.all([cluster.getJob(job), cluster.listNodes()]);
    const known = JSON.stringify({ info, nodes });
    throw new Error(`${outcomes.length} outcomes in ${withinMs} ms: ${known}`, { cause: error });
  }
  return { outcomes, info: await cluster.waitJob(job, { timeoutMs: 60_000 }) };
}

/** Submits and collects. */
export async function runJob(
  cluster: Connection,
  options: JobOptions,
): Promise<{ outcomes: Outcome[]; info: JobInfo }> {
  return collect(cluster, await submit(cluster, options));
}

export const valuesOf = (outcomes: readonly Outcome[]): unknown[] =>
  outcomes.map((outcome) => (outcome.isValue ? outcome.value() : outcome.error().kind));

export const indexesOf = (outcomes: readonly Outcome[]): number[] => outcomes.map(({ index }) => index);

/** 0, 1, ... count - 1 */
export const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** The code of the EverycoreError that the promise is rejected with. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof EverycoreError) return error.code;
    throw error;
  }
  return "no error";
}

/**
 * What really ran: tasks append a line per execution to a file (one write(2) with O_APPEND, so lines of several
 * workers never mix). Items that are to be held at a point wait until a gate file exists: no guessing of times.
 */
export class RunLog {
  readonly file: string;
  readonly #gate: string;

  constructor(folder: string, name = "runs") {
    this.file = join(folder, `${name}.log`);
    this.#gate = join(folder, `${name}.gate`);
    appendFileSync(this.file, "");
  }

  /** An item of tasks/recorded.ts. */
  item(index: number, options: { ms?: number; isHeld?: boolean } = {}): object {
    return {
      file: this.file,
      index,
      ms: options.ms ?? 0,
      ...(options.isHeld === true ? { gate: this.#gate } : {}),
    };
  }

  /** Lets held items go on. */
  open(): void {
    writeFileSync(this.#gate, "");
  }

  /** Index of each execution begun, in order. */
  begun(): number[] {
    return existsSync(this.file)
      ? readFileSync(this.file, "utf8").split("\n").filter(Boolean).map(Number)
      : [];
  }

  /** Executions per index that were more than one. */
  repeated(): number[] {
    const seen = new Set<number>();
    return this.begun().filter((index) => seen.size === seen.add(index).size);
  }

  async hasBegun(count: number): Promise<void> {
    await until(() => this.begun().length >= count, { withinMs: 30_000, what: `${count} items to begin` });
  }

  /** Others before it may not have: what was cut off a slice runs later. */
  async hasBegunItem(index: number): Promise<void> {
    await until(() => this.begun().includes(index), { withinMs: 30_000, what: `item ${index} to begin` });
  }
}
