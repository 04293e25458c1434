/**
 * Which addresses a cluster listens on and which ones it tells others. Owns the rules; starts nothing.
 *
 *  D1  others are never told an address that means something else to them: no 0.0.0.0, and no loopback once the
 *      coordinator is meant for other machines;
 *  D2  agents open outbound connections only, so they must reach two things: the coordinator and its NATS. A
 *      coordinator that brings its own nats-server tells them the host it advertises itself;
 *  D3  nats-server listens where the coordinator does, unless told otherwise;
 *  D4  a coordinator that is advertised to other machines, and not told where to listen, listens for them: on all its
 *      addresses, at the port that it advertises. Else they would be sent to where nobody listens.
 */
import { EverycoreError } from "@everycore/protocol";

export interface AddressFlags {
  readonly listen: string;
  readonly advertise?: string | undefined;
  /** Where our own nats-server listens. */
  readonly natsListen?: string | undefined;
  /** NATS servers that run already: URLs with commas between. */
  readonly nats?: string | undefined;
  /** What agents are told instead, likewise. */
  readonly agentNats?: string | undefined;
}

export interface Addresses {
  /** Of our own nats-server; its port 0 lets the machine choose. Undefined where another one is used. */
  readonly natsListen: string | undefined;
  /** What agents are told of NATS; a function of the port, which may be chosen late. */
  readonly agentNatsUrl: (port: number) => string;
  /** Our own way to NATS. */
  readonly ownNatsUrl: (port: number) => string;
}

const defaultNatsPort = 4222;

/** D4; `otherwise` where nothing is for other machines. */
export function listenFor(
  flags: { readonly listen?: string | undefined; readonly advertise?: string | undefined },
  otherwise: string,
): string {
  const { listen, advertise } = flags;
  if (listen !== undefined || advertise === undefined) return listen ?? otherwise;
  const [host, port] = splitAddress(advertise);
  if (isLoopbackHost(host)) return otherwise;
  return `${host.startsWith("[") ? "[::]" : "0.0.0.0"}:${port}`;
}

/** `natsPort` is our own nats-server's port where no other is asked for, on loopback alone. */
export function planAddresses(flags: AddressFlags, natsPort = defaultNatsPort): Addresses {
  const { listen, advertise } = flags;
  const told = advertise ?? listen;
  if (isEverywhere(hostOf(told))) {
    const hint = "say --advertise HOST:PORT, with a name or address of this machine that they can reach";
    throw new EverycoreError("bad-input", `${told} is no address that other machines can use`, { hint });
  }
  const isForOthers = !isLoopbackHost(hostOf(told));
  if (!isForOthers && !isLoopbackHost(hostOf(listen))) {
    throw new EverycoreError(
      "bad-input",
      `--advertise ${told} would send other machines to themselves, while ${listen} is open to them`,
      { hint: "advertise a name or address of this machine, or listen on 127.0.0.1" },
    );
  }
  return flags.nats === undefined
    ? withOwnNats(flags, { told, isForOthers, natsPort })
    : withNats(flags, flags.nats, isForOthers);
}

function withNats(flags: AddressFlags, nats: string, isForOthers: boolean): Addresses {
  if (flags.natsListen !== undefined) {
    throw new EverycoreError("bad-input", "--nats and --nats-listen exclude each other", {
      hint: "--nats uses a server that runs already, --nats-listen is for one of the coordinator's own",
    });
  }
  const agents = flags.agentNats ?? nats;
  if (isForOthers) refuseUnreachable(agents);
  return { natsListen: undefined, agentNatsUrl: () => agents, ownNatsUrl: () => nats };
}

function withOwnNats(
  flags: AddressFlags,
  facts: { told: string; isForOthers: boolean; natsPort: number },
): Addresses {
  const { told, isForOthers } = facts;
  const port = isForOthers ? defaultNatsPort : facts.natsPort;
  const natsListen = flags.natsListen ?? `${hostOf(flags.listen)}:${port}`; // D3
  const host = hostOf(natsListen);
  const isOpen = !isLoopbackHost(hostOf(flags.listen));
  if (flags.agentNats !== undefined) {
    if (isForOthers) refuseUnreachable(flags.agentNats);
  } else if (isOpen && isLoopbackHost(host)) {
    throw new EverycoreError(
      "bad-input",
      `nats-server on ${natsListen} cannot be reached by agents of other machines`,
      { hint: "give --nats-listen an address that they reach, or --agent-nats the URL they shall use" },
    );
  }
  const derived = (chosen: number): string => `nats://${isForOthers ? hostOf(told) : "127.0.0.1"}:${chosen}`; // D2
  const own = isEverywhere(host) ? "127.0.0.1" : host;
  return {
    natsListen,
    agentNatsUrl: (chosen) => flags.agentNats ?? derived(chosen),
    ownNatsUrl: (chosen) => `nats://${own}:${chosen}`,
  };
}

/** D1 */
function refuseUnreachable(urls: string): void {
  for (const url of urls.split(",")) refuseOneUnreachable(url);
}

function refuseOneUnreachable(url: string): void {
  const host = /^(?:[a-z]+:\/\/)?(?:[^@/]*@)?(\[[^\]]+\]|[^:/]+)/.exec(url)?.[1] ?? "";
  if (!isLoopbackHost(host) && !isEverywhere(host)) return;
  throw new EverycoreError("bad-input", `agents of other machines cannot reach NATS at ${url}`, {
    hint: "give --agent-nats the URL that they shall use",
  });
}

export function splitAddress(address: string): [string, number] {
  const at = address.lastIndexOf(":");
  return [address.slice(0, at), Number(address.slice(at + 1))];
}

const hostOf = (address: string): string => splitAddress(address)[0];

const isEverywhere = (host: string): boolean =>
  host === "*" || host === "0.0.0.0" || /^\[?(::|0*(:0*){7})\]?$/.test(host);

const isLoopbackHost = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(host);

/** How we reach on this machine what listens there. */
export function loopbackOf(address: string): string {
  const [host, port] = splitAddress(address);
  return isEverywhere(host) ? `127.0.0.1:${port}` : address;
}
