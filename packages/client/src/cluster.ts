/** A cluster, as programs use it: functions over items, and the jobs that it has. */
import { EverycoreError, limits } from "@everycore/protocol";
import type { CallOptions } from "./channel.ts";
import type { Connection } from "./connection.ts";
import { Input, ItemRange, encodedItems } from "./items.ts";
import type { Items } from "./items.ts";
import { check, jobSpec } from "./job-options.ts";
import type { JobOptions } from "./job-options.ts";
import { Job } from "./job.ts";
import { MapResults } from "./map-results.ts";
import { RunningMap } from "./running-map.ts";
import { newRequestId } from "./submission.ts";
import { TaskLoader } from "./task-module.ts";
import type { ItemOf, TaskModule, TaskName, TaskSource, ValueOf } from "./task-module.ts";
import type { ClusterStatus, JobInfo, NodeInfo } from "./wire-types.ts";

export interface MapOptions extends JobOptions {
  /** Results as they come instead of in item order. Default false. */
  readonly unordered?: boolean;
  /**
   * Items that are taken from the input before their results were consumed. Default 10,000 for inputs that are read as
   * they go (generators, streams); arrays and ranges are there already and are not held back.
   */
  readonly ahead?: number;
}

export interface ClusterParts {
  readonly connection: Connection;
  /** It was started for us and ends with us. */
  readonly isEmbedded: boolean;
  /** Python for .py modules, if a setting says so. */
  readonly python: string | undefined;
  /** Ends what was started for us. */
  end(): Promise<void>;
}

export class Cluster implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #parts: ClusterParts;
  readonly #tasks = new TaskLoader();
  readonly #running = new Set<RunningMap>();
  #closing: Promise<void> | undefined;

  /** Not for programs: `connect()` makes clusters. */
  constructor(parts: ClusterParts) {
    this.#parts = parts;
    this.#connection = parts.connection;
  }

  /** HOST:PORT of the coordinator. */
  get address(): string {
    return this.#connection.address;
  }

  /** True for a cluster that was started for this program and ends with it. */
  get isEmbedded(): boolean {
    return this.#parts.isEmbedded;
  }

  /**
   * Calls a function of a task module for each item, on all cores of the cluster. The job begins when the results are
   * consumed, and is cancelled when its consumer stops early. What is wrong with task, items or options is thrown to
   * the consumer as EverycoreError (`bad-task`, `bad-input`, `over-limit`).
   *
   *     for await (const value of cluster.map(new URL("./task.ts", import.meta.url), "square", range(1000))) ...
   */
  map<Module, Name extends TaskName<Module>>(
    task: TaskModule<Module>,
    name: Name,
    items: Items<ItemOf<Module, Name>>,
    options?: MapOptions,
  ): MapResults<ValueOf<Module, Name>>;
  map<Value = unknown, Item = unknown>(
    task: TaskSource,
    name: string,
    items: Items<Item>,
    options?: MapOptions,
  ): MapResults<Value>;
  map(
    task: TaskSource | TaskModule<unknown>,
    name: string,
    items: Items<unknown>,
    options: MapOptions = {},
  ): MapResults<unknown> {
    const input = new Input(items);
    return new MapResults({
      connection: this.#connection,
      retries: options.retries ?? 0,
      begin: (how) => {
        const run = this.#begin(input, { task, name, items, options, ...how });
        this.#running.add(run);
        return run;
      },
      ended: (run) => void this.#running.delete(run),
    });
  }

  /**
   * The same as a job that goes on without this program: resolves once the whole input is durable in the cluster, whose
   * results are read by the handle, here or by any other program with `cluster.job(id)`. Throws EverycoreError; a job
   * whose input failed is cancelled. An embedded cluster ends with this program, and its jobs with it.
   */
  submit<Module, Name extends TaskName<Module>>(
    task: TaskModule<Module>,
    name: Name,
    items: Items<ItemOf<Module, Name>>,
    options?: JobOptions,
  ): Promise<Job<ValueOf<Module, Name>>>;
  submit<Value = unknown, Item = unknown>(
    task: TaskSource,
    name: string,
    items: Items<Item>,
    options?: JobOptions,
  ): Promise<Job<Value>>;
  async submit(
    task: TaskSource | TaskModule<unknown>,
    name: string,
    items: Items<unknown>,
    options: JobOptions = {},
  ): Promise<Job> {
    const input = new Input(items);
    try {
      return await this.#submit(input, { task, name, items, options, reduce: undefined, strict: false });
    } finally {
      input.end();
    }
  }

  /** A job by its id, or by a unique prefix of it. Asks nothing yet. */
  job<Value = unknown>(id: string): Job<Value> {
    return new Job<Value>(this.#connection, id);
  }

  /** The newest jobs, at most `limit` (default 100), of one state if asked. */
  async jobs(
    filter: { readonly state?: JobInfo["state"]; readonly limit?: number } = {},
    options: CallOptions = {},
  ): Promise<readonly JobInfo[]> {
    return (await this.#connection.listJobs({ limit: 100, ...filter }, options)).jobs;
  }

  /** Its nodes: slots, states, runtimes. */
  nodes(options: CallOptions = {}): Promise<readonly NodeInfo[]> {
    return this.#connection.listNodes(options);
  }

  /** Is it healthy, what does it do, what does it wait for. */
  status(options: CallOptions = {}): Promise<ClusterStatus> {
    return this.#connection.status(options);
  }

  /**
   * Cancels the maps that are still consumed, ends the connection and, if it was started for this program, the
   * cluster. Jobs that were submitted go on. May be called twice; resolves when all of it is over.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    if (!this.isEmbedded) await Promise.all([...this.#running].map((run) => run.stop("its program left")));
    await this.#connection.close();
    await this.#parts.end();
  }

  async #submit(input: Input, wish: JobWish): Promise<Job> {
    const { spec, bundle } = await this.#prepare(wish);
    const { signal } = wish.options;
    await this.#connection.putBundle(bundle, { signal });
    const inputOver = new AbortController();
    const submission = this.#connection.submit({
      requestId: newRequestId(),
      spec,
      detached: true,
      pipe: !input.isThere,
      signal,
      ...(wish.items instanceof ItemRange
        ? {}
        : { items: encodedItems({ input, lead: undefined, signal: inputOver.signal }) }),
    });
    try {
      return new Job(this.#connection, (await submission.closed).id);
    } catch (error) {
      await this.#cancelHalf(submission.accepted);
      throw error;
    } finally {
      inputOver.abort(new EverycoreError("cancelled", "the submit is over"));
    }
  }

  #begin(input: Input, wish: JobWish & { readonly options: MapOptions }): RunningMap {
    const { options } = wish;
    const { unordered = false, ahead = input.isThere ? Infinity : limits.mapAheadItems } = options;
    const prepared = this.#prepare(wish, () => {
      if (ahead !== Infinity) check("ahead", ahead, 1, Number.MAX_SAFE_INTEGER);
    });
    return new RunningMap(this.#connection, prepared, { input, unordered, ahead, signal: options.signal });
  }

  async #prepare(wish: JobWish, checkMore = (): void => {}) {
    checkMore();
    const { task, name, items, options, reduce, strict } = wish;
    const python = options.python ?? this.#parts.python;
    const loaded = await this.#tasks.load({ source: task, name, reduce, python });
    const spec = jobSpec({
      task: loaded,
      items,
      options: python === undefined ? options : { ...options, python },
      strict,
    });
    return { spec, bundle: loaded.code.bundle };
  }

  /** Half an input that looks whole would be worse than none. */
  async #cancelHalf(accepted: Promise<string>): Promise<void> {
    // Not accepted within this time: the cluster cancels a job whose stream is gone before it is whole, by itself.
    const signal = AbortSignal.timeout(5_000);
    const job = await accepted.catch(() => undefined);
    if (job === undefined) return;
    await this.#connection.cancelJob(job, "its input failed", { signal }).catch(() => undefined);
  }
}

interface JobWish {
  readonly task: TaskSource | TaskModule<unknown>;
  readonly name: string;
  readonly items: Items<unknown>;
  readonly options: JobOptions;
  readonly reduce: string | undefined;
  readonly strict: boolean;
}
