/**
 * A cluster for one process: in a temporary folder, ended and removed with whoever started it. `map` and `run` hold
 * one in their own process, other programs through `everycore embedded` (../embedded.ts).
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "@everycore/client/internal";
import type { Config } from "@everycore/client/internal";
import { coresHere } from "./cores.ts";
import { configuredLabels, configuredSlots } from "./node-settings.ts";
import { startLocalCluster } from "./local-cluster.ts";

const folderPrefix = "everycore-embedded-";

export interface EmbeddedOptions {
  readonly config: Config;
  /** Agents that share the slots. Default 1. */
  readonly agents?: number;
  /** Workers at once, in all; by default what is configured, else the cores. */
  readonly slots?: number;
  /** Of each agent's state directory. */
  readonly stateBytesMax?: number;
  /** Nothing is said on stderr. */
  readonly quiet: boolean;
  readonly signal: AbortSignal;
}

export interface EmbeddedCluster extends AsyncDisposable {
  readonly address: string;
  readonly secret: string;
  readonly slots: number;
}

export async function startEmbeddedCluster(options: EmbeddedOptions): Promise<EmbeddedCluster> {
  const { config, quiet, signal, agents = 1 } = options;
  const slots = options.slots ?? configuredSlots(config);
  const labels = configuredLabels(config);
  const say = (line: string): void => void (quiet || process.stderr.write(`${line}\n`));
  const count = slots ?? coresHere().cores;
  say(`no cluster configured: using ${count} ${count === 1 ? "core" : "cores"} of this machine`);
  await removeStale();
  const dir = await mkdtemp(join(tmpdir(), `${folderPrefix}${process.pid}-`));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true, maxRetries: 3 });
  try {
    const local = await startLocalCluster({
      dir,
      secret: randomBytes(32).toString("hex"),
      agents,
      slots,
      labels,
      stateBytesMax: options.stateBytesMax,
      logLevel: config.logLevel?.value ?? "warn",
      listen: "127.0.0.1:0",
      httpListen: "127.0.0.1:0",
      insecureNetwork: false,
      say,
      signal,
      stop: "quick",
    });
    const dispose = async (): Promise<void> => {
      await local[Symbol.asyncDispose]();
      await remove();
    };
    const { address, secret } = local;
    return { address, secret, slots: local.slots, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Folders of embedded clusters whose process was killed. */
async function removeStale(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = name.startsWith(folderPrefix)
      ? Number(name.slice(folderPrefix.length).split("-")[0])
      : Number.NaN;
    if (!Number.isInteger(pid) || pid <= 0 || isAlive(pid)) continue;
    await rm(join(tmpdir(), name), { recursive: true, force: true }).catch(() => {}); // another user's: theirs to remove
  }
}
