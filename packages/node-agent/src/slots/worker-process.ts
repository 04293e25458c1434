/**
 * One worker: its directory with page and outcome files, its process group, fd 3, its prints. It reports what it
 * sees and does what it is told; the core decides. A process dies with its agent (pdeathsig) or at the next start.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { setPriority } from "node:os";
import { join } from "node:path";
import type { Duplex, Readable } from "node:stream";
import type { DeathDetail, FromWorker, Phase, ToWorker } from "@everycore/protocol";
import { limits } from "@everycore/protocol";
import { memoryOf, signalGroup, startTimeOf } from "../machine/processes.ts";
import { encodeFrame, FrameReader } from "./frames.ts";
import { OutcomeFiles } from "./outcome-files.ts";
import type { ScannedSlice } from "./outcome-scan.ts";
import { SlotPage } from "./slot-page.ts";
import { workerEnvironment } from "./worker-environment.ts";

export interface WorkerCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface WorkerOptions {
  readonly id: number;
  readonly slot: number;
  /** Directory of its own; made here. */
  readonly dir: string;
  readonly command: WorkerCommand;
  readonly bootId: string;
  /** Path of setpriv(1), where present. */
  readonly setpriv: string | undefined;
  readonly onFrame: (frame: FromWorker) => void;
  readonly onDeath: (death: { phase: Phase; detail: DeathDetail }) => void;
  readonly onPrint: (stream: "stdout" | "stderr", data: Buffer) => void;
}

/** The kernel takes a worker before it takes the agent. */
const oomScoreAdjust = "500";
const niceness = 5;

export class WorkerProcess {
  readonly id: number;
  readonly slot: number;
  readonly dir: string;
  readonly scratch: string;
  readonly files: OutcomeFiles;
  readonly page: SlotPage;
  /** Resolves when its process is gone. */
  readonly exited: Promise<void>;
  #onExit: () => void = () => {};
  readonly #child: ChildProcess;
  readonly #pipe: Duplex | undefined;
  #tail = Buffer.alloc(0);
  #peak = 0;
  /** The limit that it was ended for. */
  #limitBytes: number | undefined;
  #dead = false;

  constructor(options: WorkerOptions) {
    this.id = options.id;
    this.slot = options.slot;
    this.dir = options.dir;
    this.scratch = join(options.dir, "scratch");
    mkdirSync(this.scratch, { recursive: true, mode: 0o700 });
    this.page = SlotPage.create(options.dir);
    this.files = new OutcomeFiles(options.dir);
    this.exited = new Promise((resolve) => (this.#onExit = resolve));
    this.#child = this.#spawn(options);
    this.#pipe = (this.#child.stdio[3] as Duplex | null) ?? undefined;
    this.#listen(options);
  }

  #spawn(options: WorkerOptions): ChildProcess {
    const { command } = options;
    const prefix = options.setpriv === undefined ? [] : [options.setpriv, "--pdeathsig", "KILL", "--"];
    const [file, ...args] = [...prefix, command.file, ...command.args];
    // Its own group (detached): one signal reaches whatever the task has started.
    const child = spawn(file!, args, {
      cwd: this.scratch,
      env: workerEnvironment(command.env),
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    if (child.pid !== undefined) this.#adopt(child.pid, options.bootId);
    return child;
  }

  #adopt(pid: number, bootId: string): void {
    this.page.setProcess({ pid, startTime: startTimeOf(pid) ?? 0, bootId });
    try {
      setPriority(pid, niceness);
      writeFileSync(`/proc/${pid}/oom_score_adj`, oomScoreAdjust);
    } catch {
      // Gone already, or no /proc: its death is reported, the rest is a courtesy.
    }
  }

  #listen(options: WorkerOptions): void {
    const reader = new FrameReader();
    this.#pipe?.on("data", (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) options.onFrame(frame);
      } catch (error) {
        // Whoever writes nonsense on fd 3 is no worker host of ours.
        this.#keepTail(Buffer.from(`\n${error instanceof Error ? error.message : String(error)}\n`));
        this.kill();
      }
    });
    this.#pipe?.on("error", () => {}); // EPIPE of a dying worker: its exit says more
    this.#print(this.#child.stdout, "stdout", options);
    this.#print(this.#child.stderr, "stderr", options);
    let spawnError: Error | undefined;
    const die = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (this.#dead) return;
      this.#dead = true;
      this.#onExit();
      // What it had started must not go on without it.
      if (this.#child.pid !== undefined) signalGroup(this.#child.pid, "SIGKILL");
      options.onDeath({ phase: this.page.read().phase, detail: this.#detail(code, signal, spawnError) });
    };
    this.#child.on("error", (error) => {
      spawnError = error;
      if (this.#child.pid === undefined) die(null, null);
    });
    // "exit", not "close": a grandchild that keeps stdout open must not hide the death. The last lines of stderr
    // are read in the turns before.
    this.#child.on("exit", (code, signal) => setImmediate(() => setImmediate(() => die(code, signal))));
  }

  #print(stream: Readable | null, name: "stdout" | "stderr", options: WorkerOptions): void {
    stream?.on("data", (data: Buffer) => {
      if (name === "stderr") this.#keepTail(data);
      options.onPrint(name, data);
    });
    stream?.on("error", () => {});
  }

  #keepTail(data: Buffer): void {
    this.#tail = Buffer.concat([this.#tail, data]).subarray(-limits.stderrTailBytesMax);
  }

  #detail(code: number | null, signal: NodeJS.Signals | null, spawnError: Error | undefined): DeathDetail {
    const limitBytes = this.#limitBytes;
    const memory = limitBytes === undefined ? undefined : "out of memory";
    const reason = memory ?? spawnError?.message ?? (signal === null ? "worker exited" : undefined);
    return {
      ...(signal === null ? {} : { signal }),
      ...(code === null ? {} : { exitCode: code }),
      ...(this.#peak > 0 ? { peakBytes: this.#peak } : {}),
      ...(limitBytes === undefined ? {} : { limitBytes }),
      ...(this.#tail.length > 0 ? { stderrTail: this.#tail.toString("utf8") } : {}),
      ...(reason === undefined ? {} : { reason }),
    };
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  send(frame: ToWorker): void {
    if (!this.#dead) this.#pipe?.write(encodeFrame(frame));
  }

  /** Outcomes and cursors that its files show now. */
  read(): ScannedSlice[] {
    return this.files.read();
  }

  /** Resident bytes; remembers the peak for the day it dies. */
  sampleMemory(): number {
    const memory = this.pid === undefined || this.#dead ? undefined : memoryOf(this.pid);
    if (memory !== undefined) this.#peak = Math.max(this.#peak, memory.peak, memory.rss);
    return memory?.rss ?? 0;
  }

  /** `limitBytes`: the memory limit that it is over. */
  kill(limitBytes?: number): void {
    this.sampleMemory();
    this.#limitBytes ??= limitBytes;
    if (this.pid !== undefined && !this.#dead) signalGroup(this.pid, "SIGKILL");
  }

  /** After its death: true when nothing of its directory is needed any more. */
  retire(): boolean {
    this.page.close();
    rmSync(this.scratch, { recursive: true, force: true });
    return this.files.close();
  }

  removeDir(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
