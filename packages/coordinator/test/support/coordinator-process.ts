/** A coordinator as a process of the test's own, and calls to it by hand. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { JobSpec } from "@everycore/protocol";
import { encodeSpec, packEntries, PackedEntries, unpackOutcome } from "@everycore/protocol";
import type { ClientDuplexStream, ClientReadableStream, Metadata, ServiceError } from "@grpc/grpc-js";
import { Client, credentials } from "@grpc/grpc-js";
import { bearer, serviceOf } from "./fake-agent.ts";

const mainFile = join(import.meta.dirname, "../../src/main.ts");
export const secret = "0123456789abcdef".repeat(2);

export interface ReadyLine {
  readonly ready: boolean;
  readonly address: string;
  readonly http: string;
  readonly code?: string;
  readonly message?: string;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

export class CoordinatorProcess implements AsyncDisposable {
  readonly listen: string;
  readonly #config: object;
  #child: ChildProcess | undefined;
  ready!: ReadyLine;
  stderr = "";

  private constructor(listen: string, config: object) {
    this.listen = listen;
    this.#config = config;
  }

  /** Always the same address, so that agents and clients find it again. */
  static async start(natsUrl: string, own: object = {}): Promise<CoordinatorProcess> {
    const listen = `127.0.0.1:${await freePort()}`;
    const access = { urls: [natsUrl], user: "any", password: "any" };
    const config = { listen, httpListen: "127.0.0.1:0", nats: access, agentNats: access, secret, ...own };
    const coordinator = new CoordinatorProcess(listen, config);
    await coordinator.start();
    return coordinator;
  }

  async start(): Promise<ReadyLine> {
    const dataDir = await mkdtemp(join(tmpdir(), "everycore-coordinator-"));
    const config = { ...this.#config, dataDir, logLevel: "info", lifeline: true, insecureNetwork: false };
    const child = spawn(process.execPath, [mainFile, JSON.stringify(config)], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.once("exit", () => void rm(dataDir, { recursive: true, force: true }));
    child.stderr.on(
      "data",
      (bytes: Buffer) => (this.stderr = (this.stderr + bytes.toString()).slice(-20_000)),
    );
    this.#child = child;
    const lines = createInterface({ input: child.stdout });
    const line = (await Promise.race([once(lines, "line"), once(child, "exit")])) as unknown[];
    if (typeof line[0] !== "string") throw new Error(`the coordinator ended without a line:\n${this.stderr}`);
    this.ready = JSON.parse(line[0]) as ReadyLine; // our own process
    return this.ready;
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  async closeLifeline(): Promise<void> {
    const child = this.#child!;
    child.stdin!.end();
    if (child.exitCode === null) await once(child, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
  }
}

/** Fields of a job that tests look at. */
export interface JobLike {
  readonly id: string;
  readonly state: string;
  readonly reason: string;
  readonly total: number;
  readonly appended: number;
  readonly counts: Record<string, number>;
  readonly duplicates: number;
}

export interface Read {
  readonly values: Map<number, string>;
  readonly order: number[];
  readonly statuses: Map<number, number>;
  readonly end: JobLike | undefined;
}

// Responses are as proto-loader gives them; tests name the fields they expect.
// oxlint-disable-next-line typescript/no-explicit-any
type Response = any;

export class Calls implements Disposable {
  readonly #client: Client;
  readonly #metadata: Metadata;

  constructor(address: string, withSecret: string = secret) {
    this.#client = new Client(address, credentials.createInsecure(), {
      "grpc.initial_reconnect_backoff_ms": 50,
      "grpc.max_reconnect_backoff_ms": 200,
    });
    this.#metadata = bearer(withSecret);
  }

  unary(service: string, method: string, request: object): Promise<Response> {
    const definition = serviceOf(service)[method]!;
    const answer = Promise.withResolvers<Response>();
    this.#client.makeUnaryRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      this.#metadata,
      { deadline: Date.now() + 10_000 },
      (error: ServiceError | null, response) =>
        error === null ? answer.resolve(response) : answer.reject(error),
    );
    return answer.promise;
  }

  download(service: string, method: string, request: object): ClientReadableStream<Response> {
    const definition = serviceOf(service)[method]!;
    return this.#client.makeServerStreamRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      this.#metadata,
    );
  }

  duplex(service: string, method: string): ClientDuplexStream<object, Response> {
    const definition = serviceOf(service)[method]!;
    return this.#client.makeBidiStreamRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      this.#metadata,
    );
  }

  upload(service: string, method: string, requests: readonly object[]): Promise<Response> {
    const definition = serviceOf(service)[method]!;
    const answer = Promise.withResolvers<Response>();
    const call = this.#client.makeClientStreamRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      this.#metadata,
      (error: ServiceError | null, response) =>
        error === null ? answer.resolve(response) : answer.reject(error),
    );
    for (const request of requests) call.write(request);
    call.end();
    return answer.promise;
  }

  /** Submits all at once and waits for `closed`; gives the job. */
  async submit(
    requestId: string,
    spec: JobSpec,
    blocks: readonly (readonly string[])[] = [],
  ): Promise<JobLike> {
    const call = this.duplex("JobService", "Submit");
    call.write({ open: { requestId, spec: encodeSpec(spec) } });
    let first = 0;
    for (const items of blocks) {
      const data = packEntries(items.map((item) => Buffer.from(item)));
      call.write({ block: { first, count: items.length, data } });
      first += items.length;
    }
    call.write({ close: { total: spec.rangeItems ?? first } });
    let job: JobLike | undefined;
    for await (const message of call) if (message.closed) job = message.closed;
    if (job === undefined) throw new Error("the submit ended without `closed`");
    return job;
  }

  async results(job: string, options: object = {}): Promise<Read> {
    const read = {
      values: new Map<number, string>(),
      order: [] as number[],
      statuses: new Map<number, number>(),
    };
    let end: JobLike | undefined;
    for await (const message of this.download("JobService", "Results", { job, follow: true, ...options })) {
      if (message.end) end = message.end;
      if (!message.batch) continue;
      const entries = new PackedEntries(message.batch.data);
      let at = 0;
      for (const { start, count } of message.batch.runs) {
        for (let index = start; index < start + count; index += 1, at += 1) {
          const { status, payload } = unpackOutcome(entries.entry(at));
          read.order.push(index);
          read.statuses.set(index, status);
          read.values.set(index, payload.toString());
        }
      }
    }
    return { ...read, end };
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

export function spec(own: Partial<JobSpec> = {}): JobSpec {
  return {
    name: "test",
    task: { runtime: "exec", argv: ["true"], seed: "0".repeat(16), rangeStart: 0, retries: 0 },
    codec: "utf8",
    priority: 0,
    strict: false,
    ttlMs: 0,
    ...own,
  };
}

/** ec-code of a failed call. */
export const codeOf = (error: unknown): string => String((error as ServiceError).metadata.get("ec-code")[0]);
