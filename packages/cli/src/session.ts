/**
 * The cluster a command talks to: the one that is configured or runs as `up`, else, for `map` and `run`, an embedded
 * one on this machine, in a temporary folder, gone with the command.
 */
import { Connection, findCluster, loadConfig, refuseInWorker } from "@everycore/client/internal";
import type { Config, Found, Settings } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import type { Command } from "commander";
import { startEmbeddedCluster } from "./local/embedded.ts";

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
      "coordinator to talk to, or several with commas (default: EVERYCORE_ADDRESS, config, a running `up`)",
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
  if (found.kind !== "none") return sessionOf(found, flags);
  throw new EverycoreError("unreachable", "no cluster is configured and none runs here", {
    hint: "start one with: everycore up   (or name one by --address and --secret-file)",
  });
}

/** What went wrong beside the job: a remark, which changes no exit code. */
const remarksOf =
  ({ quiet = false }: ClusterFlags) =>
  (sentence: string): void =>
    void (quiet || process.stderr.write(`everycore: ${sentence}\n`));

function sessionOf(found: Exclude<Found, { kind: "none" }>, flags: ClusterFlags): Session {
  const { address, secret } = found;
  const cluster = new Connection({ address, secret, onTrouble: remarksOf(flags) });
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
  if (found.kind !== "none") return sessionOf(found, flags);
  if (flags.detach === true) {
    throw new EverycoreError(
      "unreachable",
      "--detach needs a cluster that stays; none is configured and none runs here",
      { hint: "start one with: everycore up" },
    );
  }
  refuseInWorker();
  return embed(flags, config, signal);
}

async function embed(flags: ClusterFlags, config: Config, signal: AbortSignal): Promise<Session> {
  const local = await startEmbeddedCluster({ config, quiet: flags.quiet === true, signal });
  const { address, secret } = local;
  const cluster = new Connection({ address, secret, onTrouble: remarksOf(flags) });
  const dispose = async (): Promise<void> => {
    await cluster.close();
    await local[Symbol.asyncDispose]();
  };
  return { cluster, isHere: true, isEmbedded: true, [Symbol.asyncDispose]: dispose };
}
