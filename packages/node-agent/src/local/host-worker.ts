/** A worker host as a child of this process, in its own process group unless a debugger needs the terminal. */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import type { Duplex, Readable } from "node:stream";
import type { DeathDetail, FromWorker, Runtime, ToWorker } from "@everycore/protocol";
import { decodeErrorInfo, exitDiskFull, limits } from "@everycore/protocol";
import { findOnPath } from "../machine/facts.ts";
import { signalGroup } from "../machine/processes.ts";
import type { FoundRuntime, StartCommand } from "../runtimes/index.ts";
import { startCommand } from "../runtimes/index.ts";
import { encodeFrame, FrameReader } from "../slots/frames.ts";
import { workerEnvironment } from "../slots/worker-environment.ts";
import { SlotFolder } from "./slot-folder.ts";
import type { LocalSlice, LocalSliceEnd, LocalTask, LocalWorker } from "./worker.ts";
import { LoadFailure } from "./worker.ts";

/** How a person looks into the task while it runs. */
export type Debugging =
  /** js: Node's inspector on this port of loopback; nothing runs before a debugger is attached. */
  | { readonly kind: "inspect"; readonly port: number; readonly stops: boolean }
  /** python: pdb where an exception was raised, on the terminal. */
  | { readonly kind: "pdb" };

export interface HostWorkerOptions {
  readonly runtime: Runtime;
  /** Made here, removed at the end. */
  readonly dir: string;
  /** What `discover` found. */
  readonly interpreters: readonly FoundRuntime[];
  /** "3.11"; absent: the first found. */
  readonly python?: string | undefined;
  readonly debugging?: Debugging | undefined;
  /** What the task prints. Not called with pdb, which has the terminal. */
  readonly onPrint: (data: Buffer) => void;
}

type Death = { readonly t: "died"; readonly detail: DeathDetail };

export class HostWorker implements LocalWorker {
  readonly #folder: SlotFolder;
  readonly #child: ChildProcess;
  readonly #link: Duplex;
  readonly #isGroup: boolean;
  readonly #exited = Promise.withResolvers<void>();
  readonly #frames: (FromWorker | Death)[] = [];
  #wake = Promise.withResolvers<void>();
  #tail = Buffer.alloc(0);
  #isDead = false;

  constructor(options: HostWorkerOptions) {
    const { runtime, interpreters, python, debugging, dir } = options;
    this.#folder = new SlotFolder(dir);
    this.#isGroup = debugging?.kind !== "pdb";
    const choice = python === undefined ? {} : { python };
    const start = startCommand(runtime, { slotDir: dir, interpreters, ...choice });
    this.#child = this.#spawn(debugging === undefined ? start : debugged(start, debugging));
    this.#link = this.#child.stdio[3] as Duplex; // asked for as a pipe
    this.#listen(options);
  }

  #spawn({ file, args, env }: StartCommand): ChildProcess {
    const setpriv = findOnPath("setpriv");
    const prefix = setpriv === undefined ? [] : [setpriv, "--pdeathsig", "KILL", "--"];
    const [program = file, ...rest] = [...prefix, file, ...args];
    return spawn(program, rest, {
      cwd: this.#folder.scratch,
      env: workerEnvironment({ ...env, EVERYCORE_SECRET: undefined }),
      detached: this.#isGroup,
      // pdb speaks with whoever is at our terminal; what it says must not mix with results.
      stdio: this.#isGroup ? ["ignore", "pipe", "pipe", "pipe"] : ["inherit", 2, 2, "pipe"],
    });
  }

  #listen({ onPrint }: HostWorkerOptions): void {
    const reader = new FrameReader();
    this.#link.on("data", (chunk: Buffer) => {
      for (const frame of reader.push(chunk)) this.#take(frame);
    });
    this.#link.on("error", () => {}); // EPIPE of a dying worker: its exit says more
    const print = (stream: Readable | null, isErrors: boolean): void => {
      stream?.on("data", (data: Buffer) => {
        if (isErrors) this.#tail = Buffer.concat([this.#tail, data]).subarray(-limits.stderrTailBytesMax);
        onPrint(data);
      });
      stream?.on("error", () => {});
    };
    print(this.#child.stdout, false);
    print(this.#child.stderr, true);
    const die = (detail: DeathDetail): void => {
      if (this.#isDead) return;
      this.#isDead = true;
      this.#killGroup(); // what it had started must not go on without it
      const tail = this.#tail.length === 0 ? {} : { stderrTail: this.#tail.toString("utf8") };
      this.#take({ t: "died", detail: { ...detail, ...tail } });
      this.#exited.resolve();
    };
    this.#child.on("error", (error) => die({ reason: error.message }));
    // "exit", not "close": a grandchild may keep stdout open. The last lines of stderr are read in the turns before.
    this.#child.on("exit", (code, signal) =>
      setImmediate(() => setImmediate(() => die(signal === null ? { exitCode: code ?? 0 } : { signal }))),
    );
  }

  #take(frame: FromWorker | Death): void {
    this.#frames.push(frame);
    this.#wake.resolve();
  }

  /** The next frame of one of these kinds; a death is always one. */
  async #next<Kind extends FromWorker["t"]>(
    ...kinds: readonly Kind[]
  ): Promise<Extract<FromWorker, { t: Kind }> | Death> {
    for (;;) {
      for (let frame = this.#frames.shift(); frame !== undefined; frame = this.#frames.shift()) {
        if (frame.t === "died") return frame;
        const isWanted = (kinds as readonly string[]).includes(frame.t);
        if (isWanted) return frame as Extract<FromWorker, { t: Kind }>;
      }
      this.#wake = Promise.withResolvers();
      await this.#wake.promise;
    }
  }

  #send(frame: ToWorker): void {
    if (!this.#isDead) this.#link.write(encodeFrame(frame));
  }

  async load(task: LocalTask): Promise<void> {
    this.#send(this.#folder.taskFrame(task));
    const answer = await this.#next("loaded", "initFailed");
    if (answer.t === "loaded") return;
    if (answer.t === "initFailed") throw new LoadFailure(decodeErrorInfo(answer.error));
    const { signal, exitCode, reason } = answer.detail;
    const how = reason ?? signal ?? `exit code ${exitCode}`;
    const { stderrTail } = answer.detail;
    throw new LoadFailure({
      kind: "crash",
      name: "EverycoreError",
      message: `the worker died while it loaded the task (${how})`,
      ...(stderrTail === undefined ? {} : { stderrTail }),
    });
  }

  async run(slice: LocalSlice): Promise<LocalSliceEnd> {
    this.#send(this.#folder.sliceFrame(slice));
    const answer = await this.#next("sliceEnded");
    const records = this.#folder.records();
    if (answer.t === "sliceEnded") return { records };
    const isDiskFull = answer.detail.exitCode === exitDiskFull && this.#folder.phase !== "item";
    return { records, death: answer.detail, isDiskFull };
  }

  endedSoFar(): number {
    return this.#folder.records().length;
  }

  halt(): void {
    this.#folder.halt();
  }

  /** Ends it at once, whatever it does. */
  kill(): void {
    this.#killGroup();
    if (!this.#isDead) this.#child.kill("SIGKILL");
  }

  #killGroup(): void {
    const { pid } = this.#child;
    if (pid !== undefined && this.#isGroup) signalGroup(pid, "SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#exited.promise;
    this.#folder[Symbol.dispose]();
  }
}

function debugged({ file, args, env }: StartCommand, debugging: Debugging): StartCommand {
  if (debugging.kind === "pdb") return { file, args: [...args, "--pdb"], env };
  const { port, stops } = debugging;
  const flags = [`--inspect-wait=127.0.0.1:${port}`];
  return { file, args: [...flags, ...args, ...(stops ? ["--stop"] : [])], env };
}
