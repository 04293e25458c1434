/**
 * A whole cluster on this machine, owned by this process: nats-server, one coordinator, N agents. The same for an
 * embedded cluster, which lives in a temporary folder for one command, and for `up`, whose folder is kept.
 *
 *  U1  a part that dies is started again under the same address, after a wait that grows to 10 s; the others go on;
 *  U2  closing ends agents first (they publish what they have), then the coordinator, then nats-server;
 *  U3  the coordinator's port is chosen before it runs, so that coordinator and agents start at the same time.
 */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { resolveNatsServer } from "../nats-server/index.ts";
import { EverycoreError } from "@everycore/protocol";
import { divideSlots } from "./cores.ts";
import type { Started } from "./parts.ts";
import { freePort, startAgent, startCoordinator, startNats } from "./parts.ts";

const restartMs = { first: 200, max: 10_000, calmAfter: 30_000 };

export interface LocalClusterOptions {
  /** Where everything is kept. */
  readonly dir: string;
  readonly secret: string;
  readonly agents: number;
  /** Slots in all; undefined lets a single agent find out. */
  readonly slots: number | undefined;
  readonly logLevel: string;
  /** gRPC address; port 0 lets us choose. */
  readonly listen: string;
  readonly httpListen: string;
  readonly advertise?: string | undefined;
  readonly insecureNetwork: boolean;
  /** Gets what a person should know, in one line each. */
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

interface Closable {
  close(): Promise<void>;
}

type StartPart<Ready> = (previous: Ready | undefined, signal: AbortSignal) => Promise<Started<Ready>>;

/** A part that is kept running until it is closed. */
class KeptPart<Ready> implements Closable {
  readonly #name: string;
  readonly #start: StartPart<Ready>;
  readonly #say: (line: string) => void;
  readonly #closing = new AbortController();
  #opening: Promise<Started<Ready>> | undefined;
  #keeping: Promise<void> | undefined;

  constructor(options: { name: string; say: (line: string) => void; start: StartPart<Ready> }) {
    this.#name = options.name;
    this.#say = options.say;
    this.#start = options.start;
  }

  async open(signal: AbortSignal): Promise<Ready> {
    this.#opening = this.#start(undefined, AbortSignal.any([signal, this.#closing.signal]));
    const started = await this.#opening;
    this.#keeping = this.#keep(started);
    return started.ready;
  }

  async close(): Promise<void> {
    this.#closing.abort(new EverycoreError("cancelled", `${this.#name} is ended`));
    await this.#opening?.catch(() => {}); // whoever opened it has heard why
    await this.#keeping;
  }

  /** U1. Ends with the part, and sees to it that no process is left. */
  async #keep(first: Started<Ready>): Promise<void> {
    const { signal } = this.#closing;
    const closing = Promise.withResolvers<"closing">();
    signal.addEventListener("abort", () => closing.resolve("closing"), { once: true });
    let current: Started<Ready> | undefined = first;
    let waitMs = restartMs.first;
    while (current !== undefined) {
      const startedAt = performance.now();
      const how: string = await Promise.race([current.child.ended, closing.promise]);
      if (signal.aborted) return current.child.stop();
      if (performance.now() - startedAt > restartMs.calmAfter) waitMs = restartMs.first;
      this.#say(`${this.#name} ended (${how}); it is started again`);
      const { ready }: Started<Ready> = current;
      current = undefined;
      while (current === undefined && !signal.aborted) {
        await delay(waitMs, undefined, { signal }).catch(() => {});
        waitMs = Math.min(restartMs.max, waitMs * 2);
        current = signal.aborted ? undefined : await this.#again(ready);
      }
    }
  }

  async #again(previous: Ready): Promise<Started<Ready> | undefined> {
    try {
      return await this.#start(previous, this.#closing.signal);
    } catch (error) {
      const [sentence] = (error as Error).message.split("\n");
      if (!this.#closing.signal.aborted) this.#say(`${this.#name} could not be started again: ${sentence}`);
      return undefined;
    }
  }
}

export class LocalCluster implements AsyncDisposable {
  readonly address: string;
  readonly http: string;
  readonly secret: string;
  readonly slots: number;
  readonly #parts: readonly (readonly Closable[])[];

  constructor(fields: {
    address: string;
    http: string;
    secret: string;
    slots: number;
    parts: readonly (readonly Closable[])[];
  }) {
    this.address = fields.address;
    this.http = fields.http;
    this.secret = fields.secret;
    this.slots = fields.slots;
    this.#parts = fields.parts;
  }

  /** U2. Parts that start together end together. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const group of this.#parts.toReversed()) await Promise.all(group.map((part) => part.close()));
  }
}

export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const { dir, secret, say, signal } = options;
  const server = await resolveNatsServer({ signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new EverycoreError("unreachable", (error as Error).message, { cause: error });
  });
  const natsPart = new KeptPart<{ url: string; port: number }>({
    name: "nats-server",
    say,
    start: (previous, stop) =>
      startNats({
        path: server.path,
        dir: join(dir, "nats"),
        secret,
        port: previous?.port ?? 0,
        signal: stop,
      }),
  });
  const opened: (readonly Closable[])[] = [];
  try {
    opened.push([natsPart]);
    const nats = await natsPart.open(signal);
    const [host, wanted] = splitAddress(options.listen);
    const listen = `${host}:${wanted === 0 ? await freePort() : wanted}`; // U3
    const coordinator = coordinatorPart({ ...options, listen, natsUrl: nats.url });
    const shares =
      options.agents === 1 ? [options.slots] : divideSlots(options.slots ?? options.agents, options.agents);
    const agentParts = shares.map((slots, at) =>
      agentPart({ ...options, at: at + 1, slots, address: loopbackOf(listen) }),
    );
    opened.push([coordinator], agentParts);
    const [leader, ...agents] = await Promise.all([
      coordinator.open(signal),
      ...agentParts.map((part) => part.open(signal)),
    ]);
    const slots = agents.reduce((sum, agent) => sum + agent.slots, 0);
    return new LocalCluster({ address: leader.address, http: leader.http, secret, slots, parts: opened });
  } catch (error) {
    for (const group of opened.toReversed()) await Promise.all(group.map((part) => part.close()));
    throw error;
  }
}

function coordinatorPart(
  options: LocalClusterOptions & { natsUrl: string },
): KeptPart<{ address: string; http: string }> {
  const { dir, secret, logLevel, insecureNetwork, listen, advertise, natsUrl } = options;
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
        natsUrl,
        signal: stop,
      }),
  });
}

function agentPart(
  options: Omit<LocalClusterOptions, "slots"> & { at: number; slots: number | undefined; address: string },
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
        slots: options.slots,
        httpListen: previous?.http ?? "127.0.0.1:0",
        signal: stop,
      }),
  });
}

export function splitAddress(address: string): [string, number] {
  const at = address.lastIndexOf(":");
  return [address.slice(0, at), Number(address.slice(at + 1))];
}

/** How we reach on this machine what listens there. */
export function loopbackOf(address: string): string {
  const [host, port] = splitAddress(address);
  return host === "0.0.0.0" || host === "[::]" ? `127.0.0.1:${port}` : address;
}
