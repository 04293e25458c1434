/** The results of `cluster.map`: read once, in one of four ways, while the job runs. */
import { EverycoreError } from "@everycore/protocol";
import type { Connection } from "./connection.ts";
import { throwIfBroken } from "./failures.ts";
import { itemOutcome, valueOf } from "./outcomes.ts";
import type { ItemOutcome, Outcome } from "./outcomes.ts";
import type { RunningMap } from "./running-map.ts";

/** A reduction that skipped items without a value. */
export interface PartialReduction<Value> {
  /** Undefined when no item had a value. */
  readonly value: Value | undefined;
  /** Items without a value. */
  readonly missing: number;
}

export interface MapStart {
  readonly connection: Connection;
  readonly retries: number;
  /** Begins the job, with a reducer or without. */
  begin(how: { reduce: string | undefined; strict: boolean }): RunningMap;
  /** It is over, however it ended. */
  ended(run: RunningMap): void;
}

/**
 * What a function gives for each item. Nothing is sent before it is consumed, and it is consumed once: by
 * `for await` (values), `outcomes()`, `all()` or `reduce()`. Whoever stops early (break, throw, an aborted signal)
 * cancels the job and ends the input; the cores are free within a second.
 */
export class MapResults<Value> implements AsyncIterable<Value> {
  readonly #start: MapStart;
  #run: RunningMap | undefined;
  #isConsumed = false;

  constructor(start: MapStart) {
    this.#start = start;
  }

  /** The job's id, once the cluster has it. Asking begins the job. */
  get job(): Promise<string> {
    this.#run ??= this.#start.begin({ reduce: undefined, strict: false });
    return this.#run.job;
  }

  /**
   * The values, in item order unless the map is `unordered`. The first item that has none throws its ItemError there
   * and cancels the rest; a job that ends as a whole throws JobFailedError or JobCancelledError.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Value, void, undefined> {
    for await (const outcome of this.#outcomes()) {
      if (!outcome.isValue) throw outcome.failure({ job: await this.job, retries: this.#start.retries });
      // The value's type is what the user says that the task returns.
      yield valueOf(outcome) as Value;
    }
  }

  /** How each item ended, failures included: nothing is thrown for an item. */
  async *outcomes(): AsyncGenerator<ItemOutcome<Value>, void, undefined> {
    let known: { job: string; retries: number } | undefined;
    for await (const outcome of this.#outcomes()) {
      known ??= { job: await this.job, retries: this.#start.retries };
      yield itemOutcome<Value>(outcome, known);
    }
  }

  /** All values in item order, also of an `unordered` map. Throws as the iteration does. */
  async all(): Promise<Value[]> {
    const values: Value[] = [];
    for await (const outcome of this.outcomes()) {
      if (!outcome.ok) throw outcome.error;
      values[outcome.index] = outcome.value;
    }
    return values;
  }

  /**
   * Combines all values in the workers, by the export `name` of the task's module: a function of two values that is
   * associative. The tree is fixed, so that the same items give the same bytes on any number of cores. Throws
   * JobFailedError as soon as an item has no value; with `skipFailed` such items are left out and counted.
   */
  reduce(name: string): Promise<Value>;
  reduce(name: string, options: { readonly skipFailed: true }): Promise<PartialReduction<Value>>;
  async reduce(
    name: string,
    options: { readonly skipFailed?: boolean } = {},
  ): Promise<Value | PartialReduction<Value>> {
    const isPartial = options.skipFailed === true;
    const run = this.#consume({ reduce: name, strict: !isPartial });
    try {
      const { id, total, missing } = throwIfBroken(await run.ended());
      const outcome = total === 0 ? undefined : await this.#outcomeAt(id, total);
      if (isPartial && (outcome === undefined || missing === total)) return { value: undefined, missing };
      if (outcome === undefined) throw nothingToReduce(id);
      if (!outcome.isValue) throw outcome.failure({ job: id, retries: this.#start.retries });
      const value = valueOf(outcome) as Value; // as for items
      return isPartial ? { value, missing } : value;
    } finally {
      await run.stop("its caller left");
      this.#start.ended(run);
    }
  }

  /** The reduction is an item of its own, with index = total. */
  async #outcomeAt(job: string, index: number): Promise<Outcome> {
    const { connection } = this.#start;
    for await (const outcome of connection.results(job, { from: index, follow: false })) {
      if (outcome.index === index) return outcome;
    }
    throw new EverycoreError("internal", `job ${job} is done and has no reduction`);
  }

  async *#outcomes(): AsyncGenerator<Outcome, void, undefined> {
    const run = this.#consume({ reduce: undefined, strict: false });
    try {
      for await (const list of run.lists()) {
        for (const outcome of list) {
          // The rest of a broken job would be many outcomes that all say the same.
          if (outcome.status === "cancelled" || outcome.status === "expired")
            throwIfBroken(await run.ended());
          run.consumed();
          yield outcome;
        }
      }
      throwIfBroken(await run.ended());
    } finally {
      await run.stop("its reader left");
      this.#start.ended(run);
    }
  }

  #consume(how: { reduce: string | undefined; strict: boolean }): RunningMap {
    const isBegun = this.#run !== undefined;
    if (this.#isConsumed || (isBegun && how.reduce !== undefined)) {
      throw new EverycoreError("conflict", "the results of this map are read already", {
        hint: "read them again by cluster.job(await results.job).results(), or map again",
      });
    }
    this.#isConsumed = true;
    return (this.#run ??= this.#start.begin(how));
  }
}

const nothingToReduce = (job: string): EverycoreError =>
  new EverycoreError("bad-input", `job ${job} has no items: there is nothing to reduce`, {
    hint: "use reduce(name, { skipFailed: true }), which gives undefined for none",
  });
