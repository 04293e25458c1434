/**
 * The configuration of the nats-server that everycore starts: loopback only, a store of its own, and two users whose
 * passwords follow from the cluster's secret (docs/decisions/0016). Agents may publish outcomes and fetches and hear
 * their leases; they cannot read JetStream, so no agent reads what is not its own.
 */
import { createHmac } from "node:crypto";
import { statfsSync } from "node:fs";
import { join } from "node:path";

const GB = 1024 ** 3;

export interface NatsUser {
  readonly user: "coordinator" | "agent";
  readonly password: string;
}

/** The NATS password of a role; whoever knows the secret knows both, and nobody else. */
export function natsUser(secret: string, user: NatsUser["user"]): NatsUser {
  return { user, password: passwordOf(secret, user) };
}

const passwordOf = (secret: string, user: string): string =>
  createHmac("sha256", secret).update(`nats:${user}`).digest("hex");

/** 10 GB or a tenth of the disk, at least 1 GB: the log must not be what fills a disk (P7). */
export function storeBytes(folder: string): number {
  const { blocks, bsize } = statfsSync(folder);
  return Math.max(GB, Math.min(10 * GB, Math.floor((blocks * bsize) / 10)));
}

export interface NatsConfigOptions {
  readonly dir: string;
  readonly secret: string;
  /** HOST:PORT; port -1 lets the server choose. */
  readonly listen: string;
  readonly storeBytes: number;
}

export function natsConfig(options: NatsConfigOptions): string {
  const { dir, secret, listen } = options;
  return `listen: ${text(listen)}
ports_file_dir: ${text(dir)}
pid_file: ${text(join(dir, "nats-server.pid"))}
log_file: ${text(join(dir, "nats-server.log"))}
logfile_size_limit: 10MB
logfile_max_num: 2
max_payload: 1MB
jetstream {
  store_dir: ${text(join(dir, "store"))}
  max_file_store: ${options.storeBytes}
  max_memory_store: ${64 * 1024 * 1024}
}
${natsUsers(secret)}`;
}

export interface SharedNatsOptions {
  readonly secret: string;
  /** HOST:PORT for clients, and for its own monitoring. */
  readonly listen: string;
  readonly httpListen: string;
  readonly storeDir: string;
  readonly storeBytes: number;
  /** Where it is one of several. */
  readonly cluster?: Omit<NatsClusterOptions, "secret">;
}

/**
 * For a nats-server that somebody else starts: a container, a service. It writes to disk before it acknowledges, so
 * that a power cut loses nothing accepted (P1), and logs to where its starter reads.
 */
export function sharedNatsConfig(options: SharedNatsOptions): string {
  return `# made by "everycore nats-config": users and passwords follow from the cluster's secret
listen: ${text(options.listen)}
http: ${text(options.httpListen)}
max_payload: 1MB
jetstream {
  store_dir: ${text(options.storeDir)}
  sync_interval: always
  max_file_store: ${options.storeBytes}
  max_memory_store: ${64 * 1024 * 1024}
}
${natsUsers(options.secret)}${options.cluster === undefined ? "" : natsCluster({ secret: options.secret, ...options.cluster })}`;
}

/** The two users and what each may do; the same for every nats-server that serves a cluster of this secret. */
export function natsUsers(secret: string): string {
  const { password: coordinator } = natsUser(secret, "coordinator");
  const { password: agent } = natsUser(secret, "agent");
  return `authorization {
  users: [
    { user: coordinator, password: ${text(coordinator)} }
    { user: agent, password: ${text(agent)}, permissions: {
        publish: ["ec.v1.log.>", "ec.v1.fetch"]
        subscribe: ["ec.v1.lease.*", "_INBOX.agent.>"]
        allow_responses: true
    } }
  ]
}
`;
}

export interface NatsClusterOptions {
  readonly secret: string;
  /** Of this server among its cluster's. */
  readonly serverName: string;
  /** HOST:PORT for the cluster's other servers. */
  readonly listen: string;
  /** HOST:PORT of each server; its own may be among them. */
  readonly routes: readonly string[];
}

/** Makes a server one of a cluster, whose servers know each other by a password that follows from the secret too. */
export function natsCluster(options: NatsClusterOptions): string {
  const { secret, serverName, listen, routes } = options;
  const password = passwordOf(secret, "route");
  return `server_name: ${text(serverName)}
cluster {
  name: everycore
  listen: ${text(listen)}
  authorization { user: route, password: ${text(password)} }
  no_advertise: true
  routes: [${routes.map((route) => text(`nats://route:${password}@${route}`)).join(", ")}]
}
`;
}

const text = (value: string): string => JSON.stringify(value);
