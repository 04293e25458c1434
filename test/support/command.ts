// The command `everycore` as a user starts it: a process with arguments, stdin and an environment, and what came of it.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expectNoLeftovers, makeTestFolder } from "./cluster.ts";
import { hasConnection } from "./processes.ts";
import { until } from "./until.ts";

const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

export interface CommandOptions {
  readonly stdin?: string | Buffer;
  readonly environment?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

/** A command that is running. */
export class Command {
  readonly process: ChildProcess;
  readonly #out: Buffer[] = [];
  readonly #err: Buffer[] = [];
  readonly #startedAt = performance.now();
  readonly #closed: Promise<unknown>;

  constructor(args: readonly string[], options: CommandOptions = {}) {
    this.process = spawn(process.execPath, [main, ...args], {
      stdio: ["pipe", "pipe", "pipe"],
      // CI: a command writes progress lines there, of jobs that take long enough; tests ask for those by themselves.
      env: { ...process.env, NO_COLOR: "1", CI: undefined, ...options.environment },
      detached: true, // a group of its own: Ctrl-C is a signal to that group
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    this.#closed = once(this.process, "close");
    this.process.stdout!.on("data", (data: Buffer) => this.#out.push(data));
    this.process.stderr!.on("data", (data: Buffer) => this.#err.push(data));
    this.process.stdin!.on("error", () => {}); // it may end before it has read all
    if (options.stdin !== undefined) this.process.stdin!.end(options.stdin);
  }

  get stdout(): string {
    return Buffer.concat(this.#out).toString("utf8");
  }

  get stderr(): string {
    return Buffer.concat(this.#err).toString("utf8");
  }

  /** Waits until it talks to the coordinator at this address: then it answers Ctrl-C itself. */
  async isConnected(address: string): Promise<void> {
    const port = Number(address.split(":").at(-1));
    await until(() => hasConnection(this.process.pid!, port), { what: "the command to be connected" });
  }

  /** As the terminal does it: to the whole group. */
  pressCtrlC(): void {
    process.kill(-this.process.pid!, "SIGINT");
  }

  /** Waits until stdout has the text. */
  async prints(text: string | RegExp, withinMs = 20_000): Promise<string> {
    await until(() => this.#has(text) || this.process.exitCode !== null, {
      withinMs,
      what: `the command to print ${String(text)}`,
    });
    if (!this.#has(text)) {
      await this.#closed;
      if (!this.#has(text))
        throw new Error(
          `it ended (${this.process.exitCode}) without printing ${String(text)}: ${this.stderr}`,
        );
    }
    return this.stdout;
  }

  async end(): Promise<Ended> {
    await this.#closed;
    return {
      code: this.process.exitCode,
      signal: this.process.signalCode,
      stdout: this.stdout,
      stderr: this.stderr,
      ms: performance.now() - this.#startedAt,
    };
  }

  #has(text: string | RegExp): boolean {
    return typeof text === "string" ? this.stdout.includes(text) : text.test(this.stdout);
  }
}

/** Runs a command to its end; stdin is empty unless given. */
export const everycore = (args: readonly string[], options: CommandOptions = {}): Promise<Ended> =>
  new Command(args, { stdin: "", ...options }).end();

/** The JSON lines of an output. */
export const jsonLines = (text: string): unknown[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line): unknown => JSON.parse(line));

/**
 * A user of the test's own: home, state, runtime and temporary folders below one folder, no configuration. At the end
 * no process may be left that names it.
 */
export class TestUser implements AsyncDisposable {
  readonly home: string;
  readonly environment: NodeJS.ProcessEnv;

  constructor(home: string) {
    this.home = home;
    this.environment = {
      HOME: home,
      TMPDIR: join(home, "tmp"),
      XDG_RUNTIME_DIR: join(home, "run"),
      XDG_STATE_HOME: join(home, "state"),
      XDG_CONFIG_HOME: join(home, "config"),
      // the real cache: a nats-server that was fetched once serves all tests
      XDG_CACHE_HOME: process.env["XDG_CACHE_HOME"] ?? join(process.env["HOME"] ?? "", ".cache"),
    };
  }

  path(name: string): string {
    return join(this.home, name);
  }

  run(args: readonly string[], options: CommandOptions = {}): Promise<Ended> {
    return everycore(args, {
      cwd: this.home,
      ...options,
      environment: { ...this.environment, ...options.environment },
    });
  }

  start(args: readonly string[], options: CommandOptions = {}): Command {
    return new Command(args, {
      cwd: this.home,
      ...options,
      environment: { ...this.environment, ...options.environment },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await expectNoLeftovers(this.home);
    if (process.env["EVERYCORE_TEST_KEEP"] === undefined) {
      await rm(this.home, { recursive: true, force: true, maxRetries: 3 });
    }
  }
}

export async function makeTestUser(): Promise<TestUser> {
  const home = await makeTestFolder();
  for (const name of ["tmp", "run", "state", "config"]) await mkdir(join(home, name), { mode: 0o700 });
  return new TestUser(home);
}
