/**
 * An agent without workers, many to a process: a gRPC link and a NATS connection of its own, leases, give-back,
 * commits and hellos as the real one has them. What it leaves out is what costs only its own machine: processes,
 * slot files, the spool on disk.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { CommitRecord, LeaseMessage, NodeId, SegmentId } from "@everycore/protocol";
import {
  codecs,
  decodeLease,
  encodeLeaseReply,
  encodeRecord,
  limits,
  outcomeStatus,
  packEntries,
  packOutcome,
  recordHeader,
  subjects,
  times,
} from "@everycore/protocol";
import type { ClientDuplexStream, ServiceDefinition } from "@grpc/grpc-js";
import { Client, credentials, Metadata } from "@grpc/grpc-js";

import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { connect, headers } from "@nats-io/transport-node";
import type { FromLeader } from "../../packages/node-agent/src/control/link-messages.ts";
import {
  grantToProto,
  parseToAgent,
  reportToProto,
} from "../../packages/node-agent/src/control/link-messages.ts";
import { SleepingWorker } from "./sleeping-worker.ts";
import type { OutgoingCommit } from "./sleeping-worker.ts";
import type { AgentRecord } from "./recorder.ts";

const answerWithinMs = 2_000;
const againMs = 200;

export interface SimulatedAgentOptions {
  readonly node: NodeId;
  readonly address: string;
  readonly secret: string;
  /** AgentService of proto/, loaded once for all agents of a process. */
  readonly service: ServiceDefinition;
  readonly random: () => number;
  readonly record: AgentRecord;
}

type Message = Readonly<Record<string, unknown>>;
type Welcome = NonNullable<Extract<FromLeader, { event: unknown }>["welcome"]>;

/** One entry of a commit's body; the same for all items. */
const outcome = packOutcome(outcomeStatus.value, codecs.raw, 0, Buffer.from("0"));

export class SimulatedAgent {
  readonly #options: SimulatedAgentOptions;
  readonly #client: Client;
  readonly #worker: SleepingWorker;
  readonly #linked = Promise.withResolvers<void>();
  #nats: NatsConnection | undefined;
  #call: ClientDuplexStream<Message, Message> | undefined;
  #accepted = 0;
  #epoch = 0;
  #timer: NodeJS.Timeout | undefined;
  #beat: NodeJS.Timeout | undefined;
  #isStarving = false;
  #isClosed = false;

  constructor(options: SimulatedAgentOptions) {
    this.#options = options;
    this.#worker = new SleepingWorker(options.random);
    this.#client = new Client(options.address, credentials.createInsecure(), {
      "grpc.max_receive_message_length": limits.grpcMessageBytesMax,
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 5_000,
      // Else all agents of this process would share one connection.
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  /** Resolves once it is welcome and hears leases. */
  start(): Promise<void> {
    this.#link();
    return this.#linked.promise;
  }

  get worker(): { readonly items: number; readonly busyMs: number } {
    return this.#worker;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#beat);
    this.#call?.cancel();
    this.#client.close();
    await this.#nats?.close();
  }

  #link(): void {
    if (this.#isClosed) return;
    const { service, secret } = this.#options;
    const { path, requestSerialize, responseDeserialize } = service["Link"]!;
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${secret}`);
    const call = this.#client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
    ) as ClientDuplexStream<Message, Message>;
    this.#call = call;
    const again = (): void => {
      if (this.#call !== call) return;
      this.#call = undefined;
      clearInterval(this.#beat);
      if (!this.#isClosed) this.#options.record.brokenLinks += 1;
      setTimeout(() => this.#link(), againMs);
    };
    call.on("error", again);
    call.on("end", again);
    call.on("data", (message: Message) => this.#hear(message));
    call.write({ hello: this.#hello() });
  }

  #hello(): Message {
    const { node } = this.#options;
    return {
      node: {
        id: node,
        host: `simulated-${node}`,
        slots: 1,
        slotsReason: "simulated",
        version: "0.1.0",
        pid: process.pid,
        runtimes: [{ name: "exec" }],
      },
      machineId: node,
      incarnation: `${process.pid} ${node}`,
      epochSeen: this.#epoch,
      leases: this.#worker.report().map(reportToProto),
      accepted: this.#accepted,
      filesRecovered: true,
      acknowledged: this.#worker.acknowledgedSeqs(),
    };
  }

  #hear(message: Message): void {
    const heard = parseToAgent(message, performance.now());
    if (heard === undefined || !("event" in heard)) return;
    const { event, welcome } = heard;
    switch (event.kind) {
      case "welcomed":
        this.#epoch = Math.max(this.#epoch, event.epoch);
        this.#worker.commitMs = Math.max(limits.commitMs, event.nodes / 3);
        this.#isStarving = false;
        if (welcome !== undefined) void this.#join(welcome);
        break;
      case "cancelled":
      case "jobEnded":
        this.#worker.forget(event.job, event.at);
        break;
      case "giveBackAsked": {
        const answers = this.#worker.giveBack(event.job, event.wantMs);
        if (answers.length === 0) this.#say({ gaveBack: { job: event.job, ranges: [] } });
        for (const { grant, ranges } of answers) {
          this.#options.record.gaveBack += 1;
          this.#say({ gaveBack: { job: event.job, grant: grantToProto(grant), ranges } });
        }
        break;
      }
      case "giveBackConfirmed":
        this.#worker.confirmed(event.lease, event.ranges);
        break;
      case "leasesDropped":
        this.#worker.drop(event.leases, event.at);
        break;
      case "mayStart":
        this.#worker.mayStart(event.ask, event.at);
        break;
      default:
        break; // drain: nobody asks for it here
    }
    this.#work();
  }

  /** Connects to NATS where the leader says, and listens. */
  async #join(welcome: Welcome): Promise<void> {
    if (this.#nats === undefined) {
      this.#nats = await connect({
        servers: [...welcome.natsUrls],
        user: welcome.natsUser,
        pass: welcome.natsPassword,
        inboxPrefix: welcome.inboxPrefix,
        name: this.#options.node,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 150,
        reconnectJitter: 100,
        pingInterval: 5_000,
        maxPingOut: 2,
        noAsyncTraces: true,
      });
      this.#nats.subscribe(subjects.lease(this.#options.node), {
        callback: (error, message) => {
          if (error === null) this.#take(message);
        },
      });
      await this.#nats.flush();
    }
    clearInterval(this.#beat);
    this.#beat = setInterval(() => this.#heartbeat(), times.heartbeatMs);
    this.#linked.resolve();
  }

  #take(raw: Msg): void {
    let message: LeaseMessage;
    try {
      message = decodeLease(raw.data);
    } catch (error) {
      raw.respond(encodeLeaseReply({ ok: false, reason: "malformed", message: String(error) }));
      return;
    }
    if (message.epoch < this.#epoch) {
      raw.respond(encodeLeaseReply({ ok: false, reason: "epoch", message: `seen ${this.#epoch}` }));
      return;
    }
    this.#accepted += 1;
    this.#options.record.leases += 1;
    raw.respond(encodeLeaseReply({ ok: true, accepted: this.#accepted }));
    this.#options.record.probeLeased(message);
    this.#isStarving = false;
    if (this.#worker.take(message, performance.now())) this.#work();
  }

  /** Ends what has ended, commits what is due, says what is to be said, and comes back when there is more. */
  #work(): void {
    const now = performance.now();
    this.#worker.advance(now);
    for (const commit of this.#worker.commits(now)) void this.#publish(commit);
    for (const { grant, ...ask } of this.#worker.asks.splice(0))
      this.#say({ sliceStarting: { ...ask, grant: grantToProto(grant) } });
    const starves = this.#worker.isIdle && this.#nats !== undefined;
    if (starves && !this.#isStarving) this.#say({ starving: { slots: 1 } });
    this.#isStarving = starves;
    clearTimeout(this.#timer);
    const at = this.#worker.wakeAt();
    if (at < Number.POSITIVE_INFINITY && !this.#isClosed)
      this.#timer = setTimeout(() => this.#work(), Math.max(1, at - now));
  }

  #heartbeat(): void {
    const gaveBack = this.#worker.report().filter((lease) => lease.gaveBack.length > 0);
    this.#say({
      heartbeat: {
        busy: this.#worker.isIdle ? 0 : 1,
        accepted: this.#accepted,
        disk: "ok",
        gaveBack: gaveBack.map(reportToProto),
      },
    });
  }

  #say(message: Message): void {
    this.#call?.write(message);
  }

  /** As the real publisher: a request to the log's subject, again until it is acknowledged (P1). */
  async #publish({ segment, record }: OutgoingCommit): Promise<void> {
    const head = headers();
    head.set(recordHeader, encodeRecord(record));
    const subject = subjects.log(segment as SegmentId, this.#options.node, record.job);
    const body = bodyOf(record);
    const startedAt = performance.now();
    while (!this.#isClosed) {
      try {
        const answer = await this.#nats!.request(subject, body, { timeout: answerWithinMs, headers: head });
        const { seq } = JSON.parse(Buffer.from(answer.data).toString("utf8")) as { seq?: number };
        if (typeof seq === "number") {
          this.#options.record.acknowledged(record, startedAt);
          this.#worker.acknowledged(record, seq);
          return this.#work();
        }
      } catch {
        // no answer in time, or the connection is being closed
      }
      this.#options.record.resends += 1;
      await delay(againMs);
    }
  }
}

function bodyOf({ parts }: CommitRecord): Buffer {
  const items = parts.reduce((sum, { start, end }) => sum + end - start, 0);
  return packEntries(Array.from({ length: items }, () => outcome));
}
