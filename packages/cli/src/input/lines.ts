/**
 * Items from a file or stdin, one line each, streamed and never whole in memory. What one read gave travels together,
 * so that a live pipe (`tail -f | everycore map`) is as live as its writer.
 *
 *  L1  a line ends with \n, and a \r before it belongs to the end; the last line needs no end;
 *  L2  JSON lines are checked here, where their number can be said, and travel as the text they are; blank ones are
 *      skipped.
 */
import { createReadStream, fstatSync, statSync } from "node:fs";
import { EverycoreError, limits } from "@everycore/protocol";
import { bytesText } from "../terminal/table.ts";

export interface LineOptions {
  /** A path, or `-` for stdin. */
  readonly file: string;
  readonly codec: "utf8" | "json";
  readonly signal?: AbortSignal | undefined;
}

const newline = 0x0a;
const carriageReturn = 0x0d;

/** Bytes of the input; undefined if they cannot be known, as of a pipe: the job then gets a log segment of its own. */
export function fileBytes(file: string): number | undefined {
  try {
    const info = file === "-" ? fstatSync(0) : statSync(file);
    return info.isFile() ? info.size : undefined;
  } catch {
    return file === "-" ? undefined : 0; // whoever reads it says what is wrong
  }
}

/** Says before anything is started that the file cannot be read. */
export function checkReadable(file: string): void {
  if (file === "-") {
    if (process.stdin.isTTY)
      process.stderr.write("reading items from the terminal, one a line; end with Ctrl-D\n");
    return;
  }
  const info = statSync(file, { throwIfNoEntry: false });
  if (info === undefined)
    throw new EverycoreError("bad-input", `there is no file ${file}`, { hint: "use - to read from stdin" });
  if (info.isDirectory()) throw new EverycoreError("bad-input", `${file} is a folder, not a file of items`);
}

export async function* readLines(options: LineOptions): AsyncGenerator<Uint8Array[]> {
  const stream =
    options.file === "-" ? process.stdin : createReadStream(options.file, { highWaterMark: 128 * 1024 });
  const abort = (): void => void stream.destroy();
  options.signal?.addEventListener("abort", abort, { once: true });
  const splitter = new LineSplitter(options);
  try {
    for await (const chunk of stream) {
      const lines = splitter.push(chunk as Buffer);
      if (lines.length > 0) yield lines;
    }
    const last = splitter.end();
    if (last.length > 0) yield last;
  } catch (error) {
    if (options.signal?.aborted === true) return;
    if (error instanceof EverycoreError) throw error;
    throw new EverycoreError("bad-input", `${options.file} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
}

export class LineSplitter {
  readonly #options: Pick<LineOptions, "file" | "codec">;
  /** Parts of a line whose end has not been read. */
  #open: Buffer[] = [];
  #openBytes = 0;
  #lineNumber = 0;

  constructor(options: Pick<LineOptions, "file" | "codec">) {
    this.#options = options;
  }

  /** The lines that this chunk completes. They own no memory of the chunk's pool beyond it. */
  push(chunk: Buffer): Buffer[] {
    const lines: Buffer[] = [];
    let from = 0;
    for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, from)) {
      this.#take(this.#close(chunk.subarray(from, at)), lines);
      from = at + 1;
    }
    if (from < chunk.length) {
      this.#open.push(chunk.subarray(from));
      this.#openBytes += chunk.length - from;
      // A file without line ends must not be read into memory whole (P7).
      if (this.#openBytes > limits.itemBytesMax + 1) throw this.#tooLong(this.#lineNumber + 1);
    }
    return lines;
  }

  end(): Buffer[] {
    const lines: Buffer[] = [];
    if (this.#openBytes > 0) this.#take(this.#close(Buffer.alloc(0)), lines);
    return lines;
  }

  #close(rest: Buffer): Buffer {
    if (this.#openBytes === 0) return rest;
    const line = Buffer.concat([...this.#open, rest]);
    this.#open = [];
    this.#openBytes = 0;
    return line;
  }

  #take(raw: Buffer, lines: Buffer[]): void {
    this.#lineNumber += 1;
    const line = raw.at(-1) === carriageReturn ? raw.subarray(0, -1) : raw;
    if (line.length > limits.itemBytesMax) throw this.#tooLong(this.#lineNumber);
    if (this.#options.codec === "json") {
      const text = line.toString("utf8");
      if (text.trim() === "") return;
      this.#checkJson(text);
    }
    lines.push(line);
  }

  #checkJson(text: string): void {
    try {
      JSON.parse(text);
    } catch (error) {
      throw new EverycoreError(
        "bad-input",
        `line ${this.#lineNumber} of ${this.#options.file} is not JSON: ${(error as Error).message}`,
        {
          hint: "--items reads one JSON value a line; --each-line takes lines as text",
          cause: error,
        },
      );
    }
  }

  #tooLong(number: number): EverycoreError {
    return new EverycoreError(
      "over-limit",
      `line ${number} of ${this.#options.file} is longer than ${limits.itemBytesMax} bytes (${bytesText(limits.itemBytesMax)}, itemBytesMax), the limit of an item`,
      {
        hint: "make the item the name of a file that holds the data",
      },
    );
  }
}
