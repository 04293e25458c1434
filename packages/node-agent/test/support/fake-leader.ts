// A leader for tests of the agent: real gRPC, real NATS with a log segment, leases made by hand. It remembers what
// the agent said and what the log holds; it decides nothing.

import * as grpc from "@grpc/grpc-js";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import {
  type BundleDigest,
  type CommitRecord,
  decodeFetch,
  decodeLeaseReply,
  decodeRecord,
  encode,
  encodeFetchReply,
  encodeLease,
  type JobId,
  JobFold,
  jobKeyOf,
  leaseIdOf,
  type LeaseGrant,
  type LeaseMessage,
  type LeaseReply,
  leaseVerifier,
  type LogRecord,
  type NodeId,
  PackedEntries,
  packEntries,
  recordHeader,
  type StrikeRecord,
  subjects,
  unpackOutcome,
} from "@everycore/protocol";
import { startNatsServer, type TestNatsServer } from "../../../../test/support/nats-server.ts";
import { until } from "../../../../test/support/until.ts";
import { agentServiceDefinition } from "../../src/control/link.ts";

export const secret = "5".repeat(32);
const clusterKey = Buffer.alloc(32, 7);
const segment = "s1";

interface Said {
  readonly part: string;
  readonly body: Record<string, unknown>;
}

export interface LoggedRecord {
  readonly seq: number;
  readonly record: LogRecord;
  readonly body: Buffer;
}

export class FakeLeader implements AsyncDisposable {
  readonly nats: TestNatsServer;
  readonly connection: NatsConnection;
  readonly said: Said[] = [];
  readonly log: LoggedRecord[] = [];
  readonly blobs = new Map<string, Buffer>();
  readonly blocks = new Map<number, Buffer>();
  address = "";
  node = "" as NodeId;
  epoch = 1;
  /** False: slices in trouble wait for the test's word. */
  allowStarts = true;
  readonly #server = new grpc.Server();
  #stream: grpc.ServerDuplexStream<unknown, unknown> | undefined;
  #counter = 0;

  private constructor(nats: TestNatsServer, connection: NatsConnection) {
    this.nats = nats;
    this.connection = connection;
  }

  static async start(): Promise<FakeLeader> {
    const nats = await startNatsServer();
    const connection = await connect({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
    const manager = await jetstreamManager(connection);
    await manager.streams.add({
      name: `EC_LOG_${segment}`,
      subjects: [`ec.v1.log.${segment}.>`],
      allow_direct: true,
    });
    const leader = new FakeLeader(nats, connection);
    connection.subscribe(`ec.v1.log.${segment}.>`, { callback: () => {} });
    connection.subscribe(subjects.fetch, {
      callback: (_error, message) => void message.respond(leader.#fetched(message.data)),
    });
    await leader.#listen();
    return leader;
  }

  #fetched(data: Uint8Array): Buffer {
    const request = decodeFetch(data);
    const bytes =
      request.what === "block"
        ? this.blocks.get(request.seq ?? -1)
        : this.blobs.get(`${request.what}:${request.job}`);
    if (bytes === undefined)
      return encodeFetchReply({ ok: false, reason: "gone", message: `no ${request.what}` });
    const offset = request.offset ?? 0;
    return encodeFetchReply({
      ok: true,
      total: bytes.length,
      bytes: bytes.subarray(offset, offset + 512 * 1024),
    });
  }

  async #listen(): Promise<void> {
    this.#server.addService(agentServiceDefinition(), {
      Link: (stream: grpc.ServerDuplexStream<unknown, unknown>) => {
        this.#stream = stream;
        stream.sendMetadata(new grpc.Metadata()); // the call is taken: now the agent says hello
        stream.on("data", (message: Record<string, unknown>) => this.#heard(message));
        stream.on("error", () => {});
        stream.on("end", () => stream.end());
      },
    });
    const port = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    this.address = `127.0.0.1:${port}`;
  }

  #heard(message: Record<string, unknown>): void {
    const part = message["part"] as string;
    const body = message[part] as Record<string, unknown>;
    this.said.push({ part, body });
    if (part === "hello") {
      this.node = (body["node"] as { id: NodeId }).id;
      this.say({
        welcome: {
          epoch: this.epoch,
          natsUrls: [this.nats.url],
          natsUser: "",
          natsPassword: "",
          inboxPrefix: "_INBOX.agent",
          drop: [],
          nodes: 1,
          cluster: "test",
        },
      });
    }
    if (part === "sliceStarting" && this.allowStarts) this.say({ mayStart: { ask: body["ask"] } });
    if (part === "gaveBack" && body["grant"] !== null) {
      this.say({
        confirm: { job: body["job"], lease: (body["grant"] as { id: Buffer }).id, ranges: body["ranges"] },
      });
    }
  }

  say(message: object): void {
    this.#stream?.write(message);
  }

  breakLink(): void {
    this.#stream?.emit("error", { code: grpc.status.UNAVAILABLE, details: "broken by the test" });
  }

  /** A bundle of one module. */
  bundle(job: JobId, source: string, name = "task.mjs"): BundleDigest {
    const bytes = encode({ v: 1, files: { [name]: Buffer.from(source) } });
    this.blobs.set(`bundle:${job}`, bytes);
    return createHash("sha256").update(bytes).digest("hex") as BundleDigest;
  }

  grant(job: JobId, start: number, end: number): LeaseGrant {
    this.#counter += 1;
    const fields = { start, end, node: this.node, round: 0, n: this.epoch * 2 ** 32 + this.#counter };
    return { id: leaseIdOf(jobKeyOf(clusterKey, job), fields), ...fields };
  }

  message(
    job: JobId,
    range: { start: number; end: number },
    task: Partial<LeaseMessage["task"]>,
    rest: Partial<LeaseMessage> = {},
  ): LeaseMessage {
    return {
      epoch: this.epoch,
      job,
      segment,
      task: {
        runtime: "js",
        entry: "task.mjs",
        export: "default",
        seed: "00".repeat(8),
        rangeStart: 0,
        retries: 0,
        ...task,
      },
      grant: this.grant(job, range.start, range.end),
      items: { codec: "range" },
      attempts: [],
      mode: "normal",
      itemMs: 0,
      priority: 0,
      tag: 0,
      ...rest,
    };
  }

  async lease(message: LeaseMessage): Promise<LeaseReply> {
    const answer = await this.connection.request(subjects.lease(this.node), encodeLease(message), {
      timeout: 5_000,
    });
    return decodeLeaseReply(answer.data);
  }

  /** Everything in the log so far, folded. */
  async fold(job: JobId): Promise<JobFold> {
    const fold = new JobFold(job, leaseVerifier(clusterKey));
    for (const { seq, record } of await this.readLog()) if (record.job === job) fold.apply(seq, record);
    return fold;
  }

  async readLog(): Promise<LoggedRecord[]> {
    const manager = await jetstreamManager(this.connection);
    const { state } = await manager.streams.info(`EC_LOG_${segment}`);
    for (let seq = (this.log.at(-1)?.seq ?? 0) + 1; seq <= state.last_seq; seq += 1) {
      const stored = await manager.streams.getMessage(`EC_LOG_${segment}`, { seq });
      if (stored === null) continue;
      this.log.push({
        seq,
        record: decodeRecord(stored.header.get(recordHeader)),
        body: Buffer.from(stored.data),
      });
    }
    return this.log;
  }

  async commits(job: JobId): Promise<(LoggedRecord & { record: CommitRecord })[]> {
    const log = await this.readLog();
    return log.filter(
      (entry): entry is LoggedRecord & { record: CommitRecord } =>
        entry.record.kind === "commit" && entry.record.job === job,
    );
  }

  async strikes(job: JobId): Promise<StrikeRecord[]> {
    const log = await this.readLog();
    return log.flatMap(({ record }) => (record.kind === "strike" && record.job === job ? [record] : []));
  }

  /** Payloads by item, first commit first. */
  async outcomes(job: JobId): Promise<Map<number, { status: number; codec: number; payload: Buffer }>> {
    const found = new Map<number, { status: number; codec: number; payload: Buffer }>();
    for (const { record, body } of await this.commits(job)) {
      const entries = new PackedEntries(body);
      let entry = 0;
      for (const part of record.parts) {
        if (part.missing !== undefined) {
          if (!found.has(part.start)) found.set(part.start, unpackOutcome(entries.entry(entry)));
          entry += 1;
          continue;
        }
        for (let index = part.start; index < part.end; index += 1, entry += 1) {
          if (!found.has(index)) found.set(index, unpackOutcome(entries.entry(entry)));
        }
      }
    }
    return found;
  }

  /** Waits until the log covers [0, items). */
  covered(job: JobId, items: number, withinMs = 15_000): Promise<JobFold> {
    return until(
      async () => {
        const fold = await this.fold(job);
        return fold.covered.covers(0, items) ? fold : undefined;
      },
      { withinMs, what: `the log to cover ${items} items of ${job}` },
    );
  }

  heard(part: string): Promise<Record<string, unknown>> {
    return until(() => this.said.findLast((said) => said.part === part)?.body, {
      what: `the agent to say ${part}`,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    await this.connection.close();
    await this.nats[Symbol.asyncDispose]();
  }
}

export const newJob = (): JobId => randomBytes(10).toString("hex") as JobId;
export const inlineItems = (items: readonly string[]): Buffer =>
  packEntries(items.map((item) => Buffer.from(item)));

export interface AgentProcess extends AsyncDisposable {
  readonly pid: number;
  readonly ready: Record<string, unknown>;
  readonly child: ChildProcess;
  readonly dataDir: string;
  stderr(): string;
  kill(signal: NodeJS.Signals): Promise<number | null>;
}

/** The real process of an agent, as the CLI starts it. */
export async function startAgent(
  leader: FakeLeader,
  options: { slots?: number; dataDir?: string; secret?: string } = {},
): Promise<AgentProcess> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "everycore-test-agent-")));
  const config = {
    join: [leader.address],
    secret,
    dataDir,
    slots: options.slots ?? 2,
    httpListen: "127.0.0.1:0",
    logLevel: process.env["EVERYCORE_TEST_LOG"] ?? "info",
    lifeline: true,
    insecureNetwork: false,
  };
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL("../../src/main.ts", import.meta.url)), JSON.stringify(config)],
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  let errors = "";
  child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
  let line = "";
  child.stdout.on("data", (data: Buffer) => (line += data.toString()));
  const text = await until(() => (line.includes("\n") || child.exitCode !== null ? `${line} ` : undefined), {
    withinMs: 15_000,
    what: "the first line of the agent",
  }).catch((error: unknown) => {
    throw new Error(errors, { cause: error });
  });
  const ready = JSON.parse(
    text.trim() === "" ? `{"ready":false,"message":${JSON.stringify(errors)}}` : text,
  ) as Record<string, unknown>;
  const kill = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, "exit");
      child.kill(signal);
      await gone;
    }
    return child.exitCode;
  };
  return {
    pid: child.pid ?? 0,
    ready,
    child,
    dataDir,
    stderr: () => errors,
    kill,
    [Symbol.asyncDispose]: async () => {
      await kill("SIGKILL");
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}
