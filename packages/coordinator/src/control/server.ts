/**
 * The gRPC server: loads the contract, lets nobody in without the secret, decides whether a call is answered here or
 * goes on to the leader, and turns handlers that return or throw into calls that end once. Messages come and go as
 * bytes and are decoded only where they are answered; on the server's side every call is a stream both ways.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { EverycoreError, limits, times } from "@everycore/protocol";
import type {
  handleBidiStreamingCall,
  MethodDefinition,
  ServerDuplexStream,
  ServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { Metadata, Server, ServerCredentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { Logger } from "pino";
import type { Coordinators } from "../coordinators.ts";
import type { Metrics } from "../metrics.ts";
import { bearerCheck } from "./auth.ts";
import { NotLeading, toServiceError } from "./errors.ts";
import type { PassedCall } from "./forward.ts";
import { forwardedKey, PassedFailure } from "./forward.ts";
import type { Handler, Handlers, Message } from "./handlers.ts";
import { requestsOf, signalOf, writerOf } from "./streams.ts";

const protoFiles = ["jobs", "nodes", "cluster", "agent"].map((name) => `everycore/v1/${name}.proto`);
const stopMs = 500;
/** On each answer: addresses of all coordinators. On one that a coordinator does not take: the leader's. */
const addressesKey = "ec-coordinators";
const leaderKey = "ec-leader";
/** On an agent's call: the leader that it has just tried in vain. */
const triedKey = "ec-tried";

/** The contract's files: in a checkout at its root, in a published package beside `src`. */
function protoFolder(): string {
  const folders = [join(import.meta.dirname, "../../../../proto"), join(import.meta.dirname, "../../proto")];
  const found = folders.find((folder) => existsSync(join(folder, protoFiles[0]!)));
  if (found === undefined)
    throw new EverycoreError("internal", "the gRPC definitions (proto/) are missing from this installation");
  return found;
}

type Call = ServerDuplexStream<Buffer, Buffer>;
type Method = MethodDefinition<Message, Message>;
interface Answering {
  readonly name: string;
  readonly method: Method;
  readonly handler: Handler;
}

export interface ServerOptions {
  readonly secret: string;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly coordinators: Pick<Coordinators, "isLeading" | "addresses" | "leader" | "forwarder">;
}

const raw = (bytes: Buffer): Buffer => bytes;

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
    const definition = this.#definitions[`everycore.v1.${service}`] as unknown as Record<string, Method>;
    const streams: Record<string, MethodDefinition<Buffer, Buffer>> = {};
    const implementation: UntypedServiceImplementation = {};
    for (const [name, handler] of Object.entries(handlers)) {
      const method = definition[name];
      if (method === undefined) throw new Error(`${service} has no method ${name}`);
      streams[name] = {
        path: method.path,
        requestStream: true,
        responseStream: true,
        requestSerialize: raw,
        requestDeserialize: raw,
        responseSerialize: raw,
        responseDeserialize: raw,
      };
      // grpc-js types an untyped handler as of any message; these are of bytes.
      implementation[name] = this.#serve({
        name: `${service}.${name}`,
        method,
        handler,
      }) as UntypedHandleCall;
    }
    this.#server.addService(streams as ServiceDefinition, implementation);
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

  #serve(answering: Answering): handleBidiStreamingCall<Buffer, Buffer> {
    const { name } = answering;
    return (call) => {
      const signal = signalOf(call);
      this.#answer(call, answering, signal).then(
        () => {
          this.#options.metrics.handled(name, "ok");
          call.end();
        },
        async (error: unknown) => {
          if (!signal.aborted) call.emit("error", await this.#failed(error, name));
        },
      );
    };
  }

  async #answer(call: Call, { method, handler }: Answering, signal: AbortSignal): Promise<void> {
    const { coordinators } = this.#options;
    const authorization = call.metadata.get("authorization")[0]?.toString() ?? "";
    this.#check(authorization);
    const requests = requestsOf(call);
    const write = writerOf(call);
    const take = (): void => this.#take(call);
    const isForwarded = call.metadata.get(forwardedKey).length > 0;
    const deadline = call.getDeadline();
    const passed: PassedCall = {
      path: method.path,
      authorization,
      signal,
      deadline,
      requests,
      write,
      taken: take,
    };
    if (handler.place === "leading") await this.#untilLeading(call, signal);
    else if (handler.place === "leader" && !coordinators.isLeading) {
      if (isForwarded) throw new NotLeading(); // T1
      if (await coordinators.forwarder.passOn(passed)) return;
    }
    take();
    await handler.run({
      requests: decoded(requests, method),
      write: (message) => write(method.responseSerialize(message)),
      signal,
      leadersAnswer: (request, withinMs) =>
        isForwarded || coordinators.isLeading
          ? Promise.resolve(undefined)
          : coordinators.forwarder.ask(passed, { request, withinMs, method }),
    });
  }

  /** The caller sees that its call was taken, and whom else it may ask. */
  #take(call: Call): void {
    const head = new Metadata();
    head.set(addressesKey, this.#options.coordinators.addresses.join(","));
    call.sendMetadata(head);
  }

  /**
   * An agent whose leader died comes to us before anybody has been elected: it waits here, and is welcomed at once if
   * it is us. The key of a dead leader lives on for a while, so whom the agent has tried is no answer.
   */
  async #untilLeading(call: Call, signal: AbortSignal): Promise<void> {
    const { coordinators } = this.#options;
    if (coordinators.isLeading) return;
    const tried = call.metadata.get(triedKey)[0]?.toString() ?? "";
    if (!(await coordinators.forwarder.leadsWithin(times.leaderWaitMs, { signal, tried })))
      throw new NotLeading();
  }

  async #failed(error: unknown, name: string): Promise<ReturnType<typeof toServiceError>> {
    const { log, metrics, coordinators } = this.#options;
    const made = error instanceof PassedFailure ? error.answer : toServiceError(error, log, name);
    const code = String(made.metadata.get("ec-code")[0] ?? "transport");
    metrics.handled(name, code);
    if (code === "bad-input" && !(error instanceof PassedFailure)) metrics.malformed("rpc");
    if (code === "no-leader") {
      made.metadata.set(leaderKey, await coordinators.leader());
      made.metadata.set(addressesKey, coordinators.addresses.join(","));
    }
    return made;
  }
}

async function* decoded(requests: AsyncIterable<Buffer>, method: Method): AsyncGenerator<never> {
  for await (const bytes of requests) {
    let message: Message;
    try {
      message = method.requestDeserialize(bytes);
    } catch (error) {
      throw new EverycoreError("bad-input", `a request of ${method.path} is malformed`, { cause: error });
    }
    yield message as never; // each handler states what its service's messages are
  }
}
