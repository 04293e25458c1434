/**
 * One submit: a job's specification and items on one gRPC stream, resumed by its request id when the stream breaks.
 *
 *  S1  at most `blocksInFlight` blocks are unacknowledged, and the reader of the input is held back by one block
 *      more (P7);
 *  S2  no timers: while nothing is in flight whatever there is travels at once, else what arrives meanwhile travels
 *      in the next block. So `tail -f` is live, and a fast file is packed in whole blocks;
 *  S3  an unacknowledged block is kept; the job's `appended` says after a break which of them to send again.
 */
import { randomBytes } from "node:crypto";
import { EverycoreError, encodeSpec, limits, packEntries } from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { Channel } from "./channel.ts";
import type { SubmitTracing } from "./tracing.ts";
import type { JobInfo, SubmitResponse } from "./wire-types.ts";

const blocksInFlight = 4;
/** An item travels in one gRPC message, whatever larger items the log could keep. */
const itemBytesMax = Math.min(limits.itemBytesMax, limits.grpcMessageBytesMax - 4096);

/** Names one submit: repeated after a break, it is the same job. */
export const newRequestId = (): string => randomBytes(16).toString("hex");

/** Items, as bytes in the job's codec; each list holds what was there at once. */
export type ItemSource = AsyncIterable<readonly Uint8Array[]>;

export interface SubmitOptions {
  readonly requestId: string;
  readonly spec: JobSpec;
  /** Absent for `range` jobs. */
  readonly items?: ItemSource;
  /** The client will not wait: a broken stream closes the job at its last durable block. */
  readonly detached?: boolean;
  /** The input's length is unknown. */
  readonly pipe?: boolean;
  /** Bytes of the input where they are known beforehand: a large one gets a log segment of its own. */
  readonly inputBytes?: number;
  readonly signal?: AbortSignal | undefined;
}

interface Block {
  readonly first: number;
  readonly items: readonly Uint8Array[];
}

type Request =
  | { open: { requestId: string; spec: Buffer; detached: boolean; pipe: boolean; inputBytes: number } }
  | { block: { first: number; count: number; data: Buffer } }
  | { close: { total: number } };

export class Submission {
  readonly #channel: Channel;
  readonly #tracing: SubmitTracing;
  readonly #options: SubmitOptions;
  readonly #accepted = Promise.withResolvers<string>();
  readonly #closed: Promise<JobInfo>;
  readonly #queue: Uint8Array[] = [];
  readonly #unacknowledged: Block[] = [];
  #queuedBytes = 0;
  /** Index of the first queued item. */
  #first = 0;
  #isInputEnded = false;
  #inputError: unknown;
  #wake = Promise.withResolvers<void>();
  #room = Promise.withResolvers<void>();
  readonly #stopReading = new AbortController();
  readonly #reading: Promise<void>;

  constructor(channel: Channel, tracing: SubmitTracing, options: SubmitOptions) {
    this.#channel = channel;
    this.#tracing = tracing;
    this.#options = options;
    // The reader is not waited for: it may sit in a read of stdin that nobody can cut short.
    this.#reading = this.#readInput();
    this.#closed = this.#traced().finally(() => {
      this.#stopReading.abort();
      this.#room.resolve();
    });
    this.#accepted.promise.catch(() => {}); // whoever awaits `closed` hears of it there
    this.#closed.catch((error: unknown) => this.#accepted.reject(error));
  }

  /** Resolves when the input is no longer read. */
  get inputReleased(): Promise<void> {
    return this.#reading;
  }

  /** The job's id, once the cluster has it. */
  get accepted(): Promise<string> {
    return this.#accepted.promise;
  }

  /** The job once its whole input is durable (P1). */
  get closed(): Promise<JobInfo> {
    return this.#closed;
  }

  async #readInput(): Promise<void> {
    try {
      for await (const list of this.#options.items ?? []) {
        for (const item of list) {
          if (item.length > itemBytesMax) throw tooLarge(this.#first + this.#queue.length, item.length);
          this.#queue.push(item);
          this.#queuedBytes += item.length + 4;
        }
        this.#wake.resolve();
        while (this.#queuedBytes > limits.blockBytesMax && !this.#stopReading.signal.aborted) {
          this.#room = Promise.withResolvers();
          await this.#room.promise; // S1
        }
        if (this.#stopReading.signal.aborted) return;
      }
      this.#isInputEnded = true;
    } catch (error) {
      this.#inputError = error;
    }
    this.#wake.resolve();
  }

  async #traced(): Promise<JobInfo> {
    const { spec, end } = await this.#tracing.begin(this.#options.spec);
    try {
      const info = await this.#run(encodeSpec(spec));
      end({ job: info.id });
      return info;
    } catch (error) {
      end({ error });
      throw error;
    }
  }

  async #run(spec: Buffer): Promise<JobInfo> {
    const { signal } = this.#options;
    const patience = this.#channel.patience({ signal });
    for (;;) {
      try {
        return await this.#attempt(spec, () => patience.reset());
      } catch (error) {
        if (this.#inputError !== undefined) throw this.#inputError;
        if (signal?.aborted === true) throw signal.reason;
        await patience.after(error);
      }
    }
  }

  async #attempt(spec: Buffer, onAnswer: () => void): Promise<JobInfo> {
    const { requestId, detached = false, pipe = false, inputBytes = 0 } = this.#options;
    const over = new AbortController();
    const signal = this.#options.signal ? AbortSignal.any([this.#options.signal, over.signal]) : over.signal;
    const { call, messages } = this.#channel.duplex<Request, SubmitResponse>("JobService", "Submit", {
      signal,
    });
    call.write({ open: { requestId, spec, detached, pipe, inputBytes } });
    let sending: Promise<void> | undefined;
    const failed = Promise.withResolvers<never>();
    failed.promise.catch(() => {});
    const iterator = messages[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await Promise.race([iterator.next(), failed.promise]);
        if (next.done === true)
          throw new EverycoreError(
            "unreachable",
            `the coordinator at ${this.#channel.address} ended the submit early`,
          );
        onAnswer();
        const { accepted, appended, closed, part } = next.value;
        if (part === "closed" && closed) return closed;
        if (part === "appended") this.#acknowledge(appended ?? 0);
        if (part === "accepted" && accepted) {
          this.#acknowledge(accepted.appended);
          this.#accepted.resolve(accepted.job);
          sending ??= this.#send(call, signal);
          sending.catch(failed.reject);
        }
      }
    } finally {
      over.abort(new EverycoreError("cancelled", "the submit is over"));
      call.cancel();
      void iterator.return(undefined).catch(() => {}); // it has nothing more to say
      this.#wake.resolve(); // so that the sender sees that it is over
    }
  }

  /** S3. What is durable is forgotten; a block half of which is durable keeps its other half. */
  #acknowledge(appended: number): void {
    while (this.#unacknowledged.length > 0) {
      const block = this.#unacknowledged[0]!;
      const end = block.first + block.items.length;
      if (end > appended) {
        if (block.first < appended) {
          this.#unacknowledged[0] = { first: appended, items: block.items.slice(appended - block.first) };
        }
        break;
      }
      this.#unacknowledged.shift();
    }
    this.#wake.resolve();
  }

  async #send(call: ClientDuplexStream<Request, SubmitResponse>, signal: AbortSignal): Promise<void> {
    for (const block of this.#unacknowledged.slice()) await this.#write(call, block, signal);
    for (;;) {
      if (signal.aborted) return;
      if (this.#inputError !== undefined) throw this.#inputError;
      this.#wake = Promise.withResolvers();
      const inFlight = this.#unacknowledged.length;
      const isFull = this.#queuedBytes >= limits.blockBytesMax || this.#queue.length >= limits.blockItemsMax;
      const mayGo = inFlight === 0 || ((isFull || this.#isInputEnded) && inFlight < blocksInFlight); // S1, S2
      if (this.#queue.length > 0 && mayGo) {
        await this.#write(call, this.#cutBlock(), signal);
      } else if (this.#queue.length === 0 && this.#isInputEnded) {
        call.write({ close: { total: this.#options.spec.rangeItems ?? this.#first } });
        call.end();
        return;
      } else {
        await this.#wake.promise;
      }
    }
  }

  #cutBlock(): Block {
    let bytes = 0;
    let count = 0;
    while (count < this.#queue.length && count < limits.blockItemsMax) {
      const size = this.#queue[count]!.length + 4;
      if (count > 0 && bytes + size > limits.blockBytesMax) break;
      bytes += size;
      count += 1;
    }
    const block = { first: this.#first, items: this.#queue.splice(0, count) };
    this.#first += count;
    this.#queuedBytes -= bytes;
    this.#unacknowledged.push(block);
    if (this.#queuedBytes <= limits.blockBytesMax) this.#room.resolve();
    return block;
  }

  async #write(
    call: ClientDuplexStream<Request, SubmitResponse>,
    block: Block,
    signal: AbortSignal,
  ): Promise<void> {
    const { first, items } = block;
    const isWritten = call.write({ block: { first, count: items.length, data: packEntries(items) } });
    if (isWritten || signal.aborted) return;
    const drained = Promise.withResolvers<void>();
    const go = (): void => drained.resolve();
    call.once("drain", go);
    signal.addEventListener("abort", go, { once: true });
    await drained.promise;
    signal.removeEventListener("abort", go);
  }
}

const tooLarge = (index: number, bytes: number): EverycoreError =>
  new EverycoreError(
    "over-limit",
    `item ${index} has ${bytes} bytes; an item may have ${itemBytesMax} (itemBytesMax)`,
    {
      hint: "put it into a file that the nodes can read, and make the file's name the item",
    },
  );
