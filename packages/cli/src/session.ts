/**
 * The cluster a command talks to: the one that is configured or runs as `up`, else, for `map` and `run`, an embedded
 * one on this machine, in a temporary folder, gone with the command.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection, findCluster, loadConfig } from "@everycore/client/internal";
import type { Config, Found, Settings } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import type { Command } from "commander";
import { coresHere } from "./local/cores.ts";
import { startLocalCluster } from "./local/local-cluster.ts";
import { parseCount } from "./input/values.ts";

const folderPrefix = "everycore-embedded-";

export interface ClusterFlags {
  readonly address?: string;
  readonly secretFile?: string;
  readonly quiet?: boolean;
}

/** The flags of every command that talks to a cluster. */
export function withClusterFlags(command: Command): Command {
  return command
    .option(
      "--address <host:port>",
      "coordinator to talk to (default: EVERYCORE_ADDRESS, config, a running `up`)",
    )
    .option("--secret-file <file>", "file with the cluster's secret, readable by you alone")
    .option("-q, --quiet", "no progress and no remarks on stderr");
}

export interface Session extends AsyncDisposable {
  readonly cluster: Connection;
  /** The nodes share this machine and user: programs may run where they were submitted. */
  readonly isHere: boolean;
  readonly isEmbedded: boolean;
}

export function configOf(flags: ClusterFlags): Config {
  const settings: Settings = {};
  if (flags.address !== undefined) settings.address = flags.address;
  if (flags.secretFile !== undefined) settings.secretFile = flags.secretFile;
  return loadConfig({ flags: settings });
}

/** A cluster that is there already. */
export async function openSession(flags: ClusterFlags): Promise<Session> {
  const found = await findCluster(configOf(flags));
  if (found.kind !== "none") return sessionOf(found);
  throw new EverycoreError("unreachable", "no cluster is configured and none runs here", {
    hint: "start one with: everycore up   (or name one by --address and --secret-file)",
  });
}

function sessionOf(found: Exclude<Found, { kind: "none" }>): Session {
  const cluster = new Connection({ address: found.address, secret: found.secret });
  return {
    cluster,
    isHere: found.kind === "up",
    isEmbedded: false,
    [Symbol.asyncDispose]: () => cluster.close(),
  };
}

/** The same, or an embedded cluster where there is none. */
export async function openOrEmbed(
  flags: ClusterFlags & { detach?: boolean },
  signal: AbortSignal,
): Promise<Session> {
  const config = configOf(flags);
  const found = await findCluster(config, signal);
  if (found.kind !== "none") return sessionOf(found);
  if (flags.detach === true) {
    throw new EverycoreError(
      "unreachable",
      "--detach needs a cluster that stays; none is configured and none runs here",
      { hint: "start one with: everycore up" },
    );
  }
  if (process.env["EVERYCORE_WORKER"] !== undefined) {
    throw new EverycoreError("unreachable", "inside a task no cluster is started, and none is configured", {
      hint: "set EVERYCORE_ADDRESS and EVERYCORE_SECRET_FILE for the tasks, or run the program outside",
    });
  }
  return embed(flags, config, signal);
}

async function embed(flags: ClusterFlags, config: Config, signal: AbortSignal): Promise<Session> {
  const slots =
    config.slots === undefined ? undefined : parseCount("slots", { min: 1, max: 4096 })(config.slots.value);
  const say = (line: string): void => void (flags.quiet === true || process.stderr.write(`${line}\n`));
  const count = slots ?? coresHere().cores;
  say(`no cluster configured: using ${count} ${count === 1 ? "core" : "cores"} of this machine`);
  await removeStale();
  const dir = await mkdtemp(join(tmpdir(), `${folderPrefix}${process.pid}-`));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true, maxRetries: 3 });
  try {
    const local = await startLocalCluster({
      dir,
      secret: randomBytes(32).toString("hex"),
      agents: 1,
      slots,
      logLevel: config.logLevel?.value ?? "warn",
      listen: "127.0.0.1:0",
      httpListen: "127.0.0.1:0",
      insecureNetwork: false,
      say,
      signal,
      stop: "quick",
    });
    const cluster = new Connection({ address: local.address, secret: local.secret });
    const dispose = async (): Promise<void> => {
      await cluster.close();
      await local[Symbol.asyncDispose]();
      await remove();
    };
    return { cluster, isHere: true, isEmbedded: true, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Folders of embedded clusters whose command was killed. */
async function removeStale(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = name.startsWith(folderPrefix)
      ? Number(name.slice(folderPrefix.length).split("-")[0])
      : Number.NaN;
    if (!Number.isInteger(pid) || pid <= 0 || isRunning(pid)) continue;
    await rm(join(tmpdir(), name), { recursive: true, force: true }).catch(() => {}); // another user's: theirs to remove
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
