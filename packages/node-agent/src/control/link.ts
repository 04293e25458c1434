/**
 * The link: one gRPC stream to the leader, opened by the agent, reopened for ever with backoff. It turns messages
 * into events and effects into messages; it knows nothing of leases.
 */
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import { EverycoreError, limits } from "@everycore/protocol";

/** A message as proto-loader gives it: one of `part`'s fields is set. Parsed by link-messages.ts. */
export type LooseMessage = Readonly<Record<string, unknown>>;

const backoffMs = { first: 100, max: 2_000 };

/** proto/ at the root of the repository, or beside the package where it is published. */
export function protoDir(): string {
  const places = ["../../../../proto", "../../proto"].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  const found = places.find((dir) => existsSync(`${dir}/everycore/v1/agent.proto`));
  if (found === undefined)
    throw new EverycoreError("internal", "proto/everycore/v1/agent.proto is not in this installation");
  return found;
}

export function agentServiceDefinition(): grpc.ServiceDefinition {
  const definition = loadSync("everycore/v1/agent.proto", {
    keepCase: false,
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
    includeDirs: [protoDir()],
  });
  return definition["everycore.v1.AgentService"] as grpc.ServiceDefinition;
}

export interface LinkOptions {
  readonly addresses: readonly string[];
  readonly secret: string;
  readonly log: Logger;
  readonly onOpen: () => void;
  readonly onClose: () => void;
  readonly onMessage: (message: LooseMessage) => void;
  /** The secret is wrong or the version too old: trying again would not help. Only before the first welcome. */
  readonly onRefused: (error: EverycoreError) => void;
}

type Stream = grpc.ClientDuplexStream<LooseMessage, LooseMessage>;

export class Link {
  readonly #options: LinkOptions;
  readonly #service: grpc.ServiceClientConstructor;
  readonly #stop = new AbortController();
  #stream: Stream | undefined;
  #running: Promise<void> | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#service = grpc.makeGenericClientConstructor(agentServiceDefinition(), "AgentService");
  }

  /** Opens the first stream; apart from the constructor, because `onOpen` speaks through this link. */
  open(): void {
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    const { addresses, log } = this.#options;
    let pause = backoffMs.first;
    for (let at = 0; !this.#stop.signal.aborted; at += 1) {
      const address = addresses[at % addresses.length]!;
      const heard = await this.#once(address).catch((error: unknown) => {
        log.info({ address, reason: error instanceof Error ? error.message : String(error) }, "link broken");
        return false;
      });
      if (heard) pause = backoffMs.first;
      await delay(pause * (0.5 + Math.random()), undefined, { signal: this.#stop.signal }).catch(() => {});
      pause = Math.min(backoffMs.max, pause * 2);
    }
  }

  /** One stream until it ends; true if anything was heard on it. */
  #once(address: string): Promise<boolean> {
    const client = new this.#service(address, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": limits.grpcMessageBytesMax,
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 5_000,
      "grpc.keepalive_permit_without_calls": 1,
    });
    const metadata = new grpc.Metadata();
    metadata.set("authorization", `Bearer ${this.#options.secret}`);
    const stream = (client["Link"] as (metadata: grpc.Metadata) => Stream).call(client, metadata);
    let heard = false;
    return new Promise<boolean>((resolve, reject) => {
      const end = (error?: Error): void => {
        if (this.#stream === stream) {
          this.#stream = undefined;
          this.#options.onClose();
        }
        client.close();
        if (error === undefined || heard) resolve(heard);
        else reject(error);
      };
      stream.on("data", (message: LooseMessage) => {
        heard = true;
        this.#options.onMessage(message);
      });
      stream.on("error", (error: grpc.ServiceError) => {
        if (error.code === grpc.status.UNAUTHENTICATED) {
          const hint = "the agent's secret is not that of the cluster";
          this.#options.onRefused(
            new EverycoreError("refused", `${address} refused this agent: ${error.details}`, { hint }),
          );
        }
        end(error);
      });
      stream.on("end", () => end());
      this.#stream = stream;
      this.#options.onOpen();
    });
  }

  /** False when there is no link: whoever needs it says it again in the next hello. */
  send(message: LooseMessage): boolean {
    if (this.#stream === undefined) return false;
    this.#stream.write(message);
    return true;
  }

  /** Ends the present stream; a new one is opened. */
  drop(): void {
    this.#stream?.cancel();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#stream?.end();
    // What was written last (drained) shall still leave.
    await delay(20);
    this.#stream?.cancel();
    await this.#running;
  }
}
