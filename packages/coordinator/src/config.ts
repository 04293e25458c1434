/** What a coordinator is told at its start: one JSON value in argv, checked here and nowhere else. */
import { EverycoreError } from "@everycore/protocol";

export interface NatsAccess {
  readonly urls: readonly string[];
  readonly user: string;
  readonly password: string;
}

export interface CoordinatorConfig {
  /** HOST:PORT of gRPC; port 0 takes any free one. */
  readonly listen: string;
  /** Address that others are told, when `listen` is not reachable for them. */
  readonly advertise?: string;
  readonly httpListen: string;
  /** Our own access to NATS, and the one that agents are given. */
  readonly nats: NatsAccess;
  readonly agentNats: NatsAccess;
  /** Hex; every gRPC call must carry it (P8). */
  readonly secret: string;
  /** Servers of NATS that keep each stream; undefined: as it is, 1 at first. */
  readonly replicas?: number;
  readonly dataDir: string;
  readonly logLevel: string;
  /** Ends when stdin closes: a killed parent leaves nothing behind. */
  readonly lifeline: boolean;
  /** Allows to listen beyond loopback without TLS. */
  readonly insecureNetwork: boolean;
}

type Json = Readonly<Record<string, unknown>>;

const wrong = (field: string): EverycoreError =>
  new EverycoreError("bad-input", `coordinator configuration: "${field}" is missing or malformed`);

function text(json: Json, field: string, fallback?: string): string {
  const value = json[field] ?? fallback;
  if (typeof value !== "string" || value === "") throw wrong(field);
  return value;
}

function access(value: unknown, field: string): NatsAccess {
  if (typeof value !== "object" || value === null) throw wrong(field);
  const json = value as Json; // an object; its fields are checked next
  const urls = json["urls"];
  if (!Array.isArray(urls) || urls.length === 0 || !urls.every((url) => typeof url === "string")) {
    throw wrong(`${field}.urls`);
  }
  return { urls, user: text(json, "user"), password: text(json, "password") };
}

function replicas(value: unknown): number {
  if (value === 1 || value === 3 || value === 5) return value;
  throw new EverycoreError("bad-input", `replicas is ${JSON.stringify(value)}, not 1, 3 or 5`);
}

const loopbackHosts = new Set(["127.0.0.1", "localhost", "::1", "[::1]"]);

/** HOST:PORT apart. */
export function splitAddress(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at);
  const port = Number(address.slice(at + 1));
  if (at < 1 || !Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new EverycoreError("bad-input", `"${address}" is not an address HOST:PORT`);
  }
  return { host, port };
}

/** P8: beyond loopback nothing listens without TLS, unless the operator says that the network is his own. */
export function checkListen(address: string, insecureNetwork: boolean): void {
  if (insecureNetwork || loopbackHosts.has(splitAddress(address).host)) return;
  throw new EverycoreError("bad-input", `refusing to listen on ${address} without TLS`, {
    hint: "listen on 127.0.0.1, or pass --insecure-network if every machine of this network is trusted",
  });
}

/** Agents and clients are sent where we say: an address that means something else to them is never advertised. */
export function checkAdvertised(config: { readonly listen: string; readonly advertise?: string }): void {
  const { host } = splitAddress(config.advertise ?? config.listen);
  if (!["0.0.0.0", "::", "[::]"].includes(host)) return;
  throw new EverycoreError("bad-input", `${host} is no address that other machines can use`, {
    hint: "give the coordinator an address to advertise, besides the one it listens on: --advertise HOST:PORT",
  });
}

export function parseConfig(argument: string | undefined): CoordinatorConfig {
  let value: unknown;
  try {
    value = JSON.parse(argument ?? "");
  } catch (error) {
    throw new EverycoreError("bad-input", "the coordinator needs its configuration as one JSON argument", {
      cause: error,
    });
  }
  if (typeof value !== "object" || value === null) throw wrong("configuration");
  const json = value as Json; // an object; its fields are checked next
  const secret = text(json, "secret");
  if (!/^[0-9a-f]{32,}$/.test(secret)) throw wrong("secret");
  const config: CoordinatorConfig = {
    listen: text(json, "listen", "127.0.0.1:0"),
    httpListen: text(json, "httpListen", "127.0.0.1:0"),
    nats: access(json["nats"], "nats"),
    agentNats: access(json["agentNats"], "agentNats"),
    secret,
    dataDir: text(json, "dataDir"),
    logLevel: text(json, "logLevel", "info"),
    lifeline: json["lifeline"] === true,
    insecureNetwork: json["insecureNetwork"] === true,
    ...(json["replicas"] === undefined ? {} : { replicas: replicas(json["replicas"]) }),
    ...(json["advertise"] === undefined ? {} : { advertise: text(json, "advertise") }),
  };
  checkListen(config.listen, config.insecureNetwork);
  checkListen(config.httpListen, config.insecureNetwork);
  checkAdvertised(config);
  return config;
}
