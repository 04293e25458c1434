/** `everycore coordinator` and `everycore agent`: the roles of a cluster, each in the foreground. */
import { join, resolve } from "node:path";
import { loadConfig, readSecretFile } from "@everycore/client/internal";
import type { Config } from "@everycore/client/internal";
import { checkLabels, EverycoreError } from "@everycore/protocol";
import { Command, Option } from "commander";
import { exitCodes } from "../failure.ts";
import {
  parseCount,
  parseDuration,
  parseListen,
  parseNatsUrls,
  parseReplicas,
  parseSize,
} from "../input/values.ts";
import { Interrupts } from "../interrupts.ts";
import { listenFor, planAddresses } from "../local/addresses.ts";
import type { Child } from "../local/child.ts";
import { untilAddressesFree, waitForFormer } from "../local/kept-addresses.ts";
import { configuredLabels, configuredReplicas, configuredSlots } from "../local/node-settings.ts";
import { startAgent, startCoordinator, startNats } from "../local/parts.ts";
import { keepSecret, makeStateFolder, stateHome, takeFolder } from "../local/state-folder.ts";
import { resolveNatsServer } from "../nats-server/index.ts";
import { checkNetwork, withHttpFlags, withNetworkFlags } from "./network-flags.ts";
import type { NetworkFlags } from "./network-flags.ts";

interface RoleFlags extends NetworkFlags {
  readonly secretFile?: string;
  readonly data?: string;
}

const defaults = {
  listen: "127.0.0.1:7070",
  httpListen: "127.0.0.1:7071",
  agentHttpListen: "127.0.0.1:7072",
};

function withRoleFlags(command: Command): Command {
  return command
    .option("--secret-file <file>", "file with the cluster's secret, readable by you alone")
    .option("--data <dir>", "state folder");
}

export const coordinatorCommand = (): Command =>
  withRoleFlags(withNetworkFlags(new Command("coordinator")))
    .description("run a coordinator, with a nats-server of its own unless --nats names one")
    .option(
      "--nats <urls>",
      "NATS server to use, or servers of one cluster, with commas between; their users follow from the secret",
      parseNatsUrls,
    )
    .option(
      "--replicas <count>",
      "nats-servers that shall keep each record: 1, 3 or 5 (default: as it is, 1 at first)",
      parseReplicas,
    )
    .addHelpText(
      "after",
      "\nExamples:\n  everycore coordinator --listen 127.0.0.1:7070 --secret-file ./secret --data ./coordinator\n" +
        "  everycore coordinator --listen 0.0.0.0:7070 --advertise head.lan:7070 --insecure-network\n" +
        "  everycore coordinator --nats nats://a:4222,nats://b:4222,nats://c:4222 --replicas 3",
    )
    .action(coordinator);

export const agentCommand = (): Command =>
  withRoleFlags(withHttpFlags(new Command("agent")))
    .description("run a node agent: one worker for each core of this machine")
    .option(
      "--join <host:port>",
      "coordinators to join (default: the configured address, or 127.0.0.1:7070)",
      (text: string, list: string[] | undefined) => [...(list ?? []), parseListen(text)],
    )
    .option(
      "--slots <count>",
      "workers at once (default: the cores of this machine)",
      parseCount("--slots", { min: 1, max: 4096 }),
    )
    .addOption(labelOption("this node"))
    .option(
      "--worker-memory <size>",
      "memory of one worker, beyond which its item crashes: 500M, 2G (default: memory / slots)",
      parseSize,
    )
    .option(
      "--data-max <size>",
      "what its state directory may hold: 2G (default: 10G or a tenth of the disk, at least 1G)",
      parseSize,
    )
    .option(
      "--drain-within <duration>",
      "time that running items get when the agent is asked to end, before they are given back (default: 10s)",
      parseDuration,
    )
    .addHelpText(
      "after",
      "\nExamples:\n  everycore agent --join 127.0.0.1:7070 --secret-file ./secret --data ./agent --slots 2\n" +
        "  everycore agent --join head.lan:7070 --secret-file ./secret --insecure-network",
    )
    .action(agent);

/** Given once, it stands for all that is configured. */
export const labelOption = (whose: string): Option =>
  new Option(
    "--label <key=value>",
    `a label of ${whose}, for jobs that require it; may be given several times`,
  ).argParser((text: string, list: readonly string[] | undefined) => checkLabels([...(list ?? []), text]));

/** The secret that is configured, or the one kept in the folder where one may be made. */
async function secretFor(flags: RoleFlags, config: Config, makeIn?: string): Promise<string> {
  if (flags.secretFile !== undefined) return readSecretFile(flags.secretFile);
  if (config.secret !== undefined) return config.secret.value;
  if (config.secretFile !== undefined) return readSecretFile(config.secretFile.value);
  if (makeIn !== undefined) return keepSecret(makeIn);
  throw new EverycoreError("refused", "there is no secret to join the cluster with", {
    hint: "give --secret-file FILE: the coordinator keeps its own in its state folder, as `secret`",
  });
}

async function coordinator(flags: RoleFlags & { nats?: string; replicas?: number }): Promise<void> {
  checkNetwork(flags);
  const config = loadConfig();
  const listen = listenFor(flags, defaults.listen);
  const given = flags.nats ?? (config.nats === undefined ? undefined : parseNatsUrls(config.nats.value));
  const replicas = flags.replicas ?? configuredReplicas(config);
  if (replicas !== undefined && replicas > 1 && given === undefined) {
    throw new EverycoreError(
      "bad-input",
      `${replicas} replicas need a cluster of nats-servers, and this coordinator would start one alone`,
      { hint: "name the servers of a cluster: --nats nats://a:4222,nats://b:4222,nats://c:4222" },
    );
  }
  const addresses = planAddresses({ ...flags, listen, nats: given });
  const dir = resolve(flags.data ?? join(stateHome(config), "coordinator"));
  await makeStateFolder(dir);
  await using owner = await takeFolder(dir);
  const secret = await secretFor(flags, config, join(dir, "secret"));
  using interrupts = new Interrupts("leave");
  const { signal } = interrupts;
  const { natsListen } = addresses;
  const httpListen = flags.httpListen ?? defaults.httpListen;
  await untilAddressesFree([listen, natsListen, httpListen], waitForFormer(owner));
  const nats = natsListen === undefined ? undefined : await ownNats({ dir, secret, natsListen, signal });
  const natsPort = nats?.port ?? 0;
  try {
    const { child, ready } = await startCoordinator({
      name: "coordinator",
      secret,
      dataDir: dir,
      logFile: join(dir, "coordinator.log"),
      logLevel: config.logLevel?.value ?? "info",
      isForeground: true,
      insecureNetwork: flags.insecureNetwork ?? false,
      listen,
      httpListen,
      advertise: flags.advertise,
      natsUrl: addresses.ownNatsUrl(natsPort),
      replicas,
      agentNatsUrl: addresses.agentNatsUrl(natsPort),
      signal,
    });
    process.stdout.write(`coordinator at ${ready.address}, page http://${ready.http}, state in ${dir}\n`);
    await untilEnded(child, signal);
  } finally {
    await nats?.child.stop();
  }
}

async function ownNats(options: {
  dir: string;
  secret: string;
  natsListen: string;
  signal: AbortSignal;
}): Promise<{ port: number; child: Child }> {
  const { path } = await resolveNatsServer({ signal: options.signal }).catch((error: unknown) => {
    throw new EverycoreError("unreachable", (error as Error).message, { cause: error });
  });
  const { child, ready } = await startNats({
    ...options,
    path,
    dir: join(options.dir, "nats"),
    listen: options.natsListen,
  });
  return { port: ready.port, child };
}

async function agent(
  flags: RoleFlags & {
    join?: string[];
    slots?: number;
    workerMemory?: number;
    dataMax?: number;
    drainWithin?: number;
    label?: readonly string[];
  },
): Promise<void> {
  checkNetwork(flags);
  const config = loadConfig();
  const labels = flags.label ?? configuredLabels(config);
  const dir = resolve(flags.data ?? join(stateHome(config), "agent"));
  await makeStateFolder(dir);
  using interrupts = new Interrupts("leave");
  const { child, ready } = await startAgent({
    name: "agent",
    secret: await secretFor(flags, config),
    dataDir: dir,
    logFile: join(dir, "agent.log"),
    logLevel: config.logLevel?.value ?? "info",
    isForeground: true,
    insecureNetwork: flags.insecureNetwork ?? false,
    join:
      flags.join ??
      (config.address?.value ?? defaults.listen).split(",").map((one) => parseListen(one.trim())),
    slots: flags.slots ?? configuredSlots(config),
    workerMemoryBytes: flags.workerMemory,
    stateBytesMax: flags.dataMax,
    labels,
    drainMs: flags.drainWithin,
    httpListen: flags.httpListen ?? defaults.agentHttpListen,
    signal: interrupts.signal,
  });
  process.stdout.write(`agent ${ready.node} with ${ready.slots} slots, state in ${dir}\n`);
  await untilEnded(child, interrupts.signal);
}

/** Ends with the role, or ends the role in good order when we are asked to. */
async function untilEnded(child: Child, signal: AbortSignal): Promise<void> {
  const asked = new Promise<"asked">((resolveAsked) =>
    signal.addEventListener("abort", () => resolveAsked("asked"), { once: true }),
  );
  const how = await Promise.race([child.ended, asked]);
  await child.stop();
  if (signal.aborted || how === "exit code 0") return;
  process.stderr.write(`everycore: ${child.name} ended (${how})\n`);
  process.exitCode = child.process.exitCode ?? exitCodes.internal;
}
