/**
 * A process of a local cluster: started in a group of its own (Ctrl-C on the terminal is ours alone to answer), its
 * log kept in a bounded file, its end awaited. Coordinator and agent hold our pipe as their lifeline; nats-server is
 * ended by the kernel with us where setpriv exists. So nothing is left behind, however we die.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import {
  accessSync,
  appendFileSync,
  constants,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import type { Socket } from "node:net";
import { delimiter, join } from "node:path";
import { EverycoreError, isErrorCode } from "@everycore/protocol";
import type { ErrorCode } from "@everycore/protocol";

const logBytesMax = 10 * 1024 * 1024;
const readyWithinMs = 30_000;
/** An agent drains for 10 s unless told otherwise; a throwaway cluster has nothing to drain. */
const stopWithinMs = { orderly: 12_000, quick: 3_000 };

/** orderly: work is finished or given back. quick: nothing of it is kept, only gone must it be. */
export type StopKind = keyof typeof stopWithinMs;

/** The file of a command on PATH, or undefined. */
export function onPath(command: string): string | undefined {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, command);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}

/** Appends to a file; at its limit the file becomes `.1` and a new one begins (P7). */
class BoundedLog {
  readonly #path: string;
  #bytes: number;

  constructor(path: string) {
    this.#path = path;
    this.#bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (this.#bytes === 0) writeFileSync(path, "", { mode: 0o600 });
  }

  append(data: Buffer): void {
    try {
      if (this.#bytes + data.length > logBytesMax) {
        renameSync(this.#path, `${this.#path}.1`);
        this.#bytes = 0;
      }
      appendFileSync(this.#path, data, { mode: 0o600 });
      this.#bytes += data.length;
    } catch {
      // a full disk or a removed folder must not end the cluster: the log is a convenience
    }
  }
}

export interface ChildOptions {
  /** For people: "coordinator", "agent-1", "nats-server". */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Absent: what it says is not kept. */
  readonly logFile?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** Also passes stderr on to ours: roles in the foreground. */
  readonly isForeground?: boolean;
  /** Ended by the kernel when we die. */
  readonly diesWithUs?: boolean;
  /** Ends by itself when its stdin is closed. */
  readonly hasLifeline?: boolean;
  /** How long an orderly end may take before it is cut. */
  readonly stopWithinMs?: number | undefined;
}

export class Child {
  readonly name: string;
  readonly process: ChildProcess;
  readonly logFile: string | undefined;
  /** Resolves when it has ended: how, in words. */
  readonly ended: Promise<string>;
  readonly #hasLifeline: boolean;
  readonly #stopWithinMs: Readonly<Record<StopKind, number>>;
  #isEnded = false;

  constructor(options: ChildOptions) {
    this.name = options.name;
    this.logFile = options.logFile;
    this.#hasLifeline = options.hasLifeline ?? false;
    const orderly = options.stopWithinMs ?? stopWithinMs.orderly;
    this.#stopWithinMs = { ...stopWithinMs, orderly };
    const setpriv = options.diesWithUs === true ? onPath("setpriv") : undefined;
    const [command, args] =
      setpriv === undefined
        ? [options.command, options.args]
        : [setpriv, ["--pdeathsig", "KILL", options.command, ...options.args]];
    this.process = spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env: options.environment ?? process.env,
    });
    const log = options.logFile === undefined ? undefined : new BoundedLog(options.logFile);
    this.process.stderr!.on("data", (data: Buffer) => {
      log?.append(data);
      if (options.isForeground === true) process.stderr.write(data);
    });
    this.process.stdin!.on("error", () => {}); // it has ended; `ended` tells
    const ended = Promise.withResolvers<string>();
    this.process.once("error", (error) => ended.resolve(`could not be started: ${error.message}`));
    this.process.once("exit", (code, signal) =>
      ended.resolve(signal === null ? `exit code ${code}` : `signal ${signal}`),
    );
    this.ended = ended.promise.then((how) => {
      this.#isEnded = true;
      return how;
    });
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** The JSON line with which a role says that it is ready, or why it is not; Infinity: however late that is. */
  async ready(signal: AbortSignal, withinMs = readyWithinMs): Promise<Record<string, unknown>> {
    const line = Promise.withResolvers<string>();
    let text = "";
    this.process.stdout!.setEncoding("utf8").on("data", (data: string) => {
      text = text.length < 65_536 ? text + data : text;
      if (text.includes("\n")) line.resolve(text.slice(0, text.indexOf("\n")));
    });
    const limit =
      withinMs === Number.POSITIVE_INFINITY
        ? signal
        : AbortSignal.any([signal, AbortSignal.timeout(withinMs)]);
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => {});
    const abort = (): void =>
      aborted.reject(
        signal.aborted ? signal.reason : this.#failure(`was not ready within ${withinMs / 1000} s`),
      );
    limit.addEventListener("abort", abort, { once: true });
    if (limit.aborted) abort();
    try {
      const first = await Promise.race([
        line.promise,
        this.ended.then((how) => this.#lastLine(text, how)),
        aborted.promise,
      ]);
      return this.#checkReady(first);
    } finally {
      limit.removeEventListener("abort", abort);
    }
  }

  /** From now on our process may end while this one runs: its lifeline tells it. */
  keepNobodyAlive(): void {
    this.process.unref();
    for (const pipe of [this.process.stdin, this.process.stdout, this.process.stderr]) {
      // Pipes to a child are sockets, whatever their type says.
      (pipe as Socket | null)?.unref();
    }
  }

  /** Asks, waits a bounded time, kills the group. May be called twice. */
  async stop(kind: StopKind = "orderly"): Promise<void> {
    if (this.#isEnded || this.process.pid === undefined) return;
    if (kind === "orderly") this.process.kill("SIGTERM");
    else if (this.#hasLifeline) this.process.stdin!.end();
    else this.#killGroup();
    const timer = setTimeout(() => this.#killGroup(), this.#stopWithinMs[kind]);
    await this.ended;
    clearTimeout(timer);
    // Whatever of its descendants still holds the pipes must not keep us alive.
    for (const pipe of [this.process.stdin, this.process.stdout, this.process.stderr]) pipe?.destroy();
  }

  #killGroup(): void {
    try {
      process.kill(-this.process.pid!, "SIGKILL");
    } catch {
      // gone already
    }
  }

  /** It ended before a whole line came: the sentence is in what there is, or in its log. */
  #lastLine(text: string, how: string): string {
    if (text.trim() !== "") return text.trim();
    throw this.#failure(`ended while it started (${how})`);
  }

  #checkReady(line: string): Record<string, unknown> {
    let parsed: Record<string, unknown>;
    try {
      parsed = JSON.parse(line) as Record<string, unknown>;
    } catch {
      throw this.#failure(`said "${line.slice(0, 200)}" instead of being ready`);
    }
    if (parsed["ready"] === true) return parsed;
    const { code, message, hint } = parsed;
    const known: ErrorCode = isErrorCode(code) ? code : "internal";
    throw new EverycoreError(known, typeof message === "string" ? message : `${this.name} did not start`, {
      hint: typeof hint === "string" ? hint : "",
    });
  }

  #failure(what: string): EverycoreError {
    const tail = this.#logTail();
    return new EverycoreError("internal", `${this.name} ${what}${tail === "" ? "" : `:\n${tail}`}`, {
      hint: this.logFile === undefined ? "" : `its log: ${this.logFile}`,
    });
  }

  #logTail(): string {
    if (this.logFile === undefined) return "";
    try {
      return readFileSync(this.logFile, "utf8").trimEnd().split("\n").slice(-5).join("\n");
    } catch {
      return "";
    }
  }
}
