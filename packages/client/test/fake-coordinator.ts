/**
 * The other side of the client's tests: a real gRPC server over real sockets that keeps jobs in memory, "runs" every
 * item by a function of the test, and breaks streams where the test says so. Its answers follow proto/ to the letter.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { Metadata, Server, ServerCredentials, status } from "@grpc/grpc-js";
import type {
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedHandleCall,
  sendUnaryData,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import {
  PackedEntries,
  codecs,
  decodeSpec,
  encodeErrorInfo,
  encodeSpec,
  outcomeStatus,
  packEntries,
  packOutcome,
} from "@everycore/protocol";
import type { JobSpec } from "@everycore/protocol";

const folder = join(import.meta.dirname, "../../../proto");

/** What an item becomes: text of a JSON value, or an error's message. */
export type FakeTask = (item: string, index: number) => { json: string } | { error: string };

const batchItemsMax = 5_000;

interface ResultsCall {
  readonly job: string;
  readonly from: number;
  readonly unordered: boolean;
}

interface FakeJob {
  readonly id: string;
  readonly spec: JobSpec;
  readonly items: string[];
  total: number | undefined;
  state: string;
}

export interface FakeOptions {
  readonly secret?: string;
  readonly task?: FakeTask;
  /** Breaks the first submit stream after so many blocks. */
  readonly breakSubmitAfterBlocks?: number;
  /** Ends the first results stream with UNAVAILABLE after so many outcomes. */
  readonly breakResultsAfter?: number;
  /** Items and bundles arrive one byte short. */
  readonly isCutting?: boolean;
  /** Outcomes longer than this travel in pieces of this size. */
  readonly pieceBytes?: number;
}

export class FakeCoordinator implements AsyncDisposable {
  readonly secret: string;
  readonly jobs = new Map<string, FakeJob>();
  readonly bundles = new Map<string, Buffer>();
  /** Sizes, in items, of the blocks received. */
  readonly blocks: number[] = [];
  resultsCalls = 0;
  submitCalls = 0;
  address = "";
  /** All that it knows of, as its answers name them. */
  known: readonly string[] = [];
  readonly #options: FakeOptions;
  #server = new Server();
  #waiting: (() => void)[] = [];

  constructor(options: FakeOptions = {}) {
    this.#options = options;
    this.secret = options.secret ?? "0123456789abcdef0123456789abcdef";
  }

  async start(port = 0): Promise<this> {
    const loaded = loadSync(
      ["jobs", "nodes", "cluster"].map((name) => `everycore/v1/${name}.proto`),
      {
        includeDirs: [folder],
        longs: Number,
        enums: String,
        defaults: true,
        oneofs: true,
      },
    );
    this.#server = new Server();
    // proto-loader types its result as any definition; this name is a service.
    const service = loaded["everycore.v1.JobService"] as unknown as ServiceDefinition;
    const handlers: Record<string, UntypedHandleCall> = {
      StatBundle: this.#unary<{ digest: string }>(({ digest }) => ({ present: this.bundles.has(digest) })),
      PutBundle: this.#putBundle.bind(this),
      GetBundle: (call: ServerWritableStream<{ digest: string }, object>) =>
        this.#pieces(call, this.bundles.get(call.request.digest)!),
      Item: (call: ServerWritableStream<{ job: string; index: number }, object>) => {
        const { id, spec, items } = this.#find(call.request.job);
        const item = Buffer.from(items[call.request.index]!);
        call.write({ head: { job: id, spec: encodeSpec(spec), bytes: item.length } });
        this.#pieces(call, item);
      },
      Submit: this.#submit.bind(this),
      Results: (call: ServerWritableStream<ResultsCall, object>) => void this.#results(call),
      Get: this.#unary<{ job: string }>(({ job }) => this.#info(this.#find(job))),
      Cancel: this.#unary<{ job: string }>(({ job }) => this.#cancel(this.#find(job))),
      Watch: (call: ServerWritableStream<{ job: string }, object>) => void this.#watch(call),
    };
    this.#server.addService(service, handlers);
    const bound = Promise.withResolvers<number>();
    this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, at) =>
      error ? bound.reject(error) : bound.resolve(at),
    );
    this.address = `127.0.0.1:${await bound.promise}`;
    return this;
  }

  /** Dies, and comes back at the same address with its jobs. */
  async restart(): Promise<void> {
    this.#server.forceShutdown();
    await this.start(Number(this.address.split(":")[1]));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    return Promise.resolve();
  }

  #find(id: string): FakeJob {
    const job = [...this.jobs.values()].find((candidate) => candidate.id.startsWith(id));
    if (job === undefined) throw failure(status.NOT_FOUND, "not-found", `there is no job ${id}`);
    return job;
  }

  #isAllowed(metadata: Metadata): boolean {
    return metadata.get("authorization")[0] === `Bearer ${this.secret}`;
  }

  #unary<Request>(answer: (request: Request) => object): UntypedHandleCall {
    return (call: ServerUnaryCall<Request, object>, done: sendUnaryData<object>) => {
      try {
        if (!this.#isAllowed(call.metadata)) throw failure(status.UNAUTHENTICATED, "refused", "wrong secret");
        const head = new Metadata();
        head.set("ec-coordinators", this.known.join(","));
        call.sendMetadata(head);
        done(null, answer(call.request));
      } catch (error) {
        done(error as Error);
      }
    };
  }

  #pieces(
    call: ServerWritableStream<never, object> | ServerWritableStream<object, object>,
    all: Buffer,
  ): void {
    const bytes = this.#options.isCutting === true ? all.subarray(0, -1) : all;
    for (let at = 0; at < bytes.length; at += 3) call.write({ data: bytes.subarray(at, at + 3) });
    call.end();
  }

  #putBundle(
    call: ServerReadableStream<{ head?: { digest: string }; data?: Buffer }, object>,
    done: sendUnaryData<object>,
  ): void {
    const parts: Buffer[] = [];
    call.on("data", (message: { part: string; data?: Buffer }) => {
      if (message.part === "data") parts.push(message.data!);
    });
    call.on("end", () => {
      const bytes = Buffer.concat(parts);
      const digest = createHash("sha256").update(bytes).digest("hex");
      this.bundles.set(digest, bytes);
      done(null, { digest });
    });
  }

  #submit(call: ServerDuplexStream<Record<string, never>, object>): void {
    this.submitCalls += 1;
    let blocksLeft = this.submitCalls === 1 ? (this.#options.breakSubmitAfterBlocks ?? Infinity) : Infinity;
    let job: FakeJob | undefined;
    call.on(
      "data",
      (message: {
        part: string;
        open: { requestId: string; spec: Buffer };
        block: { first: number; count: number; data: Buffer };
        close: { total: number };
      }) => {
        if (message.part === "open") {
          const id = createHash("sha256").update(message.open.requestId).digest("hex").slice(0, 20);
          job = this.jobs.get(id) ?? {
            id,
            spec: decodeSpec(message.open.spec),
            items: [],
            total: undefined,
            state: "accepting",
          };
          this.jobs.set(id, job);
          call.write({ accepted: { job: id, appended: job.items.length } });
        } else if (message.part === "block") {
          if (blocksLeft < 0) return; // the stream is broken
          this.#append(job!, message.block);
          blocksLeft -= 1;
          if (blocksLeft < 0) call.emit("error", failure(status.UNAVAILABLE, "", "going down"));
          else call.write({ appended: job!.items.length });
        } else {
          if (message.close.total !== (job!.spec.rangeItems ?? job!.items.length))
            throw new Error("closed at a wrong total");
          job!.total = message.close.total;
          if (job!.state === "accepting") job!.state = "done";
          this.#wake();
          call.write({ closed: this.#info(job!) });
          call.end();
        }
      },
    );
  }

  #append(job: FakeJob, block: { first: number; count: number; data: Buffer }): void {
    if (block.first !== job.items.length)
      throw new Error(`block at ${block.first}, expected ${job.items.length}`);
    const entries = new PackedEntries(block.data);
    for (let at = 0; at < entries.count; at += 1) job.items.push(entries.entry(at).toString());
    this.blocks.push(block.count);
    this.#wake();
  }

  #cancel(job: FakeJob): object {
    job.state = "cancelled";
    job.total ??= job.items.length;
    this.#wake();
    return this.#info(job);
  }

  async #results(call: ServerWritableStream<ResultsCall, object>): Promise<void> {
    this.resultsCalls += 1;
    const isFirst = this.resultsCalls === 1;
    let left = isFirst ? (this.#options.breakResultsAfter ?? Infinity) : Infinity;
    const job = this.#find(call.request.job);
    for (let index = call.request.from; !call.cancelled; index += 1) {
      while (job.total === undefined && index >= job.items.length)
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (index >= (job.total ?? Infinity)) break;
      if (left === 0) return void call.emit("error", failure(status.UNAVAILABLE, "", "going down"));
      const count = Math.min(batchItemsMax, left, (job.total ?? job.items.length) - index);
      left -= count;
      let hasRoom = true;
      for (const message of this.#outcomes(job, index, count)) hasRoom = call.write(message);
      index += count - 1;
      if (!hasRoom) await new Promise((resolve) => call.once("drain", resolve));
    }
    call.write({ end: this.#info(job) });
    call.end();
  }

  *#outcomes(job: FakeJob, start: number, count: number): Generator<object> {
    const entries: Buffer[] = [];
    for (let index = start; index < start + count; index += 1) {
      const { code, codec, payload } = this.#outcome(job, index);
      if (this.#options.pieceBytes === undefined) entries.push(packOutcome(code, codec, 5, payload));
      else yield* piecesOf({ index, status: code, codec, payload, size: this.#options.pieceBytes });
    }
    if (entries.length === 0) return;
    yield { batch: { runs: [{ start, count }], data: packEntries(entries), node: "0123456789abcdef" } };
  }

  #outcome(job: FakeJob, index: number): { code: number; codec: number; payload: Buffer } {
    const item = job.items[index] ?? String(job.spec.task.rangeStart + index);
    const outcome = (this.#options.task ?? ((text) => ({ json: text })))(item, index);
    if ("json" in outcome)
      return { code: outcomeStatus.value, codec: codecs.json, payload: Buffer.from(outcome.json) };
    const payload = encodeErrorInfo({ kind: "error", name: "Error", message: outcome.error });
    return { code: outcomeStatus.error, codec: codecs.error, payload };
  }

  async #watch(call: ServerWritableStream<{ job: string }, object>): Promise<void> {
    const job = this.#find(call.request.job);
    while (!call.cancelled) {
      call.write(this.#info(job));
      if (job.state !== "accepting") break;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    call.end();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #info(job: FakeJob): object {
    const count = job.spec.rangeItems ?? job.items.length;
    const task = this.#options.task ?? ((text: string) => ({ json: text }));
    let error = 0;
    for (let index = 0; index < count; index += 1)
      if ("error" in task(job.items[index] ?? "", index)) error += 1;
    return {
      id: job.id,
      name: job.spec.name,
      state: job.state,
      total: job.total ?? 0,
      appended: count,
      counts: { value: count - error, error },
    };
  }
}

function* piecesOf(outcome: {
  index: number;
  status: number;
  codec: number;
  payload: Buffer;
  size: number;
}): Generator<object> {
  const { payload, size, ...head } = outcome;
  for (let offset = 0; offset < payload.length; offset += size) {
    yield {
      piece: { ...head, total: payload.length, offset, data: payload.subarray(offset, offset + size) },
    };
  }
}

function failure(code: number, ours: string, details: string): Error {
  const metadata = new Metadata();
  if (ours !== "") metadata.set("ec-code", ours);
  metadata.set("ec-hint", "look it up");
  return Object.assign(new Error(details), { code, details, metadata });
}
