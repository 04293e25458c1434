/** A job that a cluster has, whoever submitted it and whenever: read, watch, wait, cancel, retry. */
import type { CallOptions } from "./channel.ts";
import type { Connection } from "./connection.ts";
import { itemOutcome } from "./outcomes.ts";
import type { ItemOutcome } from "./outcomes.ts";
import { TaskLoader } from "./task-module.ts";
import type { TaskModule, TaskSource } from "./task-module.ts";
import type { AuditInfo, JobInfo, OutputChunk } from "./wire-types.ts";

export interface JobResultsOptions extends CallOptions {
  /** First index wanted. Default 0. Whoever stopped after index n goes on with `from: n + 1`. */
  readonly from?: number;
  /** As they ended instead of in item order. Default false. */
  readonly unordered?: boolean;
  /** Wait for the outcomes of a running job until it has ended. Default true; false: only what is there now. */
  readonly follow?: boolean;
}

export interface JobWaitOptions extends CallOptions {
  /** Ends the wait with EverycoreError `timeout`, ms. Default: as long as it takes. */
  readonly timeoutMs?: number;
}

export interface JobRetryOptions extends CallOptions {
  /** A function that is called instead of the job's own, as it is now. */
  readonly code?: { readonly task: TaskSource | TaskModule<unknown>; readonly name: string };
}

/**
 * A handle: it costs nothing and asks nothing until one of its methods is called. All of them throw EverycoreError:
 * `not-found` for a job that the cluster does not have, `unreachable` when the cluster is away for too long.
 */
export class Job<Value = unknown> {
  /** The job's id; a unique prefix will do where it was given. */
  readonly id: string;
  readonly #connection: Connection;

  constructor(connection: Connection, id: string) {
    this.#connection = connection;
    this.id = id;
  }

  /** The job as it is now. */
  info(options: CallOptions = {}): Promise<JobInfo> {
    return this.#connection.getJob(this.id, options);
  }

  /**
   * How its items ended, from any index, as often as wanted, until the job is deleted. Stopping to read changes
   * nothing for the job. A coordinator that goes away in between is waited for.
   */
  async *results(options: JobResultsOptions = {}): AsyncGenerator<ItemOutcome<Value>, void, undefined> {
    const known = { job: this.id };
    for await (const outcome of this.#connection.results(this.id, options))
      yield itemOutcome<Value>(outcome, known);
  }

  /** The job now, and whenever it changed (at most 5 times a second), until it has ended. */
  watch(options: CallOptions = {}): AsyncGenerator<JobInfo, void, undefined> {
    return this.#connection.watchJob(this.id, options);
  }

  /** Resolves with the job once it has ended: look at its `state` and `counts`. */
  wait(options: JobWaitOptions = {}): Promise<JobInfo> {
    return this.#connection.waitJob(this.id, options);
  }

  /** Cancels what has not ended, with a reason for people. Resolves once the cluster knows. */
  cancel(reason = "by its owner", options: CallOptions = {}): Promise<JobInfo> {
    return this.#connection.cancelJob(this.id, reason, options);
  }

  /**
   * Runs the items without a value again, with other code if it is given; values that there are stay as they are.
   * Throws `conflict` while the job runs.
   */
  async retry(options: JobRetryOptions = {}): Promise<JobInfo> {
    const { code, ...call } = options;
    if (code === undefined) return this.#connection.retryJob(this.id, call);
    const wish = { source: code.task, name: code.name, reduce: undefined, python: undefined };
    const loaded = await new TaskLoader().load(wish);
    return this.#connection.retryJob(this.id, { ...call, code: loaded.code });
  }

  /** Deletes the job and its results. Throws `conflict` while it runs. */
  async delete(options: CallOptions = {}): Promise<void> {
    await this.#connection.deleteJob(this.id, options);
  }

  /** Proves from the job's log that every item has exactly one outcome, and counts what was dropped. */
  audit(options: CallOptions = {}): Promise<AuditInfo> {
    return this.#connection.auditJob(this.id, options);
  }

  /** What its tasks printed, as far as the nodes keep it. */
  output(options: CallOptions = {}): AsyncGenerator<OutputChunk> {
    return this.#connection.outputOf(this.id, options);
  }
}
