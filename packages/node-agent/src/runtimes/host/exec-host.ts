/**
 * Worker host of the runtime `exec`: any program, argv without a shell. Strictly one program at a time, since
 * the cursor names the item that runs. Programs share the host's process group: a kill of the group takes them.
 */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { basename, delimiter, join } from "node:path";
import type { ErrorInfo, TaskFrame } from "@everycore/protocol/worker";
import { codecs, encode, EverycoreError, limits, outcomeStatus } from "@everycore/protocol/worker";
import type { Runner } from "./loop.ts";
import { serve } from "./serve.ts";

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: Buffer;
  readonly stdoutBytes: number;
  readonly stderrTail: string;
}

const placeholders = /\{\}|\{\/\}|\{\.\}|\{#\}/g;

class ExecRunner implements Runner {
  #argv: readonly string[] = [];
  #env: NodeJS.ProcessEnv = {};
  #cwd = "";
  #appends = false;

  async load(task: TaskFrame): Promise<void> {
    this.#argv = task.argv ?? [];
    this.#cwd = task.cwd ?? task.scratch;
    this.#env = { ...(task.env ?? { PATH: process.env["PATH"], HOME: task.scratch }), EVERYCORE_WORKER: "1" };
    // As GNU parallel: without any placeholder the item is the last argument.
    this.#appends = !this.#argv.some((part) => part.search(placeholders) >= 0);
    const program = this.#argv[0] ?? "";
    if (program.search(placeholders) < 0) mustBeThere(program, this.#env["PATH"] ?? "", this.#cwd);
  }

  run(item: unknown, index: number): Promise<Ended> {
    const text =
      typeof item === "string"
        ? item
        : item instanceof Uint8Array
          ? Buffer.from(item).toString()
          : JSON.stringify(item);
    const values: Record<string, string> = {
      "{}": text,
      "{/}": basename(text),
      "{.}": text.replace(/\.[^./]*$/, ""),
      "{#}": String(index + 1),
    };
    const argv = this.#argv.map((part) => part.replace(placeholders, (mark) => values[mark] ?? mark));
    if (this.#appends) argv.push(text);
    return this.#spawn(argv);
  }

  #spawn(argv: readonly string[]): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const child = spawn(argv[0]!, argv.slice(1), {
        cwd: this.#cwd,
        env: this.#env,
        stdio: ["ignore", "pipe", "pipe"],
      });
      const chunks: Buffer[] = [];
      let bytes = 0;
      let tail = "";
      child.stdout.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes <= limits.execOutputBytesMax) chunks.push(chunk);
      });
      child.stderr.on("data", (chunk: Buffer) => {
        process.stderr.write(chunk);
        tail = (tail + chunk.toString("utf8")).slice(-limits.stderrTailBytesMax);
      });
      child.on("error", reject);
      child.on("close", (code, signal) => {
        resolve({ code, signal, stdout: Buffer.concat(chunks), stdoutBytes: bytes, stderrTail: tail });
      });
    });
  }

  encodes = (result: unknown): { status: number; codec: number; bytes: Uint8Array } => {
    const ended = result as Ended;
    const failure = failureOf(ended);
    if (failure === undefined) return { status: outcomeStatus.value, codec: codecs.raw, bytes: ended.stdout };
    return { status: outcomeStatus.error, codec: codecs.error, bytes: encode(failure) };
  };
}

function failureOf(ended: Ended): ErrorInfo | undefined {
  const { code, signal, stdout, stdoutBytes, stderrTail } = ended;
  if (stdoutBytes > limits.execOutputBytesMax) {
    const message = `the program printed ${stdoutBytes} bytes, more than execOutputBytesMax = ${limits.execOutputBytesMax}`;
    return { kind: "output-too-large", name: "OutputTooLarge", message };
  }
  if (signal !== null) {
    return { kind: "signal", name: "Signal", message: `killed by ${signal}`, signal, stdout, stderrTail };
  }
  if (code === 0) return undefined;
  const message = `exit code ${code}`;
  return { kind: "exit", name: "Exit", message, exitCode: code ?? -1, stdout, stderrTail };
}

/** One failure of the job that says so, not one per item. */
function mustBeThere(program: string, path: string, cwd: string): void {
  const places = program.includes("/")
    ? [join(program.startsWith("/") ? "/" : cwd, program)]
    : path.split(delimiter).map((dir) => join(dir, program));
  const found = places.some((place) => {
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
