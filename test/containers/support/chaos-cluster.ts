// A cluster of which every part is there more than once, each in its container: three nats-servers that keep three
// replicas, three coordinators, agents, and a folder that all agents share, in which tasks leave what they did.

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type ClusterStatus, Connection } from "@everycore/client/internal";
import type { StartedNetwork } from "testcontainers";
import { GenericContainer, Network, Wait } from "testcontainers";
import { freePort } from "../../../packages/cli/src/local/free-port.ts";
import { sharedNatsConfig } from "../../../packages/cli/src/local/nats-config.ts";
import { until } from "../../support/until.ts";
import { removeAll } from "./cluster.ts";
import { docker } from "./images.ts";

const execFileAsync = promisify(execFile);
const startMs = 120_000;
const three = [1, 2, 3] as const;

interface Images {
  readonly coordinator: string;
  readonly agent: string;
  readonly network: string;
}

/** A container as a machine that fails. */
export class Machine {
  readonly name: string;
  /** What `node list` calls it. */
  readonly host: string;
  readonly #networkImage: string;

  constructor(fields: { name: string; id: string; networkImage: string }) {
    this.name = fields.name;
    this.host = fields.id.slice(0, 12);
    this.#networkImage = fields.networkImage;
  }

  kill = (): Promise<string> => docker("kill", "--signal", "KILL", this.name);
  start = (): Promise<string> => docker("start", this.name);
  /** All its processes stand still; nobody is told. */
  freeze = (): Promise<string> => docker("pause", this.name);
  thaw = (): Promise<string> => docker("unpause", this.name);
  /** One way: it hears all, and is heard by nobody. */
  mute = (): Promise<string> => this.#filter("-I", "OUTPUT", "!", "-o", "lo", "-j", "DROP");
  unmute = (): Promise<string> => this.#filter("-D", "OUTPUT", "!", "-o", "lo", "-j", "DROP");

  #filter(...rule: string[]): Promise<string> {
    const beside = ["--network", `container:${this.name}`, "--cap-add", "NET_ADMIN"];
    return docker("run", "--rm", ...beside, this.#networkImage, ...rule);
  }

  /** A metric of its role's HTTP port. */
  async metric(name: string): Promise<number> {
    const read = `fetch("http://127.0.0.1:7072/metrics").then((r) => r.text()).then((t) => console.log(t))`;
    const text = await docker("exec", this.name, "node", "-e", read);
    const line = text.split("\n").find((each) => each.startsWith(`${name} `));
    if (line === undefined) throw new Error(`${this.name} has no metric ${name}`);
    return Number(line.slice(name.length + 1));
  }
}

/** One start of an item. */
export interface Start {
  readonly host: string;
  readonly at: number;
  readonly item: number;
}

interface Fields {
  readonly prefix: string;
  readonly secret: string;
  readonly images: Images;
  readonly effects: string;
  readonly network: StartedNetwork;
}

export class ChaosCluster implements AsyncDisposable {
  readonly nats: Machine[] = [];
  readonly coordinators: Machine[] = [];
  readonly agents: Machine[] = [];
  readonly #fields: Fields;
  readonly #addresses: string[] = [];
  #client: Connection | undefined;

  constructor(fields: Fields) {
    this.#fields = fields;
  }

  get client(): Connection {
    this.#client ??= new Connection({ address: this.#addresses[0]!, secret: this.#fields.secret });
    return this.#client;
  }

  /** What any coordinator says that answers; undefined: none does. */
  async status(): Promise<ClusterStatus | undefined> {
    for (const address of this.#addresses) {
      await using asked = new Connection({ address, secret: this.#fields.secret, patienceMs: 0 });
      const status = await asked.status({ signal: AbortSignal.timeout(3_000) }).catch(() => undefined);
      if (status !== undefined && status.leader !== "" && status.epoch > 0) return status;
    }
    return undefined;
  }

  /** Items of the job that have an outcome, as any coordinator says. */
  async covered(job: string): Promise<number> {
    for (const address of this.#addresses) {
      await using asked = new Connection({ address, secret: this.#fields.secret, patienceMs: 0 });
      const call = { signal: AbortSignal.timeout(3_000) };
      const info = await asked.getJob(job, call).catch(() => undefined);
      if (info !== undefined)
        return Object.values(info.counts ?? {}).reduce((sum: number, each: number) => sum + each, 0);
    }
    throw new Error("no coordinator answers");
  }

  async leader(): Promise<Machine> {
    const leader = await until(async () => (await this.status())?.leader, {
      what: "a coordinator to lead",
      withinMs: 60_000,
      everyMs: 200,
    });
    return this.coordinators.find(({ name }) => leader.startsWith(`${name}:`))!;
  }

  /** Of all agents, in order of time. */
  async starts(): Promise<Start[]> {
    const { effects } = this.#fields;
    const starts: Start[] = [];
    for (const host of await readdir(effects)) {
      for (const line of (await readFile(join(effects, host), "utf8")).split("\n")) {
        const [at, item] = line.split(" ");
        if (item !== undefined) starts.push({ host, at: Number(at), item: Number(item) });
      }
    }
    return starts.toSorted((a, b) => a.at - b.at);
  }

  async addNats(number: number): Promise<void> {
    const { prefix, secret } = this.#fields;
    const content = sharedNatsConfig({
      secret,
      listen: "0.0.0.0:4222",
      httpListen: "127.0.0.1:8222",
      storeDir: "/data/store",
      storeBytes: 2 * 1024 ** 3,
      cluster: {
        serverName: `nats-${number}`,
        listen: "0.0.0.0:6222",
        routes: three.map((each) => `${prefix}-nats-${each}:6222`),
      },
    });
    this.nats.push(
      await this.#start("nats:2-alpine", `nats-${number}`, (container) =>
        container
          .withCopyContentToContainer([{ content, target: "/etc/nats/everycore.conf" }])
          .withCommand(["--config", "/etc/nats/everycore.conf"])
          .withWaitStrategy(Wait.forLogMessage(/Listening for client connections/)),
      ),
    );
  }

  async addCoordinator(number: number): Promise<void> {
    const { prefix, secret, images } = this.#fields;
    const port = await freePort(); // chosen here: a container that starts again has it again
    this.coordinators.push(
      await this.#start(images.coordinator, `coordinator-${number}`, (container) =>
        container
          .withExposedPorts({ container: 7070, host: port })
          .withEnvironment({ EVERYCORE_SECRET: secret })
          .withCommand([
            `--advertise=${prefix}-coordinator-${number}:7070`,
            `--nats=${three.map((each) => `nats://${prefix}-nats-${each}:4222`).join(",")}`,
            "--replicas=3",
            "--insecure-network",
          ])
          .withWaitStrategy(Wait.forLogMessage(/^coordinator at/)),
      ),
    );
    this.#addresses.push(`127.0.0.1:${port}`);
  }

  async addAgent(number: number, slots: number): Promise<void> {
    const { prefix, secret, images, effects } = this.#fields;
    this.agents.push(
      await this.#start(images.agent, `agent-${number}`, (container) =>
        container
          .withBindMounts([{ source: effects, target: "/effects", mode: "rw" }])
          .withEnvironment({ EVERYCORE_SECRET: secret })
          .withCommand([
            ...three.map((each) => `--join=${prefix}-coordinator-${each}:7070`),
            "--insecure-network",
            `--slots=${slots}`,
          ])
          .withWaitStrategy(Wait.forLogMessage(/^agent [0-9a-f]+ with/)),
      ),
    );
  }

  async #start(
    image: string,
    name: string,
    prepare: (container: GenericContainer) => GenericContainer,
  ): Promise<Machine> {
    const { prefix, network, images } = this.#fields;
    const full = `${prefix}-${name}`;
    const container = new GenericContainer(image).withName(full).withNetwork(network);
    const started = await prepare(container).withStartupTimeout(startMs).start();
    return new Machine({ name: full, id: started.getId(), networkImage: images.network });
  }

  /** The last lines of each part, for a test that failed. */
  async logs(): Promise<string> {
    const machines = [...this.coordinators, ...this.agents, ...this.nats];
    const texts = await Promise.all(
      machines.map(async ({ name }) => {
        const { stdout, stderr } = await execFileAsync("docker", ["logs", "--tail", "5000", name], {
          maxBuffer: 64 * 1024 * 1024,
        });
        return `--- ${name}\n${stdout}${stderr}`;
      }),
    );
    return texts.join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.close();
    await removeAll(this.#fields.prefix, this.#fields.network);
    await rm(this.#fields.effects, { recursive: true, force: true });
  }
}

export async function startChaosCluster(
  images: Images,
  options: { readonly agents: number; readonly slots: number },
): Promise<ChaosCluster> {
  const effects = await mkdtemp(join(tmpdir(), "everycore-test-effects-"));
  await chmod(effects, 0o777); // agents write there as another user
  const cluster = new ChaosCluster({
    prefix: `everycore-test-${randomBytes(4).toString("hex")}`,
    secret: randomBytes(32).toString("hex"),
    images,
    effects,
    network: await new Network().start(),
  });
  try {
    await Promise.all(three.map((number) => cluster.addNats(number)));
    for (const number of three) await cluster.addCoordinator(number);
    for (let number = 1; number <= options.agents; number += 1) await cluster.addAgent(number, options.slots);
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}
