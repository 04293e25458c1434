// A cluster of its own for a script: nats-server, coordinator and agents as processes, state in a temporary folder,
// all gone with the script. Started by the same code as `everycore up`, so what a script shows or measures is what
// users get.

import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection } from "@everycore/client/internal";
import { coresHere } from "../packages/cli/src/local/cores.ts";
import { startLocalCluster } from "../packages/cli/src/local/local-cluster.ts";

export interface TemporaryCluster extends AsyncDisposable {
  readonly cluster: Connection;
  readonly address: string;
  readonly secret: string;
  readonly slots: number;
  /** Where its state and logs are. */
  readonly dir: string;
}

export interface TemporaryClusterOptions {
  readonly agents: number;
  /** Slots in all. Default: the cores of this machine. */
  readonly slots?: number;
  /** Gets what a person should know, such as a part that died and was started again. */
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

export async function startTemporaryCluster(options: TemporaryClusterOptions): Promise<TemporaryCluster> {
  const { agents, say, signal, slots = coresHere().cores } = options;
  // The name is that of embedded clusters: the command removes such a folder once the process in it is gone.
  const dir = await mkdtemp(join(tmpdir(), `everycore-embedded-${process.pid}-`));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true, maxRetries: 3 });
  try {
    const local = await startLocalCluster({
      dir,
      secret: randomBytes(32).toString("hex"),
      agents,
      slots,
      logLevel: process.env["EVERYCORE_LOG_LEVEL"] ?? "warn",
      listen: "127.0.0.1:0",
      httpListen: "127.0.0.1:0",
      insecureNetwork: false,
      stop: "quick",
      say,
      signal,
    });
    const { address, secret } = local;
    const cluster = new Connection({ address, secret });
    const dispose = async (): Promise<void> => {
      await cluster.close();
      await local[Symbol.asyncDispose]();
      await remove();
    };
    return { cluster, address, secret, slots: local.slots, dir, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await remove();
    throw error;
  }
}
