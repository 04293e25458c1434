/**
 * Items on their way from a program to its job: taken from an iterable, encoded, held back.
 *
 *  E1  an item arrives at the task as it was, or is refused with its index and the path and type of what cannot
 *      travel: a Map that silently became an object would fail far from its reason;
 *  E2  an input that is read as it goes is never more than `ahead` items before its consumer (P7);
 *  E3  when the job is over the input's iterator is ended (`return()`), also while it waits.
 */
import { types } from "node:util";
import { EverycoreError, encode, limits } from "@everycore/protocol";
import type { ItemSource } from "./submission.ts";

/** What can be mapped over: an array or other iterable, an async iterable (a stream, a generator), or a range. */
export type Items<Item> = Iterable<Item> | AsyncIterable<Item>;

/** Integers that are never sent: each item is start + index. Made by `range()`. */
export class ItemRange implements Iterable<number> {
  readonly start: number;
  /** The first integer that is no item. */
  readonly end: number;

  constructor(start: number, end: number) {
    this.start = start;
    this.end = end;
  }

  *[Symbol.iterator](): Generator<number> {
    for (let item = this.start; item < this.end; item += 1) yield item;
  }
}

/**
 * The integers from `start` (default 0) up to, but without, `end`. As the items of a job they cost nothing, however
 * many they are. Throws EverycoreError `bad-input` unless both are safe integers and in order.
 */
export function range(end: number): ItemRange;
export function range(start: number, end: number): ItemRange;
export function range(first: number, second?: number): ItemRange {
  const [start, end] = second === undefined ? [0, first] : [first, second];
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || end < start) {
    throw new EverycoreError("bad-input", `there is no range from ${start} to ${end}`, {
      hint: "both must be integers, the second not less than the first",
    });
  }
  if (end - start > limits.jobItemsMax) {
    throw new EverycoreError(
      "over-limit",
      `the range has ${end - start} items; a job may have ${limits.jobItemsMax}`,
    );
  }
  return new ItemRange(start, end);
}

/** E2. How far the input is before its consumer. */
export class Lead {
  readonly #max: number;
  #taken = 0;
  #consumed = 0;
  #room = Promise.withResolvers<void>();

  constructor(max: number) {
    this.#max = max;
  }

  /** How many items may be taken now. */
  get room(): number {
    return this.#max - (this.#taken - this.#consumed);
  }

  take(): void {
    this.#taken += 1;
  }

  consume(): void {
    this.#consumed += 1;
    this.#room.resolve();
  }

  async hasRoom(): Promise<void> {
    while (this.room <= 0) {
      this.#room = Promise.withResolvers();
      await this.#room.promise;
    }
  }
}

/**
 * An input whose reading has begun: its iterator is made at once, because some streams (readline) lose what comes
 * before that, and a job has to be prepared first.
 */
export class Input {
  readonly items: Items<unknown>;
  readonly isAsync: boolean;
  readonly #iterator: Iterator<unknown> | AsyncIterator<unknown>;
  #isOver = false;

  /** Throws EverycoreError `bad-input` for what cannot be iterated. */
  constructor(items: Items<unknown>) {
    this.items = items;
    // A caller without types may pass anything.
    const given = Object(items) as Partial<AsyncIterable<unknown> & Iterable<unknown>>;
    this.isAsync = given[Symbol.asyncIterator] !== undefined;
    const iterator = given[Symbol.asyncIterator]?.() ?? given[Symbol.iterator]?.();
    if (iterator === undefined) {
      throw new EverycoreError("bad-input", "the items are neither an iterable nor an async iterable", {
        hint: "give an array, a generator, a stream, or range(n)",
      });
    }
    this.#iterator = iterator;
  }

  /** It is there as a whole: it cannot be endless, and taking it costs nobody anything. */
  get isThere(): boolean {
    return Array.isArray(this.items) || this.items instanceof ItemRange;
  }

  next(): IteratorResult<unknown> | Promise<IteratorResult<unknown>> {
    return this.#iterator.next();
  }

  /** It came to its end by itself. */
  finished(): void {
    this.#isOver = true;
  }

  /** E3. Not waited for: a generator that waits for something hears of it only after that. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    void (async () => this.#iterator.return?.())().catch(() => {});
  }
}

export interface SourceOptions {
  readonly input: Input;
  /** Absent: the input is read as fast as the cluster stores it. */
  readonly lead: Lead | undefined;
  /** Aborted when the job needs no more input. */
  readonly signal: AbortSignal;
}

/** Items of one list: enough to make the loop cheap, few enough to keep the list small. */
const itemsPerList = 1_024;

/** The items, encoded, as a submit reads them. */
export async function* encodedItems({ input, lead, signal }: SourceOptions): ItemSource {
  const { wait, release } = interruptible(signal);
  let index = 0;
  let isWhole = false;
  try {
    while (!isWhole) {
      if (lead !== undefined) await wait(lead.hasRoom());
      const most = input.isAsync ? 1 : Math.min(itemsPerList, lead?.room ?? itemsPerList);
      const list: Uint8Array[] = [];
      while (list.length < most) {
        signal.throwIfAborted();
        const step = input.next();
        const next = "then" in step ? await wait(step) : step;
        isWhole = next.done === true;
        if (next.done === true) break;
        lead?.take();
        list.push(encodeItem(next.value, index));
        index += 1;
      }
      if (list.length > 0) yield list;
    }
    input.finished();
  } finally {
    release();
    input.end();
  }
}

/**
 * Waits that end with the signal, one at a time. Not Promise.race with a promise that lives as long as the input:
 * that would keep something of every item ever waited for.
 */
function interruptible(signal: AbortSignal): {
  readonly wait: <T>(promise: PromiseLike<T>) => Promise<T>;
  readonly release: () => void;
} {
  let interrupt = (): void => {};
  const abort = (): void => interrupt();
  signal.addEventListener("abort", abort, { once: true });
  const wait = <T>(promise: PromiseLike<T>): Promise<T> => {
    signal.throwIfAborted();
    const { promise: answer, resolve, reject } = Promise.withResolvers<T>();
    interrupt = () => reject(signal.reason);
    promise.then(resolve, reject);
    return answer;
  };
  return { wait, release: () => signal.removeEventListener("abort", abort) };
}

/** E1. One item as msgpack. Throws EverycoreError `bad-input` naming the index, the path and the type. */
export function encodeItem(item: unknown, index: number): Uint8Array {
  try {
    return encode(plain(item, "", []));
  } catch (error) {
    if (!(error instanceof Untransferable)) throw error;
    const { path, message, hint } = error;
    const where = path === "" ? `item ${index}` : `item ${index}: ${path.replace(/^\./, "")}`;
    throw new EverycoreError("bad-input", `${where} is ${message}`, { hint });
  }
}

class Untransferable extends Error {
  readonly path: string;
  readonly hint: string;

  constructor(path: string, what: string, hint: string) {
    super(what);
    this.path = path;
    this.hint = hint;
  }
}

const depthMax = 200;
const int64Max = 2n ** 63n - 1n;

/** The value as msgpack keeps it; `above` are the objects that it lies in. */
function plain(value: unknown, path: string, above: readonly object[]): unknown {
  switch (typeof value) {
    case "string":
      if (value.isWellFormed()) return value;
      throw new Untransferable(path, "a string with half of a surrogate pair", "send it as bytes");
    case "number":
      // As a 64-bit integer, so that a Python task gets an int and not a float.
      return Number.isSafeInteger(value) && Math.abs(value) >= 2 ** 32 ? BigInt(value) : value;
    case "boolean":
      return value;
    case "bigint":
      return plainBigint(value, path);
    case "object":
      return value === null ? null : plainObject(value, path, above);
    case "undefined":
      throw new Untransferable(path, "undefined", "send null, or leave it out");
    case "function":
    case "symbol":
      throw new Untransferable(path, `a ${typeof value}, which cannot be sent`, "send what it needs instead");
  }
}

/** The task's side makes numbers of integers that fit one: such a bigint would come as another type. */
function plainBigint(value: bigint, path: string): bigint {
  if (value > int64Max || value < -int64Max - 1n)
    throw new Untransferable(path, "a bigint beyond 64 bits", "send it as text");
  if (value >= -(2n ** 53n) && value <= 2n ** 53n)
    throw new Untransferable(path, "a bigint that would arrive as a number", "send Number(x), or text");
  return value;
}

function plainObject(value: object, path: string, above: readonly object[]): unknown {
  if (types.isUint8Array(value)) return value;
  if (types.isDate(value)) {
    if (!Number.isNaN(value.getTime())) return value;
    throw new Untransferable(path, "an invalid Date", "send null");
  }
  if (above.includes(value)) throw new Untransferable(path, "circular", "send a tree of plain values");
  if (above.length >= depthMax)
    throw new Untransferable(path.slice(0, 40), `nested deeper than ${depthMax}`, "send it as text");
  const within = [...above, value];
  if (Array.isArray(value)) return Array.from(value, (entry, at) => plain(entry, `${path}[${at}]`, within));
  const prototype: unknown = Object.getPrototypeOf(value);
  // An object whose prototype has none is plain, of whatever realm it comes.
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  if (!isPlain || types.isMap(value) || types.isSet(value) || types.isPromise(value))
    throw foreign(value, path);
  const entries: [string, unknown][] = [];
  for (const [key, entry] of Object.entries(value)) {
    if (entry !== undefined) entries.push([key, plain(entry, `${path}.${key}`, within)]);
  }
  return Object.fromEntries(entries);
}

function foreign(value: object, path: string): Untransferable {
  const name = value.constructor.name || "object of a class";
  const hint =
    types.isMap(value) || types.isSet(value)
      ? `send an array: [...${name === "Map" ? "map" : "set"}]`
      : types.isAnyArrayBuffer(value) || ArrayBuffer.isView(value)
        ? "send its bytes as a Uint8Array, or an array of numbers"
        : "send a plain object with what the task needs of it";
  return new Untransferable(path, `a ${name}, which would not arrive as one`, hint);
}
