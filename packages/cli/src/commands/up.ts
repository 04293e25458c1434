/** `everycore up`: a cluster on this machine that stays, in the foreground, with state that survives restarts. */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { loadConfig, readUpFile, runtimeFolder, upFilePath } from "@everycore/client/internal";
import type { UpFile } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import { Command } from "commander";
import { Interrupted } from "../failure.ts";
import { isLoopback, parseCount } from "../input/values.ts";
import { Interrupts } from "../interrupts.ts";
import { listenFor, planAddresses } from "../local/addresses.ts";
import { coresHere } from "../local/cores.ts";
import { keepAddresses, keptAddresses, untilAddressesFree, waitForFormer } from "../local/kept-addresses.ts";
import { configuredLabels, configuredSlots } from "../local/node-settings.ts";
import { startLocalCluster } from "../local/local-cluster.ts";
import type { LocalCluster } from "../local/local-cluster.ts";
import { keepSecret, makeStateFolder, stateHome, takeFolder } from "../local/state-folder.ts";
import { checkNetwork, withNetworkFlags } from "./network-flags.ts";
import type { NetworkFlags } from "./network-flags.ts";
import { labelOption } from "./roles.ts";

interface UpFlags extends NetworkFlags {
  readonly agents: number;
  readonly slots?: number;
  readonly data?: string;
  readonly label?: readonly string[];
}

export const upCommand = (): Command =>
  withNetworkFlags(new Command("up"))
    .description(
      "start a cluster on this machine and keep it: nats-server, coordinator, agents; Ctrl-C ends it",
    )
    .option(
      "--agents <count>",
      "agents that share the cores",
      parseCount("--agents", { min: 1, max: 256 }),
      1,
    )
    .option(
      "--slots <count>",
      "workers at once, in all (default: the cores of this machine)",
      parseCount("--slots", { min: 1, max: 4096 }),
    )
    .addOption(labelOption("its agents"))
    .option("--data <dir>", "state folder (default: $XDG_STATE_HOME/everycore/up)")
    .addHelpText(
      "after",
      "\nExamples:\n  everycore up\n  everycore up --agents 2 --slots 4 --data /var/tmp/everycore &",
    )
    .action(up);

async function up(flags: UpFlags): Promise<void> {
  checkNetwork(flags);
  const running = readUpFile();
  if (running !== undefined) {
    throw new EverycoreError(
      "conflict",
      `everycore up runs already, as process ${running.pid} at ${running.address}`,
      {
        hint: `use it, or end it first: kill ${running.pid}`,
      },
    );
  }
  const config = loadConfig();
  const labels = flags.label ?? configuredLabels(config);
  const dir = resolve(flags.data ?? join(stateHome(config), "up"));
  await makeStateFolder(dir);
  await using owner = await takeFolder(dir);
  using interrupts = new Interrupts("leave", "ending; once more to leave at once");
  const { signal } = interrupts;
  const say = (line: string): void => void process.stderr.write(`everycore up: ${line}\n`);
  const slots =
    flags.slots ?? configuredSlots(config) ?? (flags.agents === 1 ? undefined : coresHere().cores);
  const secret = await keepSecret(join(dir, "secret"));
  const formerMs = waitForFormer(owner);
  const kept = await keptAddresses(dir, formerMs);
  const listen = listenFor(flags, kept.listen);
  const { natsListen } = planAddresses({ ...flags, listen }, 0);
  await untilAddressesFree([listen, natsListen, flags.httpListen], formerMs);
  await using cluster = await startLocalCluster({
    dir,
    secret,
    agents: flags.agents,
    slots,
    labels,
    logLevel: config.logLevel?.value ?? "info",
    listen,
    httpListen: flags.httpListen ?? kept.httpListen,
    advertise: flags.advertise,
    natsListen: flags.natsListen,
    agentNats: flags.agentNats,
    insecureNetwork: flags.insecureNetwork ?? false,
    say,
    signal,
    stop: "orderly",
  }).catch((error: unknown) => {
    throw signal.aborted ? new EndedInOrder() : error;
  });
  const { localAddress, http } = cluster;
  await keepAddresses(dir, { listen: localAddress, httpListen: http });
  // This machine's commands go by loopback where they can: its own advertised name may mean nothing to it.
  const file = { pid: process.pid, address: localAddress, secret, http, startedAt: Date.now() };
  await using _file = await writeUpFile(file);
  process.stdout.write(welcome(cluster, dir));
  await new Promise((ended) => signal.addEventListener("abort", ended, { once: true }));
}

function welcome({ slots, address, http }: LocalCluster, dir: string): string {
  const secretFile = join(dir, "secret");
  const lines = [
    `everycore is up: ${slots} slots at ${address}, state in ${dir}`,
    `  page     http://${http}`,
    "  use it   everycore map square.ts --range 0-99      (this user's commands find it by themselves)",
    `  from     EVERYCORE_ADDRESS=${address} EVERYCORE_SECRET_FILE=${secretFile}`,
    `  join it  everycore agent --join ${address} --secret-file COPY_OF_IT --insecure-network   (other machines)`,
    `  end it   Ctrl-C, or kill ${process.pid}`,
  ];
  return lines.filter((line) => !isLoopback(address) || !line.startsWith("  join it")).join("\n") + "\n";
}

/** Ctrl-C while starting: nothing is wrong. */
class EndedInOrder extends Interrupted {
  constructor() {
    super("leave");
  }
}

/** Written whole or not at all, readable by this user alone (P8); removed if it is still ours. */
async function writeUpFile(up: UpFile): Promise<AsyncDisposable> {
  const file = upFilePath();
  await mkdir(runtimeFolder(), { recursive: true, mode: 0o700 });
  await makeStateFolder(dirname(file));
  const part = `${file}.${process.pid}`;
  await writeFile(part, JSON.stringify(up), { mode: 0o600 });
  await rename(part, file);
  const remove = async (): Promise<void> => {
    const current = await readFile(file, "utf8").catch(() => "{}");
    if ((JSON.parse(current) as Partial<UpFile>).pid === up.pid) await rm(file, { force: true });
  };
  return { [Symbol.asyncDispose]: remove };
}
