// Real nats-servers that form a cluster on loopback, as three machines would.
//
//   await using nats = await startNatsCluster({ secret, dir });
//   const leader = await nats.metaLeader();
//   await leader.kill("SIGKILL");
//   await leader.restart();
//
// Each is a TestNatsServer: own store, own log, ended by its pid.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../../packages/cli/src/local/free-port.ts";
import { natsCluster, natsUsers } from "../../packages/cli/src/local/nats-config.ts";
import { type TestNatsServer, startNatsServer } from "./nats-server.ts";
import { until } from "./until.ts";

/** Beyond an election, which takes up to 9 s. */
const formedWithinMs = 30_000;

export interface NatsClusterOptions {
  readonly secret: string;
  /** Their folders are made in it. */
  readonly dir: string;
  /** Default 3. */
  readonly count?: number;
}

export interface TestNatsCluster extends AsyncDisposable {
  readonly servers: readonly TestNatsServer[];
  readonly urls: readonly string[];
  /** The server that leads the cluster's JetStream, once one does. */
  metaLeader(): Promise<TestNatsServer>;
  /** Waits until the server holds again all that the others hold. */
  caughtUp(server: TestNatsServer): Promise<void>;
}

interface Member {
  readonly name: string;
  readonly port: number;
  readonly routePort: number;
  readonly httpPort: number;
}

export async function startNatsCluster(options: NatsClusterOptions): Promise<TestNatsCluster> {
  const { secret, dir, count = 3 } = options;
  const members: Member[] = [];
  for (let at = 1; at <= count; at += 1) {
    const [port, routePort, httpPort] = [await freePort(), await freePort(), await freePort()];
    members.push({ name: `nats-${at}`, port, routePort, httpPort });
  }
  const servers: TestNatsServer[] = [];
  const cluster: TestNatsCluster = {
    servers,
    get urls() {
      return servers.map(({ url }) => url);
    },
    metaLeader: () => metaLeaderOf(servers, members),
    caughtUp: (server) => caughtUp(members[servers.indexOf(server)]!),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    },
  };
  try {
    for (const member of members) servers.push(await startMember({ secret, dir, member, members }));
    await cluster.metaLeader();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function startMember(options: {
  secret: string;
  dir: string;
  member: Member;
  members: readonly Member[];
}): Promise<TestNatsServer> {
  const { secret, member, members } = options;
  const dir = join(options.dir, member.name);
  await mkdir(dir, { recursive: true });
  const config = [
    natsUsers(secret),
    natsCluster({
      secret,
      serverName: member.name,
      listen: `127.0.0.1:${member.routePort}`,
      routes: members.map(({ routePort }) => `127.0.0.1:${routePort}`),
    }),
    `http: "127.0.0.1:${member.httpPort}"`,
  ].join("\n");
  return startNatsServer({ dir, port: member.port, config, maxFileStoreBytes: 4 * 1024 ** 3 });
}

async function monitor(member: Member, path: string): Promise<Response> {
  return fetch(`http://127.0.0.1:${member.httpPort}${path}`, { signal: AbortSignal.timeout(2_000) });
}

function metaLeaderOf(
  servers: readonly TestNatsServer[],
  members: readonly Member[],
): Promise<TestNatsServer> {
  const find = async (): Promise<TestNatsServer | undefined> => {
    const running = members.filter((_, at) => servers[at]?.pid !== undefined);
    const named = await Promise.all(
      running.map(async (member) => {
        const said = (await (await monitor(member, "/jsz")).json()) as { meta_cluster?: { leader?: string } };
        return said.meta_cluster?.leader;
      }),
    );
    // All that run agree, and it runs itself: the others name a dead one for a while.
    const at = members.findIndex(({ name }) => name === named[0]);
    const isAgreed = named.every((name) => name === named[0]) && servers[at]?.pid !== undefined;
    return isAgreed ? servers[at] : undefined;
  };
  return until(find, { withinMs: formedWithinMs, what: "the NATS cluster to have a leader" });
}

/** The server's own word: all its streams are current. */
async function caughtUp(member: Member): Promise<void> {
  await until(async () => (await monitor(member, "/healthz")).status === 200, {
    withinMs: formedWithinMs,
    what: `${member.name} to catch up`,
  });
}
