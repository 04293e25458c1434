/**
 * Items that ended well, run once more here with other code: whether it gives the same bytes. They are spread over the
 * job, chosen by its seed. Nothing is recorded, so that a difference leaves every value where it is.
 */
import { codeFields } from "@everycore/client/internal";
import type { Connection, ItemInput, JobInfo, Outcome, TaskCode } from "@everycore/client/internal";
import type { LocalWorker } from "@everycore/node-agent/local";
import { codecs, EverycoreError, packEntries } from "@everycore/protocol";
import { readError, valueText } from "../terminal/result-line.ts";
import { isSame } from "./comparison.ts";
import { Place } from "./place.ts";
import { crashOutcome, failedOutcome, outcomeOf } from "./records.ts";

export interface VerifyOptions {
  readonly cluster: Connection;
  readonly info: JobInfo;
  readonly code: TaskCode;
  readonly count: number;
  readonly signal: AbortSignal;
}

export interface Verified {
  readonly checked: number;
  /** A line for each item that ended otherwise. */
  readonly different: readonly string[];
}

const shownCharacters = 100;

export async function verifyCode(options: VerifyOptions): Promise<Verified> {
  const { cluster, code, signal } = options;
  await using place = await Place.make(code.bundle);
  const bench = new Bench(place, options);
  const different: string[] = [];
  let checked = 0;
  try {
    for await (const there of goodItems(options)) {
      const here = await bench.run(
        await cluster.itemInput(options.info.id, there.index, { signal }),
        there.index,
      );
      checked += 1;
      if (here.isValue && isSame(here, there)) continue;
      const now = here.isValue ? cut(valueText(here)) : errorText(here);
      different.push(`item ${there.index}: ${cut(valueText(there))} became ${now}`);
    }
  } finally {
    await bench[Symbol.asyncDispose]();
  }
  return { checked, different };
}

/** One out of each of so many parts of the job, at a place that the seed decides; a part without a value has none. */
async function* goodItems({ cluster, info, count, signal }: VerifyOptions): AsyncGenerator<Outcome> {
  const parts = Math.min(count, info.total);
  const offset = Number.parseInt(info.seed.slice(0, 8), 16) / 2 ** 32;
  for (let part = 0; part < parts; part += 1) {
    const start = Math.floor((part * info.total) / parts);
    const end = Math.floor(((part + 1) * info.total) / parts);
    const middle = start + Math.floor(((offset + part * golden) % 1) * (end - start));
    const found =
      (await firstGood({ cluster, info, from: middle, end, signal })) ??
      (await firstGood({ cluster, info, from: start, end: middle, signal }));
    if (found !== undefined) yield found;
  }
}

/** Steps that never fall into a pattern of the input. */
const golden = 0.618033988749895;

async function firstGood(options: {
  cluster: Connection;
  info: JobInfo;
  from: number;
  end: number;
  signal: AbortSignal;
}): Promise<Outcome | undefined> {
  const { cluster, info, from, end, signal } = options;
  if (from >= end) return undefined;
  for await (const outcome of cluster.results(info.id, { from, follow: false, signal })) {
    if (outcome.index >= end) return undefined;
    if (outcome.isValue) return outcome;
  }
  return undefined;
}

/** A worker with the new code, and another one where that has died. */
class Bench implements AsyncDisposable {
  readonly #place: Place;
  readonly #options: VerifyOptions;
  #worker: LocalWorker | undefined;
  #over = new AbortController();

  constructor(place: Place, options: VerifyOptions) {
    this.#place = place;
    this.#options = options;
  }

  async run(input: ItemInput, index: number): Promise<Outcome> {
    const { signal } = this.#options;
    const { spec, bytes } = input;
    const worker = (this.#worker ??= await this.#start(input));
    const { itemTimeoutMs } = spec.task;
    const limit =
      itemTimeoutMs === undefined ? undefined : setTimeout(() => this.#over.abort(), itemTimeoutMs);
    try {
      const block = spec.codec === "range" ? {} : { block: packEntries([bytes]) };
      const end = await worker.run({
        start: index,
        end: index + 1,
        codec: codecs[spec.codec],
        ...block,
        reduced: false,
      });
      signal.throwIfAborted();
      const [record] = end.records;
      if (end.death !== undefined) await this.#end();
      if (record !== undefined) return outcomeOf(record);
      if (this.#over.signal.aborted)
        return failedOutcome(index, "timeout", { message: `ran longer than ${itemTimeoutMs} ms` });
      return crashOutcome(index, end.death ?? {}, "");
    } finally {
      clearTimeout(limit);
    }
  }

  async #start({ job, spec }: ItemInput): Promise<LocalWorker> {
    const { code, signal } = this.#options;
    this.#over = new AbortController();
    const worker = this.#place.worker({
      task: { ...spec.task, ...codeFields(code) },
      job,
      onPrint: (data) => void process.stderr.write(data),
      isOwn: false,
      signal: AbortSignal.any([signal, this.#over.signal]),
    });
    return worker.catch((error: unknown) => {
      const failure = this.#place.loadFailure(error);
      throw failure === undefined ? error : cannotLoad(failure.reason);
    });
  }

  async #end(): Promise<void> {
    await this.#worker?.[Symbol.asyncDispose]();
    this.#worker = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}

const cannotLoad = (reason: string): EverycoreError =>
  new EverycoreError("bad-task", `the new code cannot be loaded here: ${reason}`);

function errorText(outcome: Outcome): string {
  const { name, message } = readError(outcome);
  return cut(`${name}: ${message}`);
}

const cut = (text: string): string =>
  text.length <= shownCharacters ? text : `${text.slice(0, shownCharacters)}...`;
