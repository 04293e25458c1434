/**
 * One job of a `map`, from its first item to its last outcome, for as long as somebody consumes it.
 *
 *  M1  whoever stops consuming wants the job no more: it is cancelled, its input ended, its cores are free within a
 *      second; a job that has ended is left alone;
 *  M2  whatever goes wrong on the way in (a bad item, an input that throws, a lost cluster) ends the way out with the
 *      same error: a reader of half an input would take it for the whole.
 */
import { EverycoreError, isEnded } from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";
import type { Bundle } from "./bundle/archive.ts";
import type { Connection } from "./connection.ts";
import { ItemRange, Lead, encodedItems } from "./items.ts";
import type { Input } from "./items.ts";
import type { OutcomeList, Results } from "./results.ts";
import { newRequestId } from "./submission.ts";
import type { Submission } from "./submission.ts";
import type { JobInfo } from "./wire-types.ts";

const stopWithinMs = 5_000;

export interface RunOptions {
  readonly input: Input;
  readonly unordered: boolean;
  /** Items read before their consumer; Infinity: as fast as the cluster stores them. */
  readonly ahead: number;
  readonly signal: AbortSignal | undefined;
}

export class RunningMap {
  readonly #connection: Connection;
  readonly #options: RunOptions;
  readonly #lead: Lead | undefined;
  /** Aborted when no more input is wanted. */
  readonly #inputOver = new AbortController();
  /** Aborted when nothing more is to be read or sent. */
  readonly #over = new AbortController();
  readonly #job: Promise<string>;
  readonly #signal: AbortSignal;
  #isSubmitted = false;
  #stopping: Promise<void> | undefined;
  #end: JobInfo | undefined;

  constructor(
    connection: Connection,
    prepared: Promise<{ spec: JobSpec; bundle: Bundle }>,
    options: RunOptions,
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#lead = Number.isFinite(options.ahead) ? new Lead(options.ahead) : undefined;
    const signals = [options.signal, this.#over.signal].filter((signal) => signal !== undefined);
    this.#signal = AbortSignal.any(signals);
    this.#job = this.#start(prepared);
    this.#job.catch((error: unknown) => {
      this.#over.abort(error); // M2
      this.#endInput(error);
    });
  }

  /** The job's id, once the cluster has it. */
  get job(): Promise<string> {
    return this.#job;
  }

  async #start(prepared: Promise<{ spec: JobSpec; bundle: Bundle }>): Promise<string> {
    const { spec, bundle } = await prepared;
    await this.#connection.putBundle(bundle, { signal: this.#signal });
    this.#signal.throwIfAborted();
    const { input } = this.#options;
    const submission: Submission = this.#connection.submit({
      requestId: newRequestId(),
      spec,
      pipe: !input.isThere,
      signal: this.#over.signal,
      ...(input.items instanceof ItemRange
        ? {}
        : { items: encodedItems({ input, lead: this.#lead, signal: this.#inputOver.signal }) }),
    });
    this.#isSubmitted = true;
    submission.closed.catch((error: unknown) => this.#over.abort(error)); // M2
    return submission.accepted;
  }

  /** Outcomes as they come, to the end of the job. */
  async *lists(): AsyncGenerator<OutcomeList> {
    const job = await this.#ready();
    const { unordered } = this.#options;
    const results: Results = this.#connection.results(job, { unordered, signal: this.#signal });
    yield* results.lists();
    if (isEnded(results.end.state)) this.#finish(results.end);
  }

  /** The consumer took one more item. */
  consumed(): void {
    this.#lead?.consume();
  }

  /** The job once it has ended. */
  async ended(): Promise<JobInfo> {
    // A reader may reach the last outcome a moment before the leader has written the job's end.
    this.#end ??= await this.#connection.waitJob(await this.#ready(), { signal: this.#signal });
    this.#finish(this.#end);
    return this.#end;
  }

  #finish(info: JobInfo): void {
    this.#end = info;
    this.#stopping ??= Promise.resolve(); // M1
    this.#endInput(new EverycoreError("cancelled", `job ${info.id} has ended`));
  }

  /** Also of an input that nobody has begun to read. */
  #endInput(reason: unknown): void {
    this.#inputOver.abort(reason);
    this.#options.input.end();
  }

  /** M1. Resolves when the cluster has been told. May be called twice. */
  stop(reason: string): Promise<void> {
    return (this.#stopping ??= this.#stop(reason));
  }

  async #stop(reason: string): Promise<void> {
    const cancelled = new EverycoreError("cancelled", `the map was ended: ${reason}`);
    this.#endInput(cancelled);
    if (!this.#isSubmitted) this.#over.abort(cancelled);
    const limit = AbortSignal.timeout(stopWithinMs);
    const late = Promise.withResolvers<undefined>();
    const giveUp = (): void => late.resolve(undefined);
    limit.addEventListener("abort", giveUp, { once: true });
    // What cannot be told now the cluster finds out: a submit whose stream is gone is cancelled.
    const job = await Promise.race([this.#job, late.promise]).catch(() => undefined);
    if (job !== undefined)
      await this.#connection.cancelJob(job, reason, { signal: limit }).catch(() => undefined);
    limit.removeEventListener("abort", giveUp);
    this.#over.abort(cancelled);
  }

  /** The job's id, or the reason why there is none. */
  async #ready(): Promise<string> {
    const { signal } = this.#options;
    const aborted = Promise.withResolvers<never>();
    const abort = (): void => aborted.reject(this.#signal.reason);
    this.#signal.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) abort();
    try {
      return await Promise.race([this.#job, aborted.promise]);
    } finally {
      this.#signal.removeEventListener("abort", abort);
    }
  }
}
