// One process of a cluster under test: coordinator or agent, started as the command starts it (a program and one
// JSON argument, a ready line on stdout, its log on stderr), killed and restarted as a machine would.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const readyWithinMs = 30_000;
const stopWithinMs = 15_000;
const endsWithinMs = 60_000;

/** A role said `"ready": false`, or ended without a word. */
export class RoleFailed extends Error {
  override readonly name = "RoleFailed";
  readonly code: string;
  readonly hint: string;
  readonly exitCode: number | null;

  constructor(fields: { code: string; message: string; hint: string; exitCode: number | null }) {
    super(fields.message);
    this.code = fields.code;
    this.hint = fields.hint;
    this.exitCode = fields.exitCode;
  }
}

export interface RoleOptions {
  readonly role: "coordinator" | "node-agent";
  readonly config: Readonly<Record<string, unknown>>;
  readonly logFile: string;
  readonly environment?: NodeJS.ProcessEnv;
}

export class Role {
  readonly #options: RoleOptions;
  #child: ChildProcess | undefined;
  #ready: Readonly<Record<string, unknown>> = {};

  constructor(options: RoleOptions) {
    this.#options = options;
  }

  /** Of the process now running. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("the role is not running");
    return pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && !hasEnded(this.#child);
  }

  /** A field of the ready line. */
  text(field: string): string {
    const value = this.#ready[field];
    if (typeof value !== "string") throw new Error(`the ready line has no text "${field}"`);
    return value;
  }

  async start(change: Readonly<Record<string, unknown>> = {}): Promise<this> {
    const { role, config, logFile, environment = process.env } = this.#options;
    const log = openSync(logFile, "a");
    const program = join(repository, "packages", role, "src", "main.ts");
    const child = spawn(process.execPath, [program, JSON.stringify({ ...config, ...change })], {
      stdio: ["pipe", "pipe", log],
      env: environment,
      detached: true, // its own group, as the command starts it: a Ctrl-C of the test runner is not its business
    });
    closeSync(log);
    child.stdin!.on("error", () => {}); // ended already; the ready line tells
    this.#child = child;
    this.#ready = await readReady(child, logFile);
    return this;
  }

  /** Sends the signal and waits until the process is gone; SIGSTOP and SIGCONT return at once. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (!child || hasEnded(child)) return;
    const exit = once(child, "exit");
    child.kill(signal);
    if (signal === "SIGSTOP" || signal === "SIGCONT") return;
    const force = setTimeout(() => child.kill("SIGKILL"), stopWithinMs);
    await exit;
    clearTimeout(force);
  }

  /** Ends in good order; gives the exit code. */
  async stop(): Promise<number | null> {
    await this.kill("SIGTERM");
    return this.#child?.exitCode ?? null;
  }

  /** Gives the exit code once it has ended by itself; says what its log told last if it does not. */
  async ended(): Promise<number | null> {
    const child = this.#child;
    if (child && !hasEnded(child)) {
      await once(child, "exit", { signal: AbortSignal.timeout(endsWithinMs) }).catch((error: unknown) => {
        const { role, logFile } = this.#options;
        const words = `the ${role} has not ended by itself in ${endsWithinMs} ms; its log ends:\n${tailOf(logFile)}`;
        throw new Error(words, { cause: error });
      });
    }
    return child?.exitCode ?? null;
  }

  log(): string {
    return readFileSync(this.#options.logFile, "utf8");
  }

  url(path: string): string {
    return `http://${this.text("http")}${path}`;
  }

  /** GET on its HTTP port. */
  async get(path: string): Promise<{ status: number; text: string }> {
    const response = await fetch(this.url(path), {
      signal: AbortSignal.timeout(5_000),
    });
    return { status: response.status, text: await response.text() };
  }

  /** Sum of a metric over its labels that contain `labels`; undefined when there is none of that name. */
  async metric(name: string, labels = ""): Promise<number | undefined> {
    const { text } = await this.get("/metrics");
    const lines = text
      .split("\n")
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    if (lines.length === 0) return undefined;
    return lines
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }
}

async function readReady(child: ChildProcess, logFile: string): Promise<Readonly<Record<string, unknown>>> {
  const line = Promise.withResolvers<string>();
  let text = "";
  child.stdout!.setEncoding("utf8").on("data", (data: string) => {
    text += data;
    if (text.includes("\n")) line.resolve(text.slice(0, text.indexOf("\n")));
  });
  const timer = setTimeout(
    () => line.reject(new Error(`not ready within ${readyWithinMs} ms`)),
    readyWithinMs,
  );
  child.once("close", () => line.resolve(text));
  const first = await line.promise.finally(() => clearTimeout(timer));
  const parsed: unknown = first.trim() === "" ? {} : JSON.parse(first);
  const fields = parsed as Record<string, unknown>; // our own processes' contract; checked field by field when read
  if (fields["ready"] === true) return fields;
  if (!hasEnded(child)) await once(child, "exit");
  throw new RoleFailed({
    code: textOf(fields["code"], ""),
    message: textOf(fields["message"], `it said "${first.slice(0, 200)}"; its log ends:\n${tailOf(logFile)}`),
    hint: textOf(fields["hint"], ""),
    exitCode: child.exitCode,
  });
}

const tailOf = (file: string): string => readFileSync(file, "utf8").split("\n").slice(-20).join("\n");

const textOf = (value: unknown, absent: string): string => (typeof value === "string" ? value : absent);

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;
