/**
 * The life of a worker, the same in each runtime written in TypeScript: take a task, run slices, item after item.
 *
 *  W1  for each item: read the limit, stop if the item is not below it; run it; append one record;
 *  W2  the head of a slice is appended before its first item; a slice without head has not started;
 *  W3  between slices the event loop turns, so that the next frame is read: one slice waits in it already;
 *  W4  phases keep a failing load from being blamed on an item.
 */
import { readFileSync } from "node:fs";
import type { FromWorker, SliceFrame, TaskFrame, ToWorker } from "@everycore/protocol/worker";
import {
  codecs,
  decode,
  exitDiskFull,
  limits,
  outcomeStatus,
  PackedEntries,
  recordStatus,
} from "@everycore/protocol/worker";
import { describeBytes, errorCodec, tooLarge } from "./failures.ts";
import { decodeItem, itemReader } from "./items.ts";
import type { Combine, Partial } from "./reduction.ts";
import { combineAll, PartialStack } from "./reduction.ts";
import type { Slot } from "./slot.ts";
import { encodeValue } from "./values.ts";

/** What a runtime brings: loading, and running one item. */
export interface Runner {
  /** Throws what becomes the job's one failure. */
  load(task: TaskFrame): Promise<void>;
  /** The value, or a promise of it. Throws what the task throws. */
  run(item: unknown, index: number): unknown;
  readonly combine?: Combine | undefined;
  /** Where the items to come stand in the trace of their job; not called for jobs without. */
  readonly continueTrace?: (frame: SliceFrame) => void;
  /** Bytes of an outcome when the runtime encodes by itself (exec). */
  readonly encodes?: (result: unknown) => { status: number; codec: number; bytes: Uint8Array };
}

/** Ends the worker: its process, or what stands for it where tasks run in another's process (in-process.ts). */
export type EndWorker = (exitCode: number) => never;

const micros = (): number => Math.round(performance.now() * 1000);

export class WorkerLoop {
  readonly #runner: Runner;
  readonly #slot: Slot;
  readonly #send: (frame: FromWorker) => void;
  readonly #end: EndWorker;
  readonly #frames: ToWorker[] = [];
  #task: TaskFrame | undefined;
  #busy = false;

  constructor(
    runner: Runner,
    slot: Slot,
    send: (frame: FromWorker) => void,
    end: EndWorker = (exitCode) => process.exit(exitCode),
  ) {
    this.#runner = runner;
    this.#slot = slot;
    this.#send = send;
    this.#end = end;
  }

  /** Resolves when there is nothing more to do. */
  async take(frame: ToWorker): Promise<void> {
    this.#frames.push(frame);
    await this.#drain();
  }

  /** CPU time of this process and, where items are programs, of those that have ended. */
  #cpuMs(): number {
    const own = process.cpuUsage();
    const ownMs = (own.user + own.system) / 1000;
    return this.#runner.encodes === undefined ? ownMs : ownMs + endedChildrenMs();
  }

  async #drain(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    for (let frame = this.#frames.shift(); frame !== undefined; frame = this.#frames.shift()) {
      if (frame.t === "stop") this.#end(0);
      if (frame.t === "task") await this.#load(frame);
      else await this.#slice(frame);
    }
    this.#busy = false;
  }

  async #load(task: TaskFrame): Promise<void> {
    this.#slot.setPhase("load");
    try {
      process.chdir(task.scratch);
      await this.#runner.load(task);
      this.#task = task;
      this.#slot.setPhase("idle");
      this.#send({ t: "loaded" });
    } catch (error) {
      this.#slot.setPhase("idle");
      this.#send({ t: "initFailed", error: describeBytes(error) });
    }
  }

  async #slice(frame: SliceFrame): Promise<void> {
    const task = this.#task;
    if (task === undefined) return;
    const slot = this.#slot;
    const cpu = this.#cpuMs();
    const began = performance.now();
    let at = frame.start;
    try {
      if (frame.traceparent !== undefined) this.#runner.continueTrace?.(frame);
      slot.enter(frame.slice, frame.file);
      slot.append(frame.slice, recordStatus.head, codecs.msgpack, 0, frame.head);
      slot.setPhase("item", frame.slice);
      if (frame.partials !== undefined) at = await this.#combinePartials(frame);
      else if (frame.reduced) at = await this.#reduce(frame, task);
      else at = await this.#plain(frame, task);
    } catch (error) {
      // Tasks' errors are outcomes. A combine that throws has none to be: its span dies as a crash, not as a full disk.
      const disk = isDiskError(error);
      process.stderr.write(
        `everycore: cannot ${disk ? "write outcomes" : "go on with this slice"}: ${String(error)}\n`,
      );
      if (disk) slot.setPhase("idle", frame.slice); // no item is to blame
      this.#end(disk ? exitDiskFull : 1);
    }
    slot.setPhase("idle", frame.slice);
    this.#send({
      t: "sliceEnded",
      slice: frame.slice,
      at,
      busyMs: performance.now() - began,
      cpuMs: this.#cpuMs() - cpu,
    });
    await new Promise<void>((resolve) => setImmediate(resolve)); // W3
  }

  async #plain(frame: SliceFrame, task: TaskFrame): Promise<number> {
    const slot = this.#slot;
    const read = frame.codec === codecs.range ? undefined : itemReader(frame);
    let before = micros();
    let at = frame.start;
    while (at < frame.end && at < slot.limit()) {
      let result: unknown;
      let failed = false;
      try {
        const item = read === undefined ? task.rangeStart + at : decodeItem(frame.codec, read(at));
        result = this.#runner.run(item, at);
        if (isThenable(result)) result = await result;
      } catch (error) {
        failed = true;
        result = error;
      }
      const now = micros();
      this.#append(at, now - before, failed, result);
      before = now;
      at += 1;
    }
    return at;
  }

  #append(index: number, took: number, failed: boolean, result: unknown): void {
    if (failed) {
      this.#slot.append(index, outcomeStatus.error, errorCodec, took, describeBytes(result));
      return;
    }
    const { encodes } = this.#runner;
    if (encodes !== undefined) {
      const { status, codec, bytes } = encodes(result);
      this.#slot.append(index, status, codec, took, bytes);
      return;
    }
    try {
      const { codec, bytes } = encodeValue(result);
      if (bytes.length > limits.outcomeBytesMax) {
        const refusal = tooLarge(bytes.length, limits.outcomeBytesMax, "outcomeBytesMax");
        this.#slot.append(index, outcomeStatus.error, errorCodec, took, refusal);
      } else this.#slot.append(index, outcomeStatus.value, codec, took, bytes);
    } catch (error) {
      if (isDiskError(error)) throw error;
      this.#slot.append(index, outcomeStatus.error, errorCodec, took, describeBytes(error));
    }
  }

  async #reduce(frame: SliceFrame, task: TaskFrame): Promise<number> {
    const slot = this.#slot;
    const combine = this.#runner.combine!;
    const read = frame.codec === codecs.range ? undefined : itemReader(frame);
    const stack = new PartialStack(combine);
    let before = micros();
    let at = frame.start;
    while (at < frame.end && at < slot.limit()) {
      const made = await this.#value(at, task, () =>
        read === undefined ? task.rangeStart + at : decodeItem(frame.codec, read(at)),
      );
      const now = micros();
      if (made.error === undefined) slot.append(at, recordStatus.counted, codecs.raw, now - before, nothing);
      else slot.append(at, outcomeStatus.error, errorCodec, now - before, describeBytes(made.error));
      before = now;
      const none = made.error !== undefined;
      await stack.push({ start: at, level: 0, missing: none ? 1 : 0, none, value: made.value });
      at += 1;
    }
    for (const partial of stack.partials) this.#appendPartial(partial);
    return at;
  }

  /** Runs an item of a reduction, with its retries in place (decision 0012). */
  async #value(
    index: number,
    task: TaskFrame,
    item: () => unknown,
  ): Promise<{ value?: unknown; error?: unknown }> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return { value: await this.#runner.run(item(), index) };
      } catch (error) {
        if (attempt < task.retries) continue;
        process.stderr.write(`item ${index}: ${String(error)}\n`);
        return { error: error ?? new Error("undefined was thrown") };
      }
    }
  }

  #appendPartial(partial: Partial): void {
    const { codec, bytes } = partial.none
      ? { codec: codecs.raw, bytes: nothing }
      : encodeValue(partial.value);
    const payload = Buffer.allocUnsafe(5 + bytes.length);
    payload[0] = partial.level;
    payload.writeUInt32LE(partial.missing, 1);
    payload.set(bytes, 5);
    this.#slot.append(partial.start, recordStatus.partial, codec, 0, payload);
  }

  /** The reduction item: entries are u64 start | u8 level | u32 missing | u8 codec | bytes. */
  async #combinePartials(frame: SliceFrame): Promise<number> {
    const block = new PackedEntries(readFileSync(frame.partials!));
    const began = micros();
    try {
      const partials: Partial[] = [];
      for (let at = 0; at < block.count; at += 1) partials.push(parsePartial(block.entry(at)));
      const node = await combineAll(partials, this.#runner.combine!);
      const value = node === undefined || node.none ? null : node.value;
      this.#append(frame.start, micros() - began, false, value);
    } catch (error) {
      if (isDiskError(error)) throw error;
      this.#append(frame.start, micros() - began, true, error);
    }
    return frame.start + 1;
  }
}

function parsePartial(entry: Buffer): Partial {
  const level = entry[8]!;
  const missing = entry.readUInt32LE(9);
  const bytes = entry.subarray(14);
  const none = missing === 2 ** level;
  const start = entry.readUInt32LE(0) + entry.readUInt32LE(4) * 2 ** 32;
  return { start, level, missing, none, value: none ? undefined : decodeValue(entry[13]!, bytes) };
}

const decodeValue = (codec: number, bytes: Buffer): unknown =>
  codec === codecs.raw ? new Uint8Array(bytes) : decode(bytes);

const nothing = Buffer.alloc(0);

/** Fields cutime and cstime of proc(5); 0 where there is no /proc. Clock ticks are 10 ms on Linux. */
function endedChildrenMs(): number {
  try {
    const stat = readFileSync("/proc/self/stat", "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[13]) + Number(fields[14])) * 10;
  } catch {
    return 0;
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

export const isDiskError = (error: unknown): boolean =>
  ["ENOSPC", "EDQUOT", "EIO"].includes((error as NodeJS.ErrnoException | null)?.code ?? "");
