/** How a program gets its cluster: the one that it names, that is configured or that runs here, else its own. */
import { EverycoreError } from "@everycore/protocol";
import { Cluster } from "./cluster.ts";
import { loadConfig } from "./config.ts";
import type { Config, Settings } from "./config.ts";
import { Connection } from "./connection.ts";
import { findCluster } from "./discovery.ts";
import { startEmbedded } from "./embedded.ts";

export interface ConnectOptions {
  /** HOST:PORT of a coordinator, or of several, separated by commas. Default: EVERYCORE_ADDRESS, everycore.json, a running `everycore up`. */
  readonly address?: string;
  /** File with the cluster's secret, readable by its owner alone (0600). Default: EVERYCORE_SECRET_FILE, everycore.json. */
  readonly secretFile?: string;
  /** The secret itself, instead of a file. Default: EVERYCORE_SECRET. */
  readonly secret?: string;
  /** Workers at once of a cluster that is started for this program, 1 to 4,096. Default: the cores of this machine. */
  readonly slots?: number;
  /** Nothing is said on stderr about a cluster that is started here. Default false. */
  readonly quiet?: boolean;
  /** How long a coordinator that has answered before may be away until calls fail, ms. Default 60,000. */
  readonly patienceMs?: number;
  /** Gives up connecting. */
  readonly signal?: AbortSignal;
}

/**
 * Connects to a cluster. Without an address it is found as the command `everycore` finds it: EVERYCORE_ADDRESS, then
 * ./everycore.json and the user's configuration, then a running `everycore up`, else one is started on this machine
 * for this program (package `everycore`), which says so in one line on stderr and ends with it.
 *
 *     await using cluster = await connect();
 *
 * Throws EverycoreError: `unreachable` (nobody answers, or nothing can be started), `refused` (no secret, or a wrong
 * one), `bad-input` (an address or a setting that cannot be meant).
 */
export async function connect(options: ConnectOptions = {}): Promise<Cluster> {
  const { signal } = options;
  signal?.throwIfAborted();
  const config = configOf(options);
  const patience = options.patienceMs === undefined ? {} : { patienceMs: options.patienceMs };
  const python = config.python?.value;
  const found = await findCluster(config, signal);
  if (found.kind === "none") return embedded({ config, options, python, patience });
  const { address, secret } = found;
  const connection = new Connection({ address, secret, onTrouble: remarksOf(options), ...patience });
  try {
    // A wrong address or secret is said here, not in the middle of a program.
    await connection.status({ signal });
  } catch (error) {
    await connection.close();
    throw error;
  }
  return new Cluster({ connection, isEmbedded: false, python, end: () => Promise.resolve() });
}

async function embedded(parts: {
  config: Config;
  options: ConnectOptions;
  python: string | undefined;
  patience: { patienceMs?: number };
}): Promise<Cluster> {
  const { options, python } = parts;
  const local = await startEmbedded({
    slots: options.slots,
    quiet: options.quiet ?? false,
    signal: options.signal ?? new AbortController().signal,
  });
  const { address, secret } = local;
  const onTrouble = remarksOf(options);
  const connection = new Connection({ address, secret, onTrouble, ...parts.patience });
  return new Cluster({ connection, isEmbedded: true, python, end: () => local.stop() });
}

const remarksOf =
  ({ quiet = false }: ConnectOptions) =>
  (sentence: string): void =>
    void (quiet || process.stderr.write(`everycore: ${sentence}\n`));

function configOf(options: ConnectOptions): Config {
  const { address, secret, secretFile, slots } = options;
  if (secret !== undefined && secretFile !== undefined) {
    throw new EverycoreError("bad-input", "connect() was given a secret and a file with one", {
      hint: "give one of secret and secretFile",
    });
  }
  const flags: Settings = {};
  if (address !== undefined) flags.address = address;
  if (secret !== undefined) flags.secret = secret;
  if (secretFile !== undefined) flags.secretFile = secretFile;
  if (slots !== undefined) flags.slots = String(slots);
  return loadConfig({ flags });
}
