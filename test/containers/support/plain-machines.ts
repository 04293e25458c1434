// Plain machines, which are containers: Node, npm and nats-server, an ordinary user, the packed tarballs in his home.
// They are known to each other by the names that the guides use.

import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StartedNetwork } from "testcontainers";
import { GenericContainer, Network } from "testcontainers";
import { docker } from "./images.ts";
import { pack } from "./pack.ts";

export class PlainMachines<Machine extends string> implements AsyncDisposable {
  /** Of the test's own, on this host. */
  readonly folder: string;
  readonly #prefix = `everycore-test-${randomBytes(4).toString("hex")}`;
  readonly #network: StartedNetwork;
  #lastScript = 0;

  constructor(folder: string, network: StartedNetwork) {
    this.folder = folder;
    this.#network = network;
  }

  static async start<Machine extends string>(
    image: string,
    machines: readonly Machine[],
  ): Promise<PlainMachines<Machine>> {
    const folder = await mkdtemp(join(tmpdir(), "everycore-test-pack-"));
    await pack(folder);
    const started = new PlainMachines<Machine>(folder, await new Network().start());
    try {
      await Promise.all(machines.map((machine) => started.#add(image, machine)));
      return started;
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What docker calls it. */
  nameOf(machine: Machine): string {
    return `${this.#prefix}-${machine}`;
  }

  async #add(image: string, machine: Machine): Promise<void> {
    const tarballs = (await readdir(this.folder)).filter((file) => file.endsWith(".tgz"));
    // an alias here: nothing is cut off, and the guide calls the machines by these names
    await new GenericContainer(image)
      .withName(this.nameOf(machine))
      .withHostname(machine)
      .withNetwork(this.#network)
      .withNetworkAliases(machine)
      .withCopyFilesToContainer(
        tarballs.map((file) => ({ source: join(this.folder, file), target: `/home/node/${file}` })),
      )
      .start();
  }

  /**
   * Runs a script as the machine's user. What it prints goes to a file of its own, because what it leaves running goes
   * on printing; and it has an end, whatever it waits for.
   */
  async on(machine: Machine, script: string): Promise<string> {
    this.#lastScript += 1;
    const name = this.nameOf(machine);
    const file = `/tmp/said-${this.#lastScript}`;
    const said = (): Promise<string> => docker("exec", name, "cat", file);
    const lines = `{ ${script}\n} > ${file} 2>&1 < /dev/null`;
    await docker("exec", name, "timeout", "120", "bash", "-euc", lines).catch(async (error: unknown) => {
      throw new Error(await said(), { cause: error });
    });
    return said();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ids = await docker("ps", "--all", "--quiet", "--filter", `name=^/${this.#prefix}-`);
    if (ids !== "") await docker("rm", "--force", "--volumes", ...ids.split("\n"));
    await this.#network.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
