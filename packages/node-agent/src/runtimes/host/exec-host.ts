/**
 * Worker host of the runtime `exec` where there is no Python: any program, argv without a shell. Strictly one program
 * at a time, since the cursor names the item that runs. Programs share the host's process group: a kill of the group
 * takes them. Its twin is python/src/everycore/exec_host.py; outcomes are the same (P6).
 */
import type { ChildProcessByStdio } from "node:child_process";
import { spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Readable } from "node:stream";
import type { ErrorInfo, SliceFrame, TaskFrame } from "@everycore/protocol/worker";
import {
  argumentsOf,
  codecs,
  encode,
  EverycoreError,
  hasPlaceholder,
  limits,
  outcomeStatus,
} from "@everycore/protocol/worker";
import { describe } from "./failures.ts";
import type { Returned } from "./item-folder.ts";
import { ItemFolders } from "./item-folder.ts";
import type { Runner } from "./loop.ts";
import { isDiskError } from "./loop.ts";
import { serve } from "./serve.ts";

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: Buffer;
  readonly stdoutBytes: number;
  readonly stderrTail: Buffer;
  /** Absent where the job wants no files. */
  readonly returned?: Returned;
}

/** No process came of it. */
interface NotStarted {
  readonly message: string;
}

/** The disk has no room for the item's folder: no item is to blame, and the worker ends (loop.ts). */
interface NoRoom {
  readonly noRoom: unknown;
}

class ExecRunner implements Runner {
  #argv: readonly string[] = [];
  #env: NodeJS.ProcessEnv = {};
  #cwd = "";
  /** Where each item has one of its own. */
  #folders: ItemFolders | undefined;

  async load(task: TaskFrame): Promise<void> {
    this.#argv = task.argv ?? [];
    this.#cwd = task.cwd ?? task.scratch;
    mustBeFolder(this.#cwd);
    const bare = { PATH: process.env["PATH"], HOME: task.scratch, ...task.addEnv };
    this.#env = { ...(task.env ?? bare), EVERYCORE_WORKER: "1" };
    const program = this.#argv[0] ?? "";
    const { scratch, dir: shipped, returns } = task;
    if (shipped !== undefined || returns !== undefined)
      this.#folders = new ItemFolders({ scratch, shipped, returns });
    // What is shipped stands in each item's folder as it does in the bundle's.
    if (!hasPlaceholder(program)) mustBeThere(program, this.#env["PATH"] ?? "", shipped ?? this.#cwd);
  }

  /** In place of what the submitting environment had: that is further up in the trace. */
  continueTrace = ({ traceparent, tracestate }: SliceFrame): void => {
    this.#env["TRACEPARENT"] = traceparent;
    this.#env["TRACESTATE"] = tracestate; // undefined: spawn leaves it out
  };

  run(item: unknown, index: number): Promise<Ended | NotStarted | NoRoom> {
    const argv = argumentsOf(this.#argv, { text: textOf(item), index });
    return this.#folders === undefined ? this.#spawn(argv) : this.#runInFolder(argv, this.#folders);
  }

  async #runInFolder(argv: readonly string[], folders: ItemFolders): Promise<Ended | NotStarted | NoRoom> {
    try {
      this.#cwd = folders.enter();
    } catch (error) {
      folders.leave();
      if (isDiskError(error)) return { noRoom: error };
      throw error;
    }
    try {
      const ended = await this.#spawn(argv);
      const returned = "message" in ended ? undefined : folders.returned();
      return returned === undefined ? ended : { ...(ended as Ended), returned };
    } finally {
      folders.leave();
    }
  }

  #spawn(argv: readonly string[]): Promise<Ended | NotStarted> {
    const [program = "", ...rest] = argv;
    const failed = (code: string): NotStarted => ({ message: `spawn ${program} ${code}` });
    // Node has texts of its own for these.
    if (argv.some((part) => part.includes("\0"))) return Promise.resolve(failed("EINVAL"));
    if (program === "") return Promise.resolve(failed("ENOENT"));
    return new Promise((resolve, reject) => {
      const refuse = (error: unknown): void => {
        const { code, syscall } = error as NodeJS.ErrnoException;
        if (code !== undefined && syscall?.startsWith("spawn") === true) resolve(failed(code));
        else reject(error);
      };
      let child: ChildProcessByStdio<null, Readable, Readable>;
      try {
        child = spawn(program, rest, { cwd: this.#cwd, env: this.#env, stdio: ["ignore", "pipe", "pipe"] });
      } catch (error) {
        return refuse(error); // E2BIG and others are thrown, ENOENT and others come as an event
      }
      const chunks: Buffer[] = [];
      let bytes = 0;
      let tail = nothing;
      child.stdout.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes <= limits.execOutputBytesMax) chunks.push(chunk);
        else chunks.length = 0;
      });
      child.stderr.on("data", (chunk: Buffer) => {
        process.stderr.write(chunk);
        tail = Buffer.concat([tail, chunk]).subarray(-limits.stderrTailBytesMax - 1);
      });
      child.on("error", refuse);
      child.on("close", (code, signal) => {
        resolve({ code, signal, stdout: Buffer.concat(chunks), stdoutBytes: bytes, stderrTail: tail });
      });
    });
  }

  encodes = (result: unknown): { status: number; codec: number; bytes: Uint8Array } => {
    const ended = result as Ended | NotStarted | NoRoom;
    if ("noRoom" in ended) throw ended.noRoom;
    const failure = "message" in ended ? notStarted(ended) : failureOf(ended);
    if (failure !== undefined)
      return { status: outcomeStatus.error, codec: codecs.error, bytes: encode(failure) };
    const { stdout, returned } = ended as Ended;
    if (returned === undefined) return { status: outcomeStatus.value, codec: codecs.raw, bytes: stdout };
    const { files, executable } = returned;
    const bytes = encode({ stdout, files, executable });
    return { status: outcomeStatus.value, codec: codecs.msgpack, bytes };
  };
}

const nothing = Buffer.alloc(0);

/** Node 24 has it, TypeScript's library does not know it yet. */
const withRawJson = JSON as typeof JSON & { rawJSON(text: string): unknown };

/** Texts are themselves, bytes are read as UTF-8, everything else is JSON. */
function textOf(item: unknown): string {
  if (typeof item === "string") return item;
  if (item instanceof Uint8Array) return Buffer.from(item).toString();
  // Integers beyond 2^53 arrive as BigInt, which JSON.stringify refuses.
  return JSON.stringify(item, (_, value: unknown) =>
    typeof value === "bigint" ? withRawJson.rawJSON(String(value)) : value,
  );
}

/** In words; a stack of this host would say nothing to a user. */
const notStarted = ({ message }: NotStarted): ErrorInfo => {
  const { kind, name, message: cut } = describe(new Error(message));
  return { kind, name, message: cut };
};

/** The last bytes as text; a character that was cut is left out. */
function tailText(tail: Buffer): string {
  if (tail.length <= limits.stderrTailBytesMax) return tail.toString("utf8");
  const last = tail.subarray(-limits.stderrTailBytesMax);
  let first = 0;
  while (first < 3 && (last[first]! & 0xc0) === 0x80) first += 1;
  return last.toString("utf8", first);
}

function failureOf(ended: Ended): ErrorInfo | undefined {
  const { code, signal, stdout, stdoutBytes, returned } = ended;
  const stderrTail = tailText(ended.stderrTail);
  if (stdoutBytes > limits.execOutputBytesMax) {
    const message = `the program printed ${stdoutBytes} bytes, more than execOutputBytesMax = ${limits.execOutputBytesMax}`;
    return { kind: "output-too-large", name: "OutputTooLarge", message };
  }
  const { refusal, ...files } = returned ?? {};
  const kept = { stdout, stderrTail, ...(refusal === undefined ? files : {}) };
  const also = refusal === undefined ? "" : `; ${refusal}`;
  if (signal !== null)
    return { kind: "signal", name: "Signal", message: `killed by ${signal}${also}`, signal, ...kept };
  if (code !== 0)
    return { kind: "exit", name: "Exit", message: `exit code ${code}${also}`, exitCode: code ?? -1, ...kept };
  if (refusal === undefined) return undefined;
  return { kind: "output-too-large", name: "OutputTooLarge", message: refusal, ...kept };
}

/** One failure of the job that says so, not one per item. */
function mustBeFolder(path: string): void {
  try {
    accessSync(path, constants.X_OK);
    if (statSync(path).isDirectory()) return;
  } catch {
    // said below
  }
  throw new EverycoreError("bad-task", `the folder "${path}" cannot be entered on this node`);
}

/** Likewise. */
function mustBeThere(program: string, path: string, cwd: string): void {
  const places = program.includes("/")
    ? [join(program.startsWith("/") ? "/" : cwd, program)]
    : path.split(delimiter).map((dir) => join(dir, program));
  const found =
    program !== "" &&
    places.some((place) => {
      try {
        accessSync(place, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
  if (!found) throw new EverycoreError("bad-task", `no program "${program}" that can be run on this node`);
}

serve(process.argv[2] ?? "", { newRunner: () => new ExecRunner(), rehearses: false });
