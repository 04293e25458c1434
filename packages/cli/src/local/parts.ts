/**
 * The parts of a cluster on this machine, each as one started process: nats-server, coordinator, agent. What each is
 * told is decided here; when they are started and started again, in local-cluster.ts.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { getCompileCacheDir } from "node:module";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { EverycoreError } from "@everycore/protocol";
import { Child } from "./child.ts";
import { natsConfig, natsUser, storeBytes } from "./nats-config.ts";

const natsReadyMs = 20_000;

export interface Started<Ready> {
  readonly child: Child;
  readonly ready: Ready;
}

export interface NatsOptions {
  readonly path: string;
  readonly dir: string;
  readonly secret: string;
  /** HOST:PORT; port 0: any. */
  readonly listen: string;
  readonly signal: AbortSignal;
}

export async function startNats(options: NatsOptions): Promise<Started<{ port: number }>> {
  const { dir, secret, signal } = options;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  for (const file of await readdir(dir)) if (file.endsWith(".ports")) await rm(join(dir, file));
  const configFile = join(dir, "nats-server.conf");
  const listen = options.listen.replace(/:0$/, ":-1");
  await writeFile(configFile, natsConfig({ dir, secret, listen, storeBytes: storeBytes(dir) }), {
    mode: 0o600,
  });
  const child = new Child({
    name: "nats-server",
    command: options.path,
    args: ["--config", configFile],
    logFile: join(dir, "start.log"),
    environment: { ...process.env, GOMEMLIMIT: "1GiB" },
    diesWithUs: true,
  });
  try {
    const chosen = await readPort({ child, dir, signal });
    return { child, ready: { port: chosen } };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

/** nats-server writes its ports file once it accepts connections; there is no other sign to wait for. */
async function readPort(options: { child: Child; dir: string; signal: AbortSignal }): Promise<number> {
  const { child, dir, signal } = options;
  const deadline = performance.now() + natsReadyMs;
  while (performance.now() < deadline) {
    signal.throwIfAborted();
    if (child.isEnded) throw await natsFailure(dir, await child.ended);
    const file = (await readdir(dir)).find((name) => name.endsWith(".ports"));
    const port =
      file === undefined
        ? undefined
        : /nats:\/\/[^"]*:(\d+)"/.exec(await readFile(join(dir, file), "utf8"))?.[1];
    if (port !== undefined) return Number(port);
    await delay(5);
  }
  throw await natsFailure(dir, `not ready within ${natsReadyMs / 1000} s`);
}

async function natsFailure(dir: string, how: string): Promise<EverycoreError> {
  const logs = await Promise.all(
    ["start.log", "nats-server.log"].map((name) => readFile(join(dir, name), "utf8").catch(() => "")),
  );
  const last = logs
    .join("\n")
    .split("\n")
    .findLast((line) => /\[(FTL|ERR)\]|nats-server:/.test(line));
  const said = last?.replace(/^.*\[(FTL|ERR)\]\s*/, "") ?? how;
  return new EverycoreError("internal", `nats-server did not start: ${said}`, {
    hint: `its log: ${join(dir, "nats-server.log")}`,
  });
}

interface RoleOptions {
  readonly name: string;
  readonly secret: string;
  readonly dataDir: string;
  readonly logFile: string;
  readonly logLevel: string;
  readonly isForeground?: boolean;
  readonly insecureNetwork?: boolean;
  readonly stopWithinMs?: number;
  readonly signal: AbortSignal;
}

/** After its deadline a draining agent still publishes what it has. */
const drainMarginMs = 5_000;

export interface CoordinatorOptions extends RoleOptions {
  readonly listen: string;
  readonly advertise?: string | undefined;
  readonly httpListen: string;
  /** One or several, with commas between, as for agents. */
  readonly natsUrl: string;
  /** What agents are told; ours unless given. */
  readonly agentNatsUrl?: string;
  readonly replicas?: number | undefined;
}

export function startCoordinator(
  options: CoordinatorOptions,
): Promise<Started<{ address: string; http: string }>> {
  const { secret, natsUrl, agentNatsUrl = natsUrl } = options;
  return startRole("coordinator", options, {
    listen: options.listen,
    ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
    httpListen: options.httpListen,
    nats: { urls: natsUrl.split(","), ...natsUser(secret, "coordinator") },
    agentNats: { urls: agentNatsUrl.split(","), ...natsUser(secret, "agent") },
    ...(options.replicas === undefined ? {} : { replicas: options.replicas }),
  });
}

export interface AgentOptions extends RoleOptions {
  readonly join: readonly string[];
  /** The way to NATS, where it is not the one that the coordinator tells. */
  readonly natsUrl?: string | undefined;
  readonly slots: number | undefined;
  readonly workerMemoryBytes?: number | undefined;
  readonly stateBytesMax?: number | undefined;
  readonly labels?: readonly string[] | undefined;
  /** ms that running items get when the agent is asked to end; its own default otherwise. */
  readonly drainMs?: number | undefined;
  readonly httpListen: string;
}

export function startAgent(
  options: AgentOptions,
): Promise<Started<{ node: string; slots: number; http: string }>> {
  const { drainMs } = options;
  const stop = drainMs === undefined ? {} : { stopWithinMs: drainMs + drainMarginMs };
  return startRole(
    "node-agent",
    { ...options, ...stop },
    {
      join: options.join,
      ...(options.natsUrl === undefined ? {} : { natsUrl: options.natsUrl }),
      ...(drainMs === undefined ? {} : { drainMs }),
      ...(options.slots === undefined ? {} : { slots: options.slots }),
      ...(options.workerMemoryBytes === undefined ? {} : { workerMemoryBytes: options.workerMemoryBytes }),
      ...(options.stateBytesMax === undefined ? {} : { stateBytesMax: options.stateBytesMax }),
      ...(options.labels === undefined ? {} : { labels: options.labels }),
      httpListen: options.httpListen,
    },
  );
}

async function startRole<Ready>(
  role: "coordinator" | "node-agent",
  options: RoleOptions,
  own: object,
): Promise<Started<Ready>> {
  await mkdir(options.dataDir, { recursive: true, mode: 0o700 });
  const config = {
    ...own,
    secret: options.secret,
    dataDir: options.dataDir,
    logLevel: options.logLevel,
    lifeline: true,
    insecureNetwork: options.insecureNetwork ?? false,
  };
  const child = new Child({
    name: options.name,
    command: process.execPath,
    args: [roleProgram(), mainOf(role)],
    hasLifeline: true,
    stopWithinMs: options.stopWithinMs,
    environment: {
      ...process.env,
      EVERYCORE_ROLE_CONFIG: JSON.stringify(config), // not argv: see role.ts
      ...compileCacheOfOurs(),
    },
    logFile: options.logFile,
    ...(options.isForeground === undefined ? {} : { isForeground: options.isForeground }),
  });
  try {
    // The role's ready line is its contract with us (its own package checks the other direction).
    // A service comes up whenever what it needs does: an agent before its coordinator, after a power cut.
    const withinMs = options.isForeground === true ? Number.POSITIVE_INFINITY : undefined;
    return { child, ready: (await child.ready(options.signal, withinMs)) as Ready };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

/** Where this process keeps its compiled code, if it does (bin/compile-cache.js): roles load much the same. */
function compileCacheOfOurs(): { NODE_COMPILE_CACHE?: string } {
  const folder = getCompileCacheDir();
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: dirname(folder) };
}

/** role.ts beside us, or role.js when installed. */
const roleProgram = (): string =>
  join(import.meta.dirname, import.meta.filename.endsWith(".ts") ? "role.ts" : "role.js");

/** The role's program: beside its package's index, TypeScript in a checkout and JavaScript when installed. */
function mainOf(role: "coordinator" | "node-agent"): string {
  const index =
    role === "coordinator"
      ? import.meta.resolve("@everycore/coordinator")
      : import.meta.resolve("@everycore/node-agent");
  const folder = dirname(fileURLToPath(index));
  const found = [join(folder, "main.ts"), join(folder, "main.js")].find((path) => existsSync(path));
  if (found === undefined)
    throw new EverycoreError("internal", `the ${role} is missing from this installation`);
  return found;
}
