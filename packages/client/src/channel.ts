/**
 * gRPC as the rest of the client sees it: calls by service and method, the secret on each, one signal per call,
 * and only EverycoreErrors out. Owns the connection; knows nothing of jobs.
 *
 *  C1  a cluster that never answered has a wrong address: said at once. One that has answered comes back: calls
 *      that may be repeated are repeated until `patienceMs` is over (P3);
 *  C2  any coordinator answers any call, and each answer names them all: when the one that is asked cannot be reached
 *      any more, the next that can be is asked from then on.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EverycoreError, limits, ToldAddresses } from "@everycore/protocol";
import { Client, Metadata, credentials } from "@grpc/grpc-js";
import type {
  ClientDuplexStream,
  ClientReadableStream,
  MethodDefinition,
  ServiceDefinition,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { translate } from "./foreign-errors.ts";

const protoFiles = ["jobs", "nodes", "cluster"].map((name) => `everycore/v1/${name}.proto`);
const unaryMs = 15_000;
const firstAnswerMs = 5_000;
const backoffMs = { first: 100, max: 1_000 };
/** Another coordinator that does not answer within this time is left out. */
const reachMs = 1_000;
/** Addresses of all coordinators, on each answer of one (coordinator/src/control/server.ts). */
const addressesKey = "ec-coordinators";

export type ServiceName = "JobService" | "NodeService" | "ClusterService";

/** The contract's files: in a checkout at its root, in a published package beside `src`. */
function protoFolder(): string {
  const candidates = [join(import.meta.dirname, "../../../proto"), join(import.meta.dirname, "../proto")];
  const found = candidates.find((folder) => existsSync(join(folder, protoFiles[0]!)));
  if (found === undefined)
    throw new EverycoreError("internal", "the gRPC definitions (proto/) are missing from this installation");
  return found;
}

let loaded: ReturnType<typeof loadSync> | undefined;

function serviceOf(name: ServiceName): ServiceDefinition {
  loaded ??= loadSync(protoFiles, {
    includeDirs: [protoFolder()],
    keepCase: false,
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  // proto-loader types its result as any definition; these names are services.
  return loaded[`everycore.v1.${name}`] as unknown as ServiceDefinition;
}

export interface CallOptions {
  /** Ends the call; it is rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface ChannelOptions {
  /** HOST:PORT of a coordinator; or of several, separated by commas, of which the first that can be reached is asked. */
  readonly address: string;
  /** The cluster's secret, as in its 0600 file. */
  readonly secret: string;
  /** How long a coordinator may be away, ms. Default 60,000; 0 gives up at once. */
  readonly patienceMs?: number;
}

export class Channel {
  readonly #given: readonly string[];
  readonly #secret: string;
  readonly #patienceMs: number;
  #client: Client;
  #address: string;
  readonly #told = new ToldAddresses();
  #moving: Promise<boolean> | undefined;
  #hasLooked = false;
  #hasAnswered = false;
  #isClosed = false;

  constructor(options: ChannelOptions) {
    this.#given = options.address.split(",");
    this.#address = this.#given[0]!;
    this.#secret = options.secret;
    this.#patienceMs = options.patienceMs ?? 60_000;
    this.#client = clientOf(this.#address);
  }

  /** Of the coordinator that is asked at the moment. */
  get address(): string {
    return this.#address;
  }

  close(): void {
    this.#isClosed = true;
    this.#client.close();
  }

  /** Before the first call, of several addresses: one that can be reached. True: it is another than before. */
  async #look(): Promise<boolean> {
    if (this.#hasLooked || this.#hasAnswered || this.#given.length < 2) return false;
    this.#hasLooked = true;
    return !(await isReady(this.#client, reachMs)) && this.#move();
  }

  /** C2. Calls that are under way at the former coordinator end as they would have. */
  #move(): Promise<boolean> {
    this.#moving ??= this.#reachOther().finally(() => (this.#moving = undefined));
    return this.#moving;
  }

  async #reachOther(): Promise<boolean> {
    const { now, former } = this.#told;
    const others = [...this.#given, ...now, ...former].filter((address) => address !== this.#address);
    for (const address of new Set(others)) {
      if (this.#isClosed) return false;
      const client = clientOf(address);
      const isThere = await isReady(client, reachMs);
      if (!isThere || this.#isClosed) {
        client.close();
        continue;
      }
      this.#client.close();
      this.#client = client;
      this.#address = address;
      return true;
    }
    return false;
  }

  #learn(metadata: Metadata): void {
    const told = metadata.get(addressesKey)[0]?.toString() ?? "";
    if (told !== "") this.#told.tell(told.split(","));
  }

  /** Asks once. For calls that must not be repeated use this; for all others `ask`. */
  async askOnce<Response>(
    service: ServiceName,
    method: string,
    request: object,
    options: CallOptions = {},
  ): Promise<Response> {
    await this.#look();
    const { signal } = options;
    const definition = this.#method(service, method);
    const promise = Promise.withResolvers<Response>();
    signal?.throwIfAborted();
    const call = this.#client.makeUnaryRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      this.#metadata(),
      { deadline: Date.now() + (this.#hasAnswered ? unaryMs : firstAnswerMs) },
      (error, response) => {
        if (error) promise.reject(translate(error, this.address, signal));
        else promise.resolve(response as Response);
      },
    );
    call.on("metadata", (head) => this.#learn(head));
    const abort = (): void => call.cancel();
    signal?.addEventListener("abort", abort, { once: true });
    return promise.promise
      .finally(() => signal?.removeEventListener("abort", abort))
      .then((response) => this.#answered(response));
  }

  ask<Response>(
    service: ServiceName,
    method: string,
    request: object,
    options: CallOptions = {},
  ): Promise<Response> {
    return this.patiently(() => this.askOnce<Response>(service, method, request, options), options);
  }

  /** Runs `action` again while the cluster is away for a while (C1). */
  async patiently<T>(action: () => Promise<T>, options: CallOptions = {}): Promise<T> {
    const wait = this.patience(options);
    for (;;) {
      try {
        return await action();
      } catch (error) {
        await wait.after(error);
      }
    }
  }

  /** The wait between attempts: rethrows what no waiting can mend, or when patience is over. */
  patience(options: CallOptions = {}): { after(error: unknown): Promise<void>; reset(): void } {
    let waitMs = backoffMs.first;
    let sinceMs: number | undefined;
    return {
      reset: () => {
        waitMs = backoffMs.first;
        sinceMs = undefined;
      },
      after: async (error) => {
        if (isAway(error) && (await this.#look())) return;
        if (!this.#mayRetry(error)) throw error;
        sinceMs ??= performance.now();
        if (performance.now() - sinceMs + waitMs > this.#patienceMs) throw error;
        if (isAway(error)) await this.#move();
        await delay(waitMs, undefined, options.signal ? { signal: options.signal } : {}).catch(() => {
          throw options.signal?.reason;
        });
        waitMs = Math.min(backoffMs.max, waitMs * 2);
      },
    };
  }

  #mayRetry(error: unknown): boolean {
    if (!(error instanceof EverycoreError)) return false;
    return error.code === "no-leader" || (error.code === "unreachable" && this.#hasAnswered);
  }

  /** Messages of a server stream; ends the call when the loop is left. */
  async *stream<Response>(
    service: ServiceName,
    method: string,
    request: object,
    options: CallOptions = {},
  ): AsyncGenerator<Response> {
    const { signal } = options;
    const definition = this.#method(service, method);
    signal?.throwIfAborted();
    const call: ClientReadableStream<unknown> = this.#client.makeServerStreamRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      this.#metadata(),
    );
    yield* this.#messagesOf<Response>(call, signal);
  }

  /** A bidirectional call: what to write into, and the messages that come back. */
  duplex<Request, Response>(
    service: ServiceName,
    method: string,
    options: CallOptions = {},
  ): {
    readonly call: ClientDuplexStream<Request, Response>;
    readonly messages: AsyncGenerator<Response>;
  } {
    const definition = this.#method(service, method);
    options.signal?.throwIfAborted();
    const call = this.#client.makeBidiStreamRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      this.#metadata(),
    ) as ClientDuplexStream<Request, Response>;
    return { call, messages: this.#messagesOf<Response>(call, options.signal) };
  }

  /** A client stream: `write` yields the requests one after the other, at the pace the wire takes them. */
  async upload<Response>(
    service: ServiceName,
    method: string,
    requests: Iterable<object>,
    options: CallOptions = {},
  ): Promise<Response> {
    const definition = this.#method(service, method);
    const answer = Promise.withResolvers<Response>();
    const call = this.#client.makeClientStreamRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      this.#metadata(),
      (error, response) =>
        error
          ? answer.reject(translate(error, this.address, options.signal))
          : answer.resolve(response as Response),
    );
    call.on("metadata", (head) => this.#learn(head));
    answer.promise.catch(() => {}); // it is awaited below; a failure while we still write must not be "unhandled"
    const abort = (): void => call.cancel();
    options.signal?.addEventListener("abort", abort, { once: true });
    try {
      for (const request of requests) {
        if (call.write(request)) continue;
        const drained = Promise.withResolvers<void>();
        call.once("drain", drained.resolve);
        await Promise.race([drained.promise, answer.promise]);
      }
      call.end();
      return this.#answered(await answer.promise);
    } finally {
      options.signal?.removeEventListener("abort", abort);
    }
  }

  async *#messagesOf<Response>(
    call: ClientReadableStream<unknown> | ClientDuplexStream<unknown, unknown>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Response> {
    const abort = (): void => call.cancel();
    signal?.addEventListener("abort", abort, { once: true });
    call.on("metadata", (head) => this.#learn(head));
    try {
      for await (const message of call) {
        this.#hasAnswered = true;
        yield message as Response;
      }
      signal?.throwIfAborted();
    } catch (error) {
      throw translate(error, this.address, signal);
    } finally {
      signal?.removeEventListener("abort", abort);
      // A cancelled call still emits its error; nobody is left to hear it.
      call.on("error", () => {});
      call.cancel();
    }
  }

  #answered<T>(response: T): T {
    this.#hasAnswered = true;
    return response;
  }

  #method(service: ServiceName, method: string): MethodDefinition<object, unknown> {
    const definition = serviceOf(service)[method];
    if (definition === undefined) throw new EverycoreError("internal", `${service} has no method ${method}`);
    return definition as MethodDefinition<object, unknown>;
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${this.#secret}`);
    return metadata;
  }
}

const clientOf = (address: string): Client =>
  new Client(address, credentials.createInsecure(), {
    "grpc.max_receive_message_length": limits.grpcMessageBytesMax,
    "grpc.max_send_message_length": limits.grpcMessageBytesMax,
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.enable_http_proxy": 0,
  });

const isAway = (error: unknown): boolean => error instanceof EverycoreError && error.code === "unreachable";

function isReady(client: Client, withinMs: number): Promise<boolean> {
  return new Promise((resolve) =>
    client.waitForReady(Date.now() + withinMs, (error) => resolve(error === undefined)),
  );
}
