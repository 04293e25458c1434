/**
 * Where results go: stdout or a file, in big chunks, at the pace of whoever reads them. A reader that has seen enough
 * (`| head`) is no error: the sink says so once and what comes after is dropped.
 */
import { createWriteStream } from "node:fs";
import { once } from "node:events";
import type { Writable } from "node:stream";
import { EverycoreError } from "@everycore/protocol";

const chunkCharacters = 256 * 1024;

export class Sink implements AsyncDisposable {
  readonly #stream: Writable;
  readonly #isOwned: boolean;
  readonly #gone = new AbortController();
  #failure: EverycoreError | undefined;
  #text = "";

  constructor(stream: Writable, options: { name: string; isOwned: boolean }) {
    this.#stream = stream;
    this.#isOwned = options.isOwned;
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") {
        this.#failure = new EverycoreError(
          "bad-input",
          `${options.name} cannot be written (${error.code ?? error.message})`,
          { cause: error },
        );
      }
      this.#gone.abort();
    });
  }

  /** Aborted once nobody reads any more. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Adds text; true if `flush` should be awaited before more. */
  add(text: string): boolean {
    this.#text += text;
    return this.#text.length >= chunkCharacters;
  }

  async flush(): Promise<void> {
    if (this.#text === "") return;
    const text = this.#text;
    this.#text = "";
    await this.write(text);
  }

  /** Writes now; waits while the reader is slower than we are. Text added before must be flushed first. */
  async write(data: string | Uint8Array): Promise<void> {
    if (this.#failure) throw this.#failure;
    if (this.gone.aborted || this.#stream.write(data)) return;
    await once(this.#stream, "drain", { signal: this.gone }).catch(() => {});
    if (this.#failure) throw this.#failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
    if (!this.#isOwned || this.gone.aborted) return;
    this.#stream.end();
    await once(this.#stream, "close", { signal: this.gone }).catch(() => {});
    if (this.#failure) throw this.#failure;
  }
}

/** stdout, or the file named by `--out`. */
export function openSink(out: string | undefined): Sink {
  if (out === undefined) return new Sink(process.stdout, { name: "stdout", isOwned: false });
  return new Sink(createWriteStream(out), { name: out, isOwned: true });
}
