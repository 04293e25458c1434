// A whole cluster of real processes for a test: nats-server, coordinator, agents, and a client connected to them.
//
//   await using cluster = await startCluster({ agents: 2, slots: 1 });
//   await cluster.coordinator.kill("SIGKILL");
//   await cluster.restartCoordinator();
//
// Everything lives in one temporary folder. At the end each part is ended in order, and a process that still names
// that folder is a leak: it is killed and the test fails. EVERYCORE_TEST_KEEP=1 keeps the folder for reading.

import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection } from "@everycore/client/internal";
import { natsUser, natsUsers } from "../../packages/cli/src/local/nats-config.ts";
import { type TestNatsCluster, startNatsCluster } from "./nats-cluster.ts";
import { type TestNatsServer, startNatsServer } from "./nats-server.ts";
import { processesOf } from "./processes.ts";
import { Role } from "./role.ts";
import { until } from "./until.ts";

const leftoversWithinMs = 3_000;

export interface ClusterOptions {
  /** Default 1. More stand by; agents are told of the first alone. */
  readonly coordinators?: number;
  /** Default 1. */
  readonly agents?: number;
  /** Of each agent. Default 1. */
  readonly slots?: number;
  /** Of each worker; beyond it the worker is killed. */
  readonly workerMemoryBytes?: number;
  /** Of each agent's state directory. */
  readonly stateBytesMax?: number;
  /** nats-servers that form a cluster. Default: one alone. */
  readonly natsServers?: number;
  /** Of each stream. Default: the coordinator's. */
  readonly replicas?: number;
  /** Account-wide limit of the file store. */
  readonly maxFileStoreBytes?: number;
  readonly logLevel?: string;
  /** Added to the environment of both roles. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Added to the agents' environment, which their workers inherit in part. */
  readonly agentEnvironment?: NodeJS.ProcessEnv;
}

export interface AgentOptions {
  readonly slots?: number;
  /** `key=value`. */
  readonly labels?: readonly string[];
  /** Default: a folder of its own in the cluster's. */
  readonly dataDir?: string;
  readonly environment?: NodeJS.ProcessEnv;
}

export class TestAgent extends Role {
  readonly dataDir: string;

  constructor(options: {
    dataDir: string;
    config: Record<string, unknown>;
    logFile: string;
    environment?: NodeJS.ProcessEnv;
  }) {
    super({ role: "node-agent", ...options });
    this.dataDir = options.dataDir;
  }

  get node(): string {
    return this.text("node");
  }
}

export class TestCluster implements AsyncDisposable {
  readonly dir: string;
  readonly secret: string;
  /** The first, where there are several. */
  readonly nats: TestNatsServer;
  readonly #natsCluster: TestNatsCluster | undefined;
  /** The first, which leads at the start. */
  readonly coordinator: Role;
  readonly standbys: readonly Role[];
  readonly agents: TestAgent[] = [];
  readonly #options: ClusterOptions;
  #client: Connection | undefined;
  #address = "";

  constructor(fields: ClusterFields) {
    this.dir = fields.dir;
    this.secret = fields.secret;
    this.nats = fields.nats;
    this.#natsCluster = fields.natsCluster;
    this.#options = fields.options;
    const role = (name: string): Role =>
      new Role({
        role: "coordinator",
        config: coordinatorConfig(fields),
        logFile: join(this.dir, `${name}.log`),
        environment: { ...process.env, ...fields.options.environment },
      });
    this.coordinator = role("coordinator");
    const count = (fields.options.coordinators ?? 1) - 1;
    this.standbys = Array.from({ length: count }, (_, at) => role(`standby-${at + 1}`));
  }

  get natsCluster(): TestNatsCluster {
    if (this.#natsCluster === undefined) throw new Error("NATS is one server alone: say natsServers");
    return this.#natsCluster;
  }

  get address(): string {
    return this.#address;
  }

  get client(): Connection {
    this.#client ??= new Connection({ address: this.address, secret: this.secret });
    return this.#client;
  }

  /** Asks one coordinator, and knows its address alone. The caller closes it. */
  clientOf(role: Role): Connection {
    return new Connection({ address: role.text("address"), secret: this.secret });
  }

  /** What a command needs to find this cluster. */
  get environment(): NodeJS.ProcessEnv {
    return { EVERYCORE_ADDRESS: this.address, EVERYCORE_SECRET: this.secret };
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  async startCoordinator(): Promise<void> {
    await this.coordinator.start();
    this.#address = this.coordinator.text("address");
  }

  /** Again on the same ports, as a supervisor would. */
  async restartCoordinator(): Promise<void> {
    const http = this.coordinator.text("http");
    if (this.coordinator.isRunning) await this.coordinator.stop();
    await this.coordinator.start({ listen: this.#address, httpListen: http });
  }

  async addAgent(options: AgentOptions = {}): Promise<TestAgent> {
    const name = `agent-${this.agents.length + 1}`;
    const dataDir = options.dataDir ?? join(this.dir, name);
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const agent = new TestAgent({
      dataDir,
      config: {
        ...this.agentConfig({ dataDir, slots: options.slots ?? this.#options.slots ?? 1 }),
        labels: options.labels ?? [],
      },
      logFile: join(this.dir, `${name}.log`),
      environment: {
        ...process.env,
        ...this.#options.environment,
        ...this.#options.agentEnvironment,
        ...options.environment,
      },
    });
    this.agents.push(agent);
    await agent.start();
    return agent;
  }

  agentConfig(fields: { dataDir: string; slots: number }): Record<string, unknown> {
    return {
      join: [this.address],
      secret: this.secret,
      httpListen: "127.0.0.1:0",
      logLevel: this.#options.logLevel ?? "info",
      lifeline: true,
      insecureNetwork: false,
      ...(this.#options.workerMemoryBytes === undefined
        ? {}
        : { workerMemoryBytes: this.#options.workerMemoryBytes }),
      ...(this.#options.stateBytesMax === undefined ? {} : { stateBytesMax: this.#options.stateBytesMax }),
      ...fields,
    };
  }

  async restartAgent(agent: TestAgent): Promise<void> {
    if (agent.isRunning) await agent.stop();
    await agent.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.close();
    const coordinators = [...this.standbys, this.coordinator];
    for (const role of [...this.agents, ...coordinators]) await role.kill("SIGCONT");
    await Promise.all(this.agents.map((agent) => agent.stop()));
    await Promise.all(coordinators.map((coordinator) => coordinator.stop()));
    await (this.#natsCluster ?? this.nats)[Symbol.asyncDispose]();
    await expectNoLeftovers(this.dir);
    if (process.env["EVERYCORE_TEST_KEEP"] === undefined) {
      await rm(this.dir, { recursive: true, force: true, maxRetries: 3 });
    }
  }
}

/** Fails, after having killed them, when processes of the folder outlive its owner. */
export async function expectNoLeftovers(folder: string): Promise<void> {
  try {
    await until(() => processesOf(folder).length === 0, {
      withinMs: leftoversWithinMs,
      what: "all processes to end",
    });
  } catch (error) {
    const left = processesOf(folder);
    for (const { pid } of left) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it has ended in the meantime
      }
    }
    const list = left.map(({ pid, command }) => `${pid}: ${command}`).join("\n");
    throw new Error(`processes were left behind:\n${list}`, { cause: error });
  }
}

interface ClusterFields {
  readonly dir: string;
  readonly secret: string;
  readonly nats: TestNatsServer;
  readonly natsCluster: TestNatsCluster | undefined;
  readonly options: ClusterOptions;
}

function coordinatorConfig(fields: ClusterFields) {
  const { dir, secret, nats, natsCluster, options } = fields;
  const urls = natsCluster?.urls ?? [nats.url];
  return {
    listen: "127.0.0.1:0",
    httpListen: "127.0.0.1:0",
    nats: { urls, ...natsUser(secret, "coordinator") },
    agentNats: { urls, ...natsUser(secret, "agent") },
    secret,
    dataDir: join(dir, "coordinator"),
    logLevel: options.logLevel ?? "info",
    lifeline: true,
    insecureNetwork: false,
    ...(options.replicas === undefined ? {} : { replicas: options.replicas }),
  };
}

/** A folder of a test's own, its name recognisable in the process list. */
export const makeTestFolder = (): Promise<string> => mkdtemp(join(tmpdir(), "everycore-test-cluster-"));

export async function startCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  const dir = await makeTestFolder();
  const secret = randomBytes(32).toString("hex");
  await mkdir(join(dir, "nats"));
  await mkdir(join(dir, "coordinator"));
  await writeFile(join(dir, "secret"), secret, { mode: 0o600 });
  const { maxFileStoreBytes, natsServers: count } = options;
  const natsCluster =
    count === undefined ? undefined : await startNatsCluster({ secret, count, dir: join(dir, "nats") });
  const nats =
    natsCluster?.servers[0] ??
    (await startNatsServer({
      dir: join(dir, "nats"),
      config: natsUsers(secret),
      ...(maxFileStoreBytes === undefined ? {} : { maxFileStoreBytes }),
    }));
  const cluster = new TestCluster({ dir, secret, nats, natsCluster, options });
  try {
    await cluster.startCoordinator();
    for (const standby of cluster.standbys) await standby.start();
    for (let count = 0; count < (options.agents ?? 1); count += 1) await cluster.addAgent();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]().catch(() => {}); // the first failure is the one to show
    throw error;
  }
}
