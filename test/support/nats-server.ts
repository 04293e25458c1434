// A real nats-server of the test's own: free loopback port, own store, own life.
//
//   await using nats = await startNatsServer();
//   await nats.kill("SIGKILL");   // as a machine would
//   await nats.restart();         // same port, same store
//
// The process is started detached from our terminal and ended by its pid; disposing twice is fine. If the test
// process itself is killed, the server notices nothing, so its name and folder say where it came from.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, closeSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveNatsServer } from "../../packages/cli/src/nats-server/index.ts";
import { until } from "./until.ts";

const START_WITHIN_MS = 15_000;
const STOP_WITHIN_MS = 10_000;

export interface NatsServerOptions {
  /** Where store, config and log live. Default: a fresh temporary folder, removed at the end. */
  readonly dir?: string;
  /** Default true. */
  readonly jetstream?: boolean;
  /** Default: free. */
  readonly port?: number;
  /** Default 1 MB, as everycore recommends. */
  readonly maxPayloadBytes?: number;
  /** The account-wide limit of the file store, for tests of full storage. Default: the server's own. */
  readonly maxFileStoreBytes?: number;
  /** More lines of nats-server configuration, for users, clusters, TLS. */
  readonly config?: string;
  /** GOMEMLIMIT of the server. Default 256MiB. */
  readonly memoryLimit?: string;
}

export interface TestNatsServer extends AsyncDisposable {
  /** nats://127.0.0.1:port */
  readonly url: string;
  readonly port: number;
  readonly dir: string;
  /** Of the process now running; undefined while it is down. */
  readonly pid: number | undefined;
  /** Sends the signal and waits until the process is gone. SIGSTOP and SIGCONT return at once. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Ends it in good order. */
  stop(): Promise<void>;
  /** Starts it again on the same port and store; ends it first when it still runs. */
  restart(): Promise<void>;
  /** Everything it has logged, over all restarts. */
  readLog(): Promise<string>;
}

export async function startNatsServer(options: NatsServerOptions = {}): Promise<TestNatsServer> {
  const { path } = await resolveNatsServer();
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), "everycore-test-nats-")));
  await mkdir(join(dir, "ports"), { recursive: true });
  const configFile = join(dir, "nats-server.conf");
  await writeFile(configFile, configOf(dir, options));
  const environment = { ...process.env, GOMEMLIMIT: options.memoryLimit ?? "256MiB" };
  const logFile = join(dir, "nats-server.log");

  let child: ChildProcess | undefined;
  let port = options.port ?? -1;

  async function start(): Promise<void> {
    const log = openSync(logFile, "a");
    const args = ["--config", configFile, "--port", String(port), "--ports_file_dir", join(dir, "ports")];
    const started = spawn(path, args, { stdio: ["ignore", log, log], env: environment });
    closeSync(log);
    child = started;
    port = await readPort(started, dir, logFile);
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const ending = child;
    if (!ending || hasEnded(ending)) return;
    ending.kill(signal);
    if (signal === "SIGSTOP" || signal === "SIGCONT") return;
    const force = setTimeout(() => ending.kill("SIGKILL"), STOP_WITHIN_MS);
    if (!hasEnded(ending)) await once(ending, "exit");
    clearTimeout(force);
  }

  await start();
  return {
    get url() {
      return `nats://127.0.0.1:${port}`;
    },
    get port() {
      return port;
    },
    get pid() {
      return child && !hasEnded(child) ? child.pid : undefined;
    },
    dir,
    kill: end,
    stop: () => end("SIGTERM"),
    restart: async () => {
      await end("SIGTERM");
      await start();
    },
    readLog: () => readFile(logFile, "utf8"),
    [Symbol.asyncDispose]: async () => {
      await end("SIGKILL"); // nothing of it is kept, so there is nothing to put in order; also ends a stopped one
      if (options.dir === undefined) await rm(dir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

function configOf(dir: string, options: NatsServerOptions): string {
  const { jetstream = true, maxPayloadBytes = 1024 * 1024, maxFileStoreBytes } = options;
  const store = [`store_dir: ${JSON.stringify(join(dir, "store"))}`];
  if (maxFileStoreBytes !== undefined) store.push(`max_file_store: ${maxFileStoreBytes}`);
  return [
    `host: "127.0.0.1"`,
    `max_payload: ${maxPayloadBytes}`,
    ...(jetstream ? [`jetstream { ${store.join(", ")} }`] : []),
    options.config ?? "",
    "",
  ].join("\n");
}

/** The server writes its ports when it is ready to serve; a file of an earlier process has another pid. */
async function readPort(child: ChildProcess, dir: string, logFile: string): Promise<number> {
  const portsFile = join(dir, "ports", `nats-server_${child.pid}.ports`);
  const readUrl = async () => {
    if (hasEnded(child)) return "ended";
    const ports = JSON.parse(await readFile(portsFile, "utf8")) as { nats?: string[] }; // our own server's file
    return ports.nats?.[0];
  };
  const url = await until(readUrl, { withinMs: START_WITHIN_MS, what: `nats-server to write ${portsFile}` });
  if (url === "ended") {
    throw new Error(`nats-server ended at its start:\n${(await readFile(logFile, "utf8")).slice(-2000)}`);
  }
  return Number(new URL(url).port);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
