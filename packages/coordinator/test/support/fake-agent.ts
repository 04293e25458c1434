/**
 * An agent for tests of the coordinator, in the test's own process: a link over gRPC, leases over NATS, commits
 * to the log. It "runs" an item by a function of the test.
 */
import { join } from "node:path";
import type { CommitPart, LeaseGrant, LeaseMessage, NodeId } from "@everycore/protocol";
import {
  codecs,
  decodeLease,
  encodeLeaseReply,
  encodeRecord,
  outcomeStatus,
  packEntries,
  PackedEntries,
  packOutcome,
  recordHeader,
  subjects,
} from "@everycore/protocol";
import type { ClientDuplexStream, ServiceDefinition } from "@grpc/grpc-js";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { headers } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";

const protoFolder = join(import.meta.dirname, "../../../../proto");
const definitions = loadSync(
  ["jobs", "nodes", "cluster", "agent"].map((name) => `everycore/v1/${name}.proto`),
  { includeDirs: [protoFolder], keepCase: false, longs: Number, enums: String, defaults: true, oneofs: true },
);

export function serviceOf(name: string): ServiceDefinition {
  // proto-loader types its result as any definition; these names are services.
  return definitions[`everycore.v1.${name}`] as unknown as ServiceDefinition;
}

export function bearer(secret: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${secret}`);
  return metadata;
}

export interface FakeAgentOptions {
  readonly address: string;
  readonly secret: string;
  readonly natsUrl: string;
  readonly node: string;
  readonly slots?: number;
  /** Value of an item given its index and, for stored items, its bytes. Default: the index as JSON. */
  readonly run?: (index: number, input: Buffer | undefined) => string;
  /** Leases are accepted but not run while this says so. */
  readonly isHeld?: () => boolean;
  /** Its answers to leases are lost. */
  readonly isMute?: () => boolean;
}

// Fields of ToAgent that tests look at; proto-loader fills in the rest.
export interface ToAgent {
  readonly part: string;
  readonly [field: string]: unknown;
}

export class FakeAgent implements AsyncDisposable {
  readonly node: NodeId;
  readonly leases: LeaseMessage[] = [];
  readonly received: ToAgent[] = [];
  readonly #options: FakeAgentOptions;
  readonly #client: Client;
  #nats!: NatsConnection;
  #call: ClientDuplexStream<object, ToAgent> | undefined;
  #accepted = 0;
  #isClosed = false;
  #isForgetting = false;
  readonly #held: LeaseMessage[] = [];
  /** Of each lease that has arrived: the counter at it. */
  readonly #counters = new Map<string, number>();
  /** Unfinished leases, as a hello lists them. */
  readonly #unfinished = new Map<string, LeaseMessage>();
  readonly #acknowledged: Record<string, number> = {};
  linked = 0;
  lastError: unknown;

  private constructor(options: FakeAgentOptions) {
    this.#options = options;
    this.node = options.node as NodeId;
    this.#client = new Client(options.address, credentials.createInsecure(), {
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 200,
    });
  }

  static async start(options: FakeAgentOptions): Promise<FakeAgent> {
    const agent = new FakeAgent(options);
    agent.#nats = await connect({
      servers: options.natsUrl,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
    });
    agent.#nats.subscribe(subjects.lease(agent.node), {
      callback: (_error, message) => {
        const lease = decodeLease(message.data);
        const before = agent.#counters.get(lease.grant.id);
        const accepted = before ?? agent.#accepted + 1;
        agent.#counters.set(lease.grant.id, accepted);
        if (options.isMute?.() !== true) message.respond(encodeLeaseReply({ ok: true, accepted }));
        if (before !== undefined) return;
        agent.#accepted = accepted;
        agent.#take(lease);
      },
    });
    agent.#link();
    return agent;
  }

  #link(): void {
    if (this.#isClosed) return;
    const link = serviceOf("AgentService")["Link"]!;
    const call = this.#client.makeBidiStreamRequest(
      link.path,
      link.requestSerialize,
      link.responseDeserialize,
      bearer(this.#options.secret),
    ) as ClientDuplexStream<object, ToAgent>;
    this.#call = call;
    call.on("data", (message: ToAgent) => {
      this.received.push(message);
      if (message.part === "welcome") this.linked += 1;
      if (message.part === "askLease") {
        const { job, lease } = message["askLease"] as { job: string; lease: Buffer };
        const accepted = this.#counters.get(lease.toString("hex"));
        call.write({ leaseFound: accepted === undefined ? { job, lease } : { job, lease, accepted } });
      }
      // As an agent does: of a job that is over it knows nothing, so that its id may be used again.
      if (message.part === "ended") delete this.#acknowledged[(message["ended"] as { job: string }).job];
    });
    let beat: NodeJS.Timeout | undefined;
    const again = (error?: unknown): void => {
      clearInterval(beat);
      this.lastError = error ?? this.lastError;
      if (this.#call !== call) return;
      this.#call = undefined;
      setTimeout(() => this.#link(), 100);
    };
    call.on("error", again);
    call.on("end", again);
    call.write({ hello: this.#hello() });
    beat = setInterval(
      () => call.write({ heartbeat: { busy: 0, accepted: this.#accepted, disk: "ok" } }),
      1_000,
    );
  }

  #hello(): object {
    const leases = [...this.#unfinished.values()].map(({ job, grant }) => ({
      job,
      grant: { ...grant, id: Buffer.from(grant.id, "hex") },
      unfinished: [{ start: grant.start, end: grant.end }],
    }));
    return {
      node: {
        id: this.node,
        host: `host-${this.node.slice(0, 2)}`,
        slots: this.#options.slots ?? 2,
        pid: process.pid,
        runtimes: [{ name: "exec" }, { name: "js" }],
      },
      machineId: this.node,
      incarnation: `of ${this.node}`,
      leases,
      accepted: this.#accepted,
      filesRecovered: true,
      acknowledged: this.#acknowledged,
    };
  }

  #take(lease: LeaseMessage): void {
    this.leases.push(lease);
    this.#unfinished.set(lease.grant.id, lease);
    if (this.#options.isHeld?.() === true) this.#held.push(lease);
    else void this.commit(lease).catch((error: unknown) => (this.lastError = error));
  }

  /** As an agent does when its job is cancelled: outcomes that are not acknowledged are dropped. */
  forget(): void {
    this.#isForgetting = true;
  }

  /** Runs what was held back. */
  async release(): Promise<void> {
    for (const lease of this.#held.splice(0)) await this.commit(lease);
  }

  async commit(lease: LeaseMessage): Promise<void> {
    const { grant, items } = lease;
    const inputs = items.inline === undefined ? undefined : new PackedEntries(items.inline);
    const run = this.#options.run ?? ((index: number) => String(index));
    // A commit of at most 20,000 items keeps a body below half a megabyte.
    for (let start = grant.start; start < grant.end; start += 20_000) {
      const end = Math.min(start + 20_000, grant.end);
      const entries: Buffer[] = [];
      for (let index = start; index < end; index += 1) {
        const value = run(index, inputs?.entry(index - grant.start));
        entries.push(packOutcome(outcomeStatus.value, codecs.json, 10, Buffer.from(value)));
      }
      await this.#publish(lease, [{ lease: 0, start, end, status: "value" }], packEntries(entries));
    }
    this.#unfinished.delete(grant.id);
  }

  async #publish(lease: LeaseMessage, parts: CommitPart[], body: Buffer): Promise<void> {
    const { grant, job, epoch } = lease;
    const items = parts.reduce((sum, part) => sum + part.end - part.start, 0);
    const record = {
      kind: "commit" as const,
      job,
      epoch,
      leases: [grant as LeaseGrant],
      parts,
      usage: [{ slot: 0, items, slices: 1, splits: 0, busyMs: items * 0.01, cpuMs: items * 0.01 }],
      bytes: body.length,
    };
    const made = headers();
    made.set(recordHeader, encodeRecord(record));
    const subject = subjects.log(lease.segment as never, this.node, job);
    for (;;) {
      try {
        const ack = await jetstream(this.#nats, { timeout: 1_000 }).publish(subject, body, { headers: made });
        this.#acknowledged[job] = Math.max(this.#acknowledged[job] ?? 0, ack.seq);
        return;
      } catch (error) {
        if (this.#isClosed || this.#isForgetting) throw error;
        this.lastError = error;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    const call = this.#call;
    this.#call = undefined;
    call?.on("error", () => {});
    call?.cancel();
    this.#client.close();
    await this.#nats.close();
  }
}
