/**
 * A whole cluster on this machine, owned by this process: nats-server, one coordinator, N agents. The same for an
 * embedded cluster, which lives in a temporary folder for one command, and for `up`, whose folder is kept.
 *
 *  U1  a part that dies is started again under the same address (kept-part.ts); the others go on. A drained agent has
 *      not died: it stays away until the cluster is started again;
 *  U2  closing ends agents first (they publish what they have), then the coordinator, then nats-server;
 *  U3  the coordinator's port is chosen before it runs, so that agents, which look for interpreters first, start while
 *      nats-server and the coordinator do;
 *  U4  our own agents go by this machine's addresses alone: what others are told need not lead here.
 */
import { join } from "node:path";
import { freePort } from "./free-port.ts";
import { resolveNatsServer } from "../nats-server/index.ts";
import { EverycoreError } from "@everycore/protocol";
import { loopbackOf, planAddresses, splitAddress } from "./addresses.ts";
import { divideSlots } from "./cores.ts";
import type { StopKind } from "./child.ts";
import { KeptPart } from "./kept-part.ts";
import type { Closable } from "./kept-part.ts";
import { startAgent, startCoordinator, startNats } from "./parts.ts";

export interface LocalClusterOptions {
  /** Where everything is kept. */
  readonly dir: string;
  readonly secret: string;
  readonly agents: number;
  /** Slots in all; undefined lets a single agent find out. */
  readonly slots: number | undefined;
  /** Of each agent. */
  readonly labels?: readonly string[] | undefined;
  /** Of each agent's state directory; its own default otherwise. */
  readonly stateBytesMax?: number | undefined;
  readonly logLevel: string;
  /** gRPC address; port 0 lets us choose. */
  readonly listen: string;
  readonly httpListen: string;
  readonly advertise?: string | undefined;
  /** As in addresses.ts. */
  readonly natsListen?: string | undefined;
  readonly agentNats?: string | undefined;
  readonly insecureNetwork: boolean;
  /** Gets what a person should know, in one line each. */
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
  /** How it is ended: an embedded cluster needs no order. */
  readonly stop: StopKind;
}

export class LocalCluster implements AsyncDisposable {
  /** What others are told. */
  readonly address: string;
  /** How it is reached on this machine. */
  readonly localAddress: string;
  readonly http: string;
  readonly secret: string;
  readonly slots: number;
  readonly #parts: readonly (readonly Closable[])[];
  readonly #stop: StopKind;

  constructor(fields: {
    address: string;
    localAddress: string;
    http: string;
    secret: string;
    slots: number;
    parts: readonly (readonly Closable[])[];
    stop: StopKind;
  }) {
    this.address = fields.address;
    this.localAddress = fields.localAddress;
    this.http = fields.http;
    this.secret = fields.secret;
    this.slots = fields.slots;
    this.#parts = fields.parts;
    this.#stop = fields.stop;
  }

  /** U2. Parts that start together end together. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const group of this.#parts.toReversed())
      await Promise.all(group.map((part) => part.close(this.#stop)));
  }
}

export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const { signal } = options;
  const server = await resolveNatsServer({ signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new EverycoreError("unreachable", (error as Error).message, { cause: error });
  });
  const [host, wanted] = splitAddress(options.listen);
  const listen = `${host}:${wanted === 0 ? await freePort() : wanted}`; // U3
  const nats = natsPart(options, server.path);
  const addresses = planAddresses(options, 0);
  let natsPort = 0;
  const [, fixedNatsPort] = splitAddress(addresses.natsListen ?? "127.0.0.1:0");
  // U4. A port that is yet to be chosen is told by the coordinator.
  const natsUrl = fixedNatsPort === 0 ? undefined : addresses.ownNatsUrl(fixedNatsPort);
  const coordinator = coordinatorPart({
    ...options,
    listen,
    natsUrl: () => addresses.ownNatsUrl(natsPort),
    agentNatsUrl: () => addresses.agentNatsUrl(natsPort),
  });
  const shares =
    options.agents === 1 ? [options.slots] : divideSlots(options.slots ?? options.agents, options.agents);
  const agents = shares.map((slots, at) =>
    agentPart({ ...options, at: at + 1, slots, address: loopbackOf(listen), natsUrl }),
  );
  const parts: readonly (readonly Closable[])[] = [[nats], [coordinator], agents];
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  const openServers = async (): Promise<{ address: string; http: string }> => {
    ({ port: natsPort } = await nats.open(stop));
    return coordinator.open(stop);
  };
  const opening = [openServers(), Promise.all(agents.map((agent) => agent.open(stop)))] as const;
  try {
    const [{ address, http }, started] = await Promise.all(opening);
    const slots = started.reduce((sum, agent) => sum + agent.slots, 0);
    const { secret } = options;
    const localAddress = loopbackOf(listen);
    return new LocalCluster({ address, localAddress, http, secret, slots, parts, stop: options.stop });
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(opening); // what is on its way must not start behind the closing
    for (const group of parts.toReversed()) await Promise.all(group.map((part) => part.close(options.stop)));
    throw error;
  }
}

function natsPart(options: LocalClusterOptions, path: string): KeptPart<{ port: number }> {
  const { dir, secret, say } = options;
  const { natsListen = "127.0.0.1:0" } = planAddresses(options, 0);
  return new KeptPart({
    name: "nats-server",
    say,
    start: (previous, stop) =>
      startNats({
        path,
        dir: join(dir, "nats"),
        secret,
        listen: sameAgain(natsListen, previous?.port),
        signal: stop,
      }),
  });
}

function coordinatorPart(
  options: LocalClusterOptions & { natsUrl: () => string; agentNatsUrl: () => string },
): KeptPart<{ address: string; http: string }> {
  const { dir, secret, logLevel, insecureNetwork, listen, advertise } = options;
  const { natsUrl, agentNatsUrl } = options;
  return new KeptPart({
    name: "coordinator",
    say: options.say,
    start: (previous, stop) =>
      startCoordinator({
        name: "coordinator",
        secret,
        logLevel,
        insecureNetwork,
        dataDir: join(dir, "coordinator"),
        logFile: join(dir, "coordinator.log"),
        listen,
        advertise,
        httpListen: previous?.http ?? options.httpListen,
        natsUrl: natsUrl(),
        agentNatsUrl: agentNatsUrl(),
        signal: stop,
      }),
  });
}

function agentPart(
  options: Omit<LocalClusterOptions, "slots"> & {
    at: number;
    slots: number | undefined;
    address: string;
    natsUrl: string | undefined;
  },
): KeptPart<{ node: string; slots: number; http: string }> {
  const name = `agent-${options.at}`;
  return new KeptPart({
    name,
    say: options.say,
    start: (previous, stop) =>
      startAgent({
        secret: options.secret,
        logLevel: options.logLevel,
        insecureNetwork: options.insecureNetwork,
        name,
        dataDir: join(options.dir, name),
        logFile: join(options.dir, `${name}.log`),
        join: [options.address],
        natsUrl: options.natsUrl,
        slots: options.slots,
        labels: options.labels,
        stateBytesMax: options.stateBytesMax,
        httpListen: previous?.http ?? "127.0.0.1:0",
        signal: stop,
      }),
    isMeant: (how) => how === "exit code 0",
  });
}

/** The port once chosen is kept, so that agents find it again. */
function sameAgain(listen: string, port: number | undefined): string {
  return port === undefined ? listen : `${splitAddress(listen)[0]}:${port}`;
}
