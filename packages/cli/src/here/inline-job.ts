/**
 * A map without a cluster: items one after the other through one worker here. What agents and leader decide about an
 * item is decided the same way: errors are tried again, a worker's death is blamed on its item at the second time,
 * values are combined in the fixed tree of spans, whose bytes do not depend on how the items were cut (P6).
 */
import type { Outcome, OutcomeList } from "@everycore/client/internal";
import type { Debugging, LocalSlice, LocalSliceEnd, LocalWorker } from "@everycore/node-agent/local";
import {
  codecs,
  EverycoreError,
  limits,
  outcomeStatus,
  packEntries,
  recordStatus,
} from "@everycore/protocol";
import type { DeathDetail, JobSpec, SlotRecord } from "@everycore/protocol";
import { Interrupted } from "../failure.ts";
import { haltReason, isReached } from "../halt.ts";
import type { Halt } from "../halt.ts";
import type { ItemRun } from "./inline-items.ts";
import { PartialEntries } from "./partial-entries.ts";
import type { Place } from "./place.ts";
import { crashOutcome, outcomeOf } from "./records.ts";
import type { Tally } from "./tally.ts";

/** So much work is given to the worker at once: what it gives is printed when it is done. */
const sliceMs = 20;
const sliceItemsMax = 4_096;
/** A reduced slice leaves a partial or more: small ones would pile up. */
const reducedItemsMin = 256;
/** As the leader has it (core/strikes.ts). */
const crashesMax = 2;

export interface InlineOptions {
  readonly place: Place;
  readonly spec: JobSpec;
  readonly tally: Tally;
  readonly job: string;
  readonly debugging: Debugging | undefined;
  readonly halt: Halt | undefined;
  readonly onPrint: (data: Buffer) => void;
  /** Aborted by Ctrl-C, or when nobody reads the results any more. */
  readonly signal: AbortSignal;
  readonly onProgress: () => void;
  /** Gets the outcomes in item order; of a reduction the one at its end. */
  readonly print: (outcomes: OutcomeList) => Promise<void>;
}

/** What came of one try of an item. */
type Sight = { readonly record: SlotRecord } | { readonly death: DeathDetail };

/** The job ends here, with this state and reason. */
class JobEnd extends Error {
  readonly state: "failed" | "cancelled";

  constructor(state: "failed" | "cancelled", reason: string) {
    super(reason);
    this.state = state;
  }
}

export class InlineJob implements AsyncDisposable {
  readonly #options: InlineOptions;
  readonly #partials = new PartialEntries();
  readonly #aborted = Promise.withResolvers<never>();
  #worker: LocalWorker | undefined;
  #sliceItems = 1;
  #crashVerdicts = 0;
  #running: LocalSlice | "loading" | undefined;

  constructor(options: InlineOptions) {
    this.#options = options;
    const { signal } = options;
    this.#aborted.promise.catch(() => {});
    const abort = (): void => {
      this.#worker?.halt();
      this.#aborted.reject(signal.reason);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  }

  /** Resolves when the tally has the job's end; throws the signal's reason. */
  async run(runs: AsyncIterable<ItemRun>): Promise<void> {
    const { tally } = this.#options;
    const isReduced = this.#options.spec.task.reduce !== undefined;
    let total = 0;
    try {
      for await (const run of runs) {
        if (isReduced) await this.#reduceAll(run);
        else await this.#runAll(run);
        total = run.first + run.count;
      }
      this.#options.signal.throwIfAborted();
      tally.total = total;
      if (isReduced && total > 0) await this.#combine(total);
      tally.state = "done";
    } catch (error) {
      if (!(error instanceof JobEnd)) throw error;
      tally.state = error.state;
      tally.reason = error.message;
    }
  }

  /** Whose code runs at this moment: of interest when this process ends in it. */
  get runningCode(): string | undefined {
    if (this.#running === undefined) return undefined;
    if (this.#running === "loading") return "the task, while it was loaded,";
    return `item ${this.#running.start + (this.#worker?.endedSoFar() ?? 0)}`;
  }

  async #runAll(run: ItemRun): Promise<void> {
    for (let at = 0; at < run.count;) {
      const to = Math.min(run.count, at + this.#sliceItems);
      const began = performance.now();
      const end = await this.#attempt(this.#slice(run, at, to));
      const outcomes: Outcome[] = [];
      for (const record of end.records) {
        outcomes.push(await this.#settled(run, at, { record }));
        at += 1;
      }
      if (end.death !== undefined && at < to) {
        outcomes.push(await this.#settled(run, at, { death: end.death }));
        at += 1;
      }
      for (const outcome of outcomes) this.#options.tally.add(outcome);
      await this.#options.print(outcomes);
      this.#look();
      this.#learn(outcomes.length, performance.now() - began);
    }
  }

  /** An item with all its tries. */
  async #settled(run: ItemRun, at: number, first: Sight): Promise<Outcome> {
    const { retries } = this.#options.spec.task;
    let sight = first;
    let errors = 0;
    for (let crashes = 0; ;) {
      if ("death" in sight) {
        crashes += 1;
        if (crashes >= crashesMax) return this.#crashed(run.first + at, sight.death);
      } else if (sight.record.status === outcomeStatus.value || errors >= retries) {
        return outcomeOf(sight.record);
      } else errors += 1;
      sight = sightOf(await this.#attempt(this.#slice(run, at, at + 1)));
    }
  }

  #crashed(index: number, death: DeathDetail): Outcome {
    this.#crashVerdicts += 1;
    const { tally } = this.#options;
    if (this.#crashVerdicts >= limits.crashVerdictsToFailJob && (tally.info.counts?.value ?? 0) === 0) {
      const reason = `task crashes: its first ${this.#crashVerdicts} items all killed their worker twice`;
      throw new JobEnd("failed", reason);
    }
    return crashOutcome(index, death, " twice");
  }

  async #reduceAll(run: ItemRun): Promise<void> {
    for (let at = 0; at < run.count;) {
      const to = Math.min(run.count, at + Math.max(this.#sliceItems, reducedItemsMin));
      const began = performance.now();
      await this.#reduce(run, at, to);
      this.#look();
      this.#learn(to - at, performance.now() - began);
      at = to;
    }
  }

  /** A worker that dies takes the partials of its slice along: around the item to blame they are made anew. */
  async #reduce(run: ItemRun, from: number, to: number): Promise<void> {
    if (from === to) return;
    const end = await this.#attempt({ ...this.#slice(run, from, to), reduced: true });
    if (end.death === undefined) return this.#count(end.records);
    const done = end.records.filter(({ status }) => status !== recordStatus.partial).length;
    const blamed = Math.min(from + done, to - 1);
    await this.#reduce(run, from, blamed);
    const again = await this.#attempt({ ...this.#slice(run, blamed, blamed + 1), reduced: true });
    if (again.death === undefined) this.#count(again.records);
    else {
      this.#options.tally.add(this.#crashed(run.first + blamed, again.death));
      this.#partials.addMissing(run.first + blamed);
    }
    await this.#reduce(run, blamed + 1, to);
  }

  #count(records: readonly SlotRecord[]): void {
    for (const record of records) {
      if (record.status === recordStatus.partial) this.#partials.add(record);
      else this.#options.tally.add({ status: record.status === recordStatus.counted ? "value" : "error" });
    }
  }

  /** The reduction item, with index = total (docs/decisions/0012). */
  async #combine(total: number): Promise<void> {
    const { spec, tally, print } = this.#options;
    if (spec.strict && tally.info.missing > 0)
      throw new JobEnd("failed", "an item of the reduction has no value (--strict)");
    const run = { first: total, count: 1, partials: packEntries(this.#partials.entries) };
    const first = sightOf(await this.#attempt(this.#slice(run, 0, 1)));
    await print([await this.#settled(run, 0, first)]);
  }

  #slice(run: ItemRun & { partials?: Uint8Array }, from: number, to: number): LocalSlice {
    const { bytes, partials } = run;
    return {
      start: run.first + from,
      end: run.first + to,
      codec: codecs[this.#options.spec.codec],
      reduced: partials !== undefined,
      ...(bytes === undefined ? {} : { block: packEntries(bytes.slice(from, to)) }),
      ...(partials === undefined ? {} : { partials }),
    };
  }

  async #attempt(slice: LocalSlice): Promise<LocalSliceEnd> {
    this.#options.signal.throwIfAborted();
    this.#worker ??= await this.#load();
    this.#running = slice;
    let end: LocalSliceEnd;
    try {
      end = await Promise.race([this.#worker.run(slice), this.#aborted.promise]);
    } catch (error) {
      throw isInterrupt(error) ? new Interrupted("cancel") : error;
    } finally {
      this.#running = undefined;
    }
    this.#options.signal.throwIfAborted(); // it was killed for that
    if (end.death === undefined) return end;
    await this.#discard();
    if (end.isDiskFull !== true) return end;
    throw new EverycoreError("internal", "outcomes cannot be written: the disk is full", {
      hint: "free some space where temporary files are, or set TMPDIR",
    });
  }

  async #load(): Promise<LocalWorker> {
    const { place, spec, job, debugging, onPrint, signal } = this.#options;
    this.#running = "loading";
    try {
      const loading = place.worker({ task: spec.task, job, debugging, onPrint, isOwn: true, signal });
      return await Promise.race([loading, this.#aborted.promise]);
    } catch (error) {
      if (isInterrupt(error)) throw new Interrupted("cancel");
      const failure = place.loadFailure(error);
      throw failure === undefined ? error : new JobEnd("failed", failure.reason);
    } finally {
      this.#running = undefined;
    }
  }

  #look(): void {
    const { halt, tally, onProgress } = this.#options;
    onProgress();
    if (halt !== undefined && isReached(halt, tally.info)) throw new JobEnd("cancelled", haltReason(halt));
  }

  /** Items of the next slice. A person at a debugger, and a halt, want them one by one. */
  #learn(items: number, ms: number): void {
    if (this.#options.debugging !== undefined || this.#options.halt !== undefined) return;
    const wanted = Math.ceil((items * sliceMs) / Math.max(ms, 0.01));
    this.#sliceItems = Math.max(1, Math.min(wanted, 4 * this.#sliceItems, sliceItemsMax));
  }

  async #discard(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#discard();
  }
}

function sightOf({ records, death }: LocalSliceEnd): Sight {
  const [record] = records;
  if (record !== undefined) return { record };
  return { death: death ?? { reason: "it gave no outcome" } };
}

/** Ctrl-C in the middle of a task that does not yield. */
const isInterrupt = (error: unknown): boolean =>
  (error as NodeJS.ErrnoException | null)?.code === "ERR_SCRIPT_EXECUTION_INTERRUPTED";
