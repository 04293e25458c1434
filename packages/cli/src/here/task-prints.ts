/**
 * Where prints of tasks go that share our process: to stderr, or nowhere, so that stdout has results alone, as it has
 * when a cluster runs them.
 */
import { Writable } from "node:stream";

/** Diverts prints until it is disposed of; `stdout` is the way around it, for results. */
export class TaskPrints implements Disposable {
  readonly stdout: Writable;
  readonly #restore: () => void;

  constructor({ quiet }: { quiet: boolean }) {
    const write = process.stdout.write.bind(process.stdout);
    const writeError = process.stderr.write.bind(process.stderr);
    this.#restore = () => {
      process.stdout.write = write;
      process.stderr.write = writeError;
    };
    this.stdout = new Writable({
      decodeStrings: false,
      write: (chunk: string | Uint8Array, encoding, done) => void write(chunk, encoding, done),
    });
    process.stdout.on("error", () => {}); // heard of by whoever writes
    const drop = ((_chunk: unknown, encoding?: unknown, done?: unknown) => {
      const written = typeof encoding === "function" ? encoding : done;
      if (typeof written === "function") queueMicrotask(() => void written());
      return true;
    }) as typeof process.stdout.write; // its overloads differ in the middle only
    process.stdout.write = quiet ? drop : writeError;
    if (quiet) process.stderr.write = drop;
  }

  [Symbol.dispose](): void {
    this.#restore();
  }
}
