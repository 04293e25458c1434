/**
 * The link: one gRPC stream to the leader, opened by the agent, reopened for ever, with whichever coordinator leads.
 * It turns messages into events and effects into messages; it knows nothing of leases.
 *
 *  N1  the hello is said when a leader has taken the call, not before: one that stands by keeps the call until it
 *      leads, and the agent's state would be old by then;
 *  N2  a coordinator that cannot be reached, is silent, or refuses costs a bounded time (P5);
 *  N3  once it is closed no call is begun: a leader would take it, and nobody would end it (P5).
 */
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import { EverycoreError, limits, times } from "@everycore/protocol";
import { Addresses } from "./addresses.ts";

/** A message as proto-loader gives it: one of `part`'s fields is set. Parsed by link-messages.ts. */
export type LooseMessage = Readonly<Record<string, unknown>>;

/** Between rounds over all addresses. */
const backoffMs = { first: 100, max: 1_000 };
/** To be connected; then to be taken, or sent elsewhere. */
const connectMs = 2_000;
const takenMs = times.leaderWaitMs + 2_000;
/** A leader that stands still (SIGSTOP, a dead machine) is noticed after these, and long before it is replaced. */
const keepalive = {
  "grpc.keepalive_time_ms": 3_000,
  "grpc.keepalive_timeout_ms": 4_000,
  "grpc.keepalive_permit_without_calls": 1,
};
/** What coordinators say about each other (coordinator/src/control/server.ts). */
const keys = { all: "ec-coordinators", leader: "ec-leader", tried: "ec-tried" };

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
  /** Whether an address that a coordinator told may be used. */
  readonly isAllowed: (address: string) => boolean;
  readonly secret: string;
  readonly log: Logger;
  readonly onOpen: () => void;
  readonly onClose: () => void;
  readonly onMessage: (message: LooseMessage) => void;
  /** The secret is wrong or the version too old: trying again would not help. Only before a leader has taken us. */
  readonly onRefused: (error: EverycoreError) => void;
}

type Stream = grpc.ClientDuplexStream<LooseMessage, LooseMessage>;

export class Link {
  readonly #options: LinkOptions;
  readonly #addresses: Addresses;
  readonly #service: grpc.ServiceClientConstructor;
  readonly #stop = new AbortController();
  /** Taken by a leader. */
  #stream: Stream | undefined;
  #opening: Stream | undefined;
  /** Broke, or could not be reached, since we were linked last: whoever thinks that it leads is told. */
  #lost = "";
  #isDropped = false;
  #wasTaken = false;
  #running: Promise<void> | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    const { addresses, isAllowed } = options;
    this.#addresses = new Addresses({ join: addresses, isAllowed, random: Math.random });
    this.#service = grpc.makeGenericClientConstructor(agentServiceDefinition(), "AgentService");
  }

  /** Opens the first stream; apart from the constructor, because `onOpen` speaks through this link. */
  open(): void {
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    let pause = backoffMs.first;
    let isFirst = true;
    while (!this.#stop.signal.aborted) {
      const { address, isNewRound } = this.#addresses.next();
      if (isNewRound && !isFirst) {
        await delay(pause * (0.5 + Math.random()), undefined, { signal: this.#stop.signal }).catch(() => {});
        pause = Math.min(backoffMs.max, pause * 2);
        if (this.#stop.signal.aborted) return;
      }
      isFirst = false;
      const heard = await this.#once(address).catch((error: unknown) => {
        if (!this.#stop.signal.aborted) log.info({ address, reason: reasonOf(error) }, "link broken");
        return false;
      });
      if (heard && !this.#isDropped) pause = backoffMs.first;
      this.#isDropped = false;
    }
  }

  /** One stream until it ends; true if a leader had taken it. */
  async #once(address: string): Promise<boolean> {
    const client = new this.#service(address, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": limits.grpcMessageBytesMax,
      "grpc.enable_http_proxy": 0,
      ...keepalive,
    });
    try {
      await connected(client, this.#stop.signal);
      if (this.#stop.signal.aborted) return false; // N3
      return await this.#call(client, address);
    } catch (error) {
      if (!(error instanceof Refused)) this.#lost = address;
      throw error;
    } finally {
      client.close();
    }
  }

  #call(client: grpc.Client, address: string): Promise<boolean> {
    const { secret, onOpen, onClose, onMessage } = this.#options;
    const metadata = new grpc.Metadata();
    metadata.set("authorization", `Bearer ${secret}`);
    metadata.set(keys.tried, this.#lost);
    // The generated constructor types its methods as anything.
    const open = (client as unknown as { Link(metadata: grpc.Metadata): Stream }).Link.bind(client);
    const stream = open(metadata);
    this.#opening = stream;
    const silence = setTimeout(() => stream.cancel(), takenMs);
    return new Promise<boolean>((resolve, reject) => {
      const end = (error?: Error): void => {
        clearTimeout(silence);
        const wasTaken = this.#stream === stream;
        if (this.#opening === stream) this.#opening = undefined;
        if (wasTaken) {
          this.#stream = undefined;
          this.#lost = address;
          onClose();
        }
        if (error === undefined || wasTaken) resolve(wasTaken);
        else reject(error);
      };
      stream.on("metadata", (head: grpc.Metadata) => {
        clearTimeout(silence);
        this.#learn(head);
        this.#lost = "";
        this.#wasTaken = true;
        this.#opening = undefined;
        this.#stream = stream;
        onOpen(); // N1
      });
      stream.on("data", (message: LooseMessage) => {
        if (message["part"] === "coordinators") this.#hearOf(message["coordinators"]);
        else onMessage(message);
      });
      stream.on("error", (error: grpc.ServiceError) => end(this.#refusal(error, address)));
      stream.on("end", () => end());
    });
  }

  #learn(metadata: grpc.Metadata): void {
    const all = metadata.get(keys.all)[0]?.toString() ?? "";
    if (all !== "") this.#addresses.tell(all.split(","));
  }

  #hearOf(coordinators: unknown): void {
    const { addresses } = coordinators as { addresses: unknown[] }; // strings, by the proto
    this.#addresses.tell(addresses.map(String));
  }

  /** Reads what a refusal says of others; gives what became of the call. */
  #refusal(error: grpc.ServiceError, address: string): Error {
    this.#learn(error.metadata);
    const leader = error.metadata.get(keys.leader)[0]?.toString() ?? "";
    if (leader !== address) this.#addresses.leaderIs(leader);
    // Later it is another cluster's, where a coordinator of ours has been: ours may be elsewhere.
    if (error.code === grpc.status.UNAUTHENTICATED && !this.#wasTaken) {
      const hint = "the agent's secret is not that of the cluster";
      this.#options.onRefused(
        new EverycoreError("refused", `${address} refused this agent: ${error.details}`, { hint }),
      );
    }
    return error.metadata.get("ec-code").length > 0 ? new Refused(error.details) : error;
  }

  /** False when there is no link: whoever needs it says it again in the next hello. */
  send(message: LooseMessage): boolean {
    if (this.#stream === undefined) return false;
    this.#stream.write(message);
    return true;
  }

  /** Ends the present stream; a new one is opened. Whoever drops each of them comes no sooner than one that finds none. */
  drop(): void {
    this.#isDropped = true;
    this.#stream?.cancel();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#opening?.cancel();
    this.#stream?.end();
    // What was written last (drained) shall still leave.
    await delay(20);
    this.#stream?.cancel();
    await this.#running;
  }
}

/** A coordinator answered, and did not take the call: it is there. */
class Refused extends Error {}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Rejects at once where nobody listens, or when `stop` says so; one attempt, since the next address may be better. */
function connected(client: grpc.Client, stop: AbortSignal): Promise<void> {
  const channel = client.getChannel();
  const by = Date.now() + connectMs;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const closed = (): void => reject(new Error("the link is closed"));
  stop.addEventListener("abort", closed);
  const look = (isLate?: Error): void => {
    const state = channel.getConnectivityState(true);
    if (state === grpc.connectivityState.READY) return resolve();
    if (isLate !== undefined || isOver.has(state)) return reject(new Error("it cannot be reached"));
    channel.watchConnectivityState(state, by, look);
  };
  look();
  return promise.finally(() => stop.removeEventListener("abort", closed));
}

const isOver: ReadonlySet<number> = new Set([
  grpc.connectivityState.TRANSIENT_FAILURE,
  grpc.connectivityState.SHUTDOWN,
]);
