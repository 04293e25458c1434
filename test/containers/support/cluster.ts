// A cluster in containers on a network of its own: NATS, a coordinator, agents from our images, and a client on this
// machine. Containers are known to each other by name, not by alias: an alias would attach them to the default
// network too, and to cut them off from one of two networks is no outage.

import { randomBytes } from "node:crypto";
import { Connection, type NodeInfo } from "@everycore/client/internal";
import type { StartedNetwork, StartedTestContainer } from "testcontainers";
import { GenericContainer, Network, Wait } from "testcontainers";
import { sharedNatsConfig } from "../../../packages/cli/src/local/nats-config.ts";
import { until } from "../../support/until.ts";
import { docker } from "./images.ts";

const startMs = 60_000;

/** One agent in its container. */
export class AgentContainer {
  readonly name: string;
  readonly #container: StartedTestContainer;
  readonly #network: string;

  constructor(fields: { name: string; container: StartedTestContainer; network: string }) {
    this.name = fields.name;
    this.#container = fields.container;
    this.#network = fields.network;
  }

  /** What `node list` calls its host: a container's host name is the short form of its id. */
  get host(): string {
    return this.#container.getId().slice(0, 12);
  }

  async kill(): Promise<void> {
    await docker("kill", "--signal", "KILL", this.name);
  }

  async start(): Promise<void> {
    await docker("start", this.name);
  }

  async pause(): Promise<void> {
    await docker("pause", this.name);
  }

  async unpause(): Promise<void> {
    await docker("unpause", this.name);
  }

  async disconnect(): Promise<void> {
    await docker("network", "disconnect", this.#network, this.name);
  }

  async connect(): Promise<void> {
    await docker("network", "connect", this.#network, this.name);
  }

  /** Asks it to end, as an orchestrator does, and gives its exit code. */
  async stop(): Promise<number> {
    await docker("stop", "--time", "20", this.name);
    return this.exitCode();
  }

  async isRunning(): Promise<boolean> {
    return (await docker("inspect", "--format", "{{.State.Running}}", this.name)) === "true";
  }

  async exitCode(): Promise<number> {
    return Number(await docker("inspect", "--format", "{{.State.ExitCode}}", this.name));
  }

  /** Stdout of a shell script inside. */
  async shell(script: string): Promise<string> {
    const { stdout, stderr, exitCode } = await this.#container.exec(["sh", "-c", script]);
    if (exitCode !== 0) throw new Error(`${this.name}: ${script} ended with ${exitCode}: ${stderr}`);
    return stdout;
  }

  /** A metric's value. */
  async metric(name: string): Promise<number> {
    const read = `fetch("http://127.0.0.1:7072/metrics").then((r) => r.text()).then((t) => console.log(t))`;
    const { stdout } = await this.#container.exec(["node", "-e", read]);
    const line = stdout.split("\n").find((each) => each.startsWith(`${name} `));
    if (line === undefined) throw new Error(`${this.name} has no metric ${name}`);
    return Number(line.slice(name.length + 1));
  }
}

interface Parts {
  readonly network: StartedNetwork;
  readonly coordinator: StartedTestContainer;
}

/** With those whose start failed; their volumes too. */
export async function removeAll(prefix: string, network: StartedNetwork): Promise<void> {
  const ids = await docker("ps", "--all", "--quiet", "--filter", `name=^/${prefix}-`);
  if (ids !== "") await docker("rm", "--force", "--volumes", ...ids.split("\n"));
  await network.stop();
}

export class ContainerCluster implements AsyncDisposable {
  readonly secret: string;
  readonly client: Connection;
  readonly agents: AgentContainer[] = [];
  readonly #prefix: string;
  readonly #image: string;
  readonly #parts: Parts;
  #lastAgent = 0;

  constructor(fields: { prefix: string; secret: string; image: string; parts: Parts }) {
    this.#prefix = fields.prefix;
    this.#image = fields.image;
    this.#parts = fields.parts;
    this.secret = fields.secret;
    this.client = new Connection({ address: this.address, secret: this.secret });
  }

  get address(): string {
    const { coordinator } = this.#parts;
    return `${coordinator.getHost()}:${coordinator.getMappedPort(7070)}`;
  }

  async addAgent(options: { slots: number }): Promise<AgentContainer> {
    this.#lastAgent += 1;
    const name = `${this.#prefix}-agent-${this.#lastAgent}`;
    const container = await new GenericContainer(this.#image)
      .withName(name)
      .withNetwork(this.#parts.network)
      .withEnvironment({ EVERYCORE_SECRET: this.secret })
      .withCommand([
        `--join=${this.#prefix}-coordinator:7070`,
        "--insecure-network",
        `--slots=${options.slots}`,
      ])
      .withWaitStrategy(Wait.forLogMessage(/^agent [0-9a-f]+ with/))
      .withStartupTimeout(startMs)
      .start();
    const agent = new AgentContainer({ name, container, network: this.#parts.network.getId() });
    this.agents.push(agent);
    return agent;
  }

  async nodeOf(agent: AgentContainer): Promise<NodeInfo | undefined> {
    return (await this.client.listNodes()).find(({ host }) => host === agent.host);
  }

  async reaches(agent: AgentContainer, state: string): Promise<void> {
    await until(async () => (await this.nodeOf(agent))?.state === state, {
      what: `${agent.name} to be ${state}`,
      withinMs: 45_000,
      everyMs: 100,
    });
  }

  async restartNats(): Promise<void> {
    await docker("restart", "--time", "5", `${this.#prefix}-nats`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    await removeAll(this.#prefix, this.#parts.network);
  }
}

interface Images {
  readonly coordinator: string;
  readonly agent: string;
}

export async function startContainerCluster(
  images: Images,
  options: { readonly agents: number; readonly slots: number },
): Promise<ContainerCluster> {
  const prefix = `everycore-test-${randomBytes(4).toString("hex")}`;
  const secret = randomBytes(32).toString("hex");
  const network = await new Network().start();
  try {
    await startNats({ prefix, secret, network });
    const coordinator = await startCoordinator({ prefix, secret, network, image: images.coordinator });
    const parts = { network, coordinator };
    const cluster = new ContainerCluster({ prefix, secret, image: images.agent, parts });
    const { agents, slots } = options;
    await Promise.all(Array.from({ length: agents }, () => cluster.addAgent({ slots })));
    return cluster;
  } catch (error) {
    await removeAll(prefix, network);
    throw error;
  }
}

interface Start {
  readonly prefix: string;
  readonly secret: string;
  readonly network: StartedNetwork;
}

function startNats({ prefix, secret, network }: Start): Promise<StartedTestContainer> {
  const content = sharedNatsConfig({
    secret,
    listen: "0.0.0.0:4222",
    httpListen: "127.0.0.1:8222",
    storeDir: "/data/store",
    storeBytes: 2 * 1024 ** 3,
  });
  return new GenericContainer("nats:2-alpine")
    .withName(`${prefix}-nats`)
    .withNetwork(network)
    .withCopyContentToContainer([{ content, target: "/etc/nats/everycore.conf" }])
    .withCommand(["--config", "/etc/nats/everycore.conf"])
    .withWaitStrategy(Wait.forLogMessage("Server is ready"))
    .start();
}

function startCoordinator(start: Start & { image: string }): Promise<StartedTestContainer> {
  const { prefix, secret, network, image } = start;
  const at = `${prefix}-coordinator:7070`;
  return new GenericContainer(image)
    .withName(`${prefix}-coordinator`)
    .withNetwork(network)
    .withExposedPorts(7070)
    .withEnvironment({ EVERYCORE_SECRET: secret })
    .withCommand([
      "--listen=0.0.0.0:7070",
      `--advertise=${at}`,
      `--nats=nats://${prefix}-nats:4222`,
      "--insecure-network",
    ])
    .withWaitStrategy(Wait.forLogMessage(/^coordinator at/))
    .withStartupTimeout(startMs)
    .start();
}
