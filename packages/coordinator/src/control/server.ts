/**
 * The gRPC server: loads the contract, lets nobody in without the secret, and turns handlers that return or
 * throw into calls that end once.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { EverycoreError, limits } from "@everycore/protocol";
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  sendUnaryData,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { Logger } from "pino";
import type { Metrics } from "../metrics.ts";
import { bearerCheck } from "./auth.ts";
import { toServiceError } from "./errors.ts";

const protoFiles = ["jobs", "nodes", "cluster", "agent"].map((name) => `everycore/v1/${name}.proto`);
const stopMs = 500;

/** The contract's files: in a checkout at its root, in a published package beside `src`. */
function protoFolder(): string {
  const folders = [join(import.meta.dirname, "../../../../proto"), join(import.meta.dirname, "../../proto")];
  const found = folders.find((folder) => existsSync(join(folder, protoFiles[0]!)));
  if (found === undefined)
    throw new EverycoreError("internal", "the gRPC definitions (proto/) are missing from this installation");
  return found;
}

// Messages are as proto-loader gives them: camel case, defaults filled in. Each handler states its fields.
export type Message = object;

interface Stream<In, Out> {
  /** Requests in order; the next is taken when the last has been dealt with. */
  readonly requests: AsyncIterable<In>;
  /** Resolves when the wire wants more. */
  readonly write: (message: Out) => Promise<void>;
  /** Aborted when the caller is gone. */
  readonly signal: AbortSignal;
}

export type Handler =
  | { readonly kind: "unary"; readonly run: (request: never, signal: AbortSignal) => Promise<Message> }
  | {
      readonly kind: "upload";
      readonly run: (requests: AsyncIterable<never>, signal: AbortSignal) => Promise<Message>;
    }
  | {
      readonly kind: "download";
      readonly run: (request: never, stream: Omit<Stream<never, Message>, "requests">) => Promise<void>;
    }
  | { readonly kind: "duplex"; readonly run: (stream: Stream<never, Message>) => Promise<void> };

export const unary = <In>(run: (request: In, signal: AbortSignal) => Promise<Message>): Handler => ({
  kind: "unary",
  run,
});
export const upload = <In>(
  run: (requests: AsyncIterable<In>, signal: AbortSignal) => Promise<Message>,
): Handler => ({
  kind: "upload",
  run,
});
export const download = <In>(
  run: (request: In, stream: Omit<Stream<never, Message>, "requests">) => Promise<void>,
): Handler => ({ kind: "download", run });
export const duplex = <In>(run: (stream: Stream<In, Message>) => Promise<void>): Handler => ({
  kind: "duplex",
  // Its messages come from proto-loader by this service's own definition.
  run: run as (stream: Stream<never, Message>) => Promise<void>,
});

type Call =
  | handleUnaryCall<never, Message>
  | handleClientStreamingCall<never, Message>
  | handleServerStreamingCall<never, Message>
  | handleBidiStreamingCall<never, Message>;

export type Handlers = Readonly<Record<string, Handler>>;

export interface ServerOptions {
  readonly secret: string;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class ControlServer {
  readonly #options: ServerOptions;
  readonly #server: Server;
  readonly #check: (authorization: string | undefined) => void;
  readonly #definitions = loadSync(protoFiles, {
    includeDirs: [protoFolder()],
    keepCase: false,
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  });

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#check = bearerCheck(options.secret);
    this.#server = new Server({
      "grpc.max_receive_message_length": limits.grpcMessageBytesMax,
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 5_000,
      "grpc.keepalive_permit_without_calls": 1,
      "grpc.http2.min_ping_interval_without_data_ms": 1_000,
    });
  }

  add(service: string, handlers: Handlers): void {
    // proto-loader types its result as any definition; these names are services.
    const definition = this.#definitions[`everycore.v1.${service}`] as unknown as ServiceDefinition;
    const implementation: UntypedServiceImplementation = {};
    for (const [name, handler] of Object.entries(handlers)) {
      // grpc-js types an untyped handler as of any message; ours are of the service's own definition.
      implementation[name] = this.#wrap(`${service}.${name}`, handler) as UntypedHandleCall;
    }
    this.#server.addService(definition, implementation);
  }

  /** Gives the bound port. */
  listen(address: string): Promise<number> {
    const bound = Promise.withResolvers<number>();
    this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) return bound.resolve(port);
      const isTaken = error.message.includes("EADDRINUSE");
      const why = isTaken ? "the port is taken" : error.message;
      bound.reject(
        new EverycoreError("conflict", `cannot listen on ${address}: ${why}`, {
          hint: "choose another port with --listen HOST:PORT, or port 0 for any",
          cause: error,
        }),
      );
    });
    return bound.promise;
  }

  /** Lets calls end for a moment, then ends them. */
  async close(): Promise<void> {
    const ended = Promise.withResolvers<void>();
    this.#server.tryShutdown(() => ended.resolve());
    const force = setTimeout(() => this.#server.forceShutdown(), stopMs);
    await ended.promise;
    clearTimeout(force);
  }

  #wrap(method: string, handler: Handler): Call {
    const { log, metrics } = this.#options;
    const failed = (error: unknown): ReturnType<typeof toServiceError> => {
      const made = toServiceError(error, log, method);
      metrics.handled(method, String(made.metadata.get("ec-code")[0]));
      if (made.metadata.get("ec-code")[0] === "bad-input") metrics.malformed("rpc");
      return made;
    };
    const run = async <T>(metadata: Metadata, act: () => Promise<T>): Promise<T> => {
      this.#check(metadata.get("authorization")[0]?.toString());
      const result = await act();
      metrics.handled(method, "ok");
      return result;
    };
    switch (handler.kind) {
      case "unary":
        return (call: ServerUnaryCall<never, Message>, callback: sendUnaryData<Message>) => {
          const { signal } = callerOf(call);
          run(call.metadata, () => handler.run(call.request, signal)).then(
            (response) => callback(null, response),
            (error: unknown) => callback(failed(error)),
          );
        };
      case "upload":
        return (call: ServerReadableStream<never, Message>, callback: sendUnaryData<Message>) => {
          const { signal } = callerOf(call);
          run(call.metadata, () => handler.run(call as AsyncIterable<never>, signal)).then(
            (response) => callback(null, response),
            (error: unknown) => callback(failed(error)),
          );
        };
      case "download":
        return (call: ServerWritableStream<never, Message>) => {
          const { signal } = callerOf(call);
          const stream = { write: writerOf(call), signal };
          run(call.metadata, () => handler.run(call.request, stream)).then(
            () => call.end(),
            (error: unknown) => signal.aborted || call.emit("error", failed(error)),
          );
        };
      case "duplex":
        return (call: ServerDuplexStream<never, Message>) => {
          const { signal } = callerOf(call);
          const stream = { requests: requestsOf(call), write: writerOf(call), signal };
          run(call.metadata, () => handler.run(stream)).then(
            () => call.end(),
            (error: unknown) => signal.aborted || call.emit("error", failed(error)),
          );
        };
    }
  }
}

function callerOf(call: { on(event: "cancelled", listener: () => void): unknown }): { signal: AbortSignal } {
  const gone = new AbortController();
  call.on("cancelled", () => gone.abort(new EverycoreError("cancelled", "the caller is gone")));
  return { signal: gone.signal };
}

/** Not the stream's own iterator: that destroys a duplex call when its reader stops early. */
async function* requestsOf<T>(call: ServerDuplexStream<T, Message>): AsyncGenerator<T> {
  let wake = Promise.withResolvers<void>();
  let isOver = false;
  const rouse = (): void => {
    wake.resolve();
  };
  const end = (): void => {
    isOver = true;
    wake.resolve();
  };
  call.on("readable", rouse);
  call.on("end", end);
  call.on("cancelled", end);
  call.on("error", end);
  for (;;) {
    const message = call.read() as T | null; // object mode: one whole message
    if (message !== null) {
      yield message;
      continue;
    }
    if (isOver) return;
    await wake.promise;
    wake = Promise.withResolvers();
  }
}

function writerOf(
  call: ServerWritableStream<never, Message> | ServerDuplexStream<never, Message>,
): (message: Message) => Promise<void> {
  return async (message) => {
    if (call.cancelled) throw new EverycoreError("cancelled", "the caller is gone");
    if (call.write(message)) return;
    const ready = Promise.withResolvers<void>();
    call.once("drain", ready.resolve);
    call.once("cancelled", ready.resolve);
    await ready.promise;
    call.off("drain", ready.resolve);
    call.off("cancelled", ready.resolve);
  };
}
