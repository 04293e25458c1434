/**
 * The worker's loop inside a process that is not a worker host: the same loader, codec and slot files, without frames
 * on fd 3. Each step begins in a turn of its own, so that a task's stack ends with our frames, as in a host (failures.ts
 * cuts those off).
 */
import inspector from "node:inspector";
import { Script } from "node:vm";
import type { FromWorker, ToWorker } from "@everycore/protocol/worker";
import { JsRunner } from "./js-runner.ts";
import { WorkerLoop } from "./loop.ts";
import { Slot } from "./slot.ts";

/** A worker's end that ends only this loop. */
export class WorkerEnded extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`the worker ended with exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

const turn = Symbol.for("everycore.in-process.turn");
const turns = globalThis as { [turn]?: () => void };
/** Ctrl-C ends even a task that never yields: Node does that for scripts alone, so that the turn is one. */
const script = new Script(`globalThis[Symbol.for("everycore.in-process.turn")]()`, {
  filename: new URL("in-process-turn.js", import.meta.url).href, // among our frames
});

export class InProcessLoop {
  readonly #slot: Slot;
  readonly #loop: WorkerLoop;
  readonly #onEnd: (error: unknown) => void;
  #isBusy = false;
  #isClosed = false;

  /** `onEnd` hears of a worker that cannot go on: WorkerEnded, or the ERR_SCRIPT_EXECUTION_INTERRUPTED of a Ctrl-C. */
  constructor(options: {
    readonly directory: string;
    readonly stops: boolean;
    readonly onFrame: (frame: FromWorker) => void;
    readonly onEnd: (error: unknown) => void;
  }) {
    const { directory, stops, onFrame, onEnd } = options;
    this.#slot = new Slot(directory);
    this.#onEnd = onEnd;
    this.#loop = new WorkerLoop(
      new JsRunner({ stops }),
      this.#slot,
      (frame) => {
        this.#isBusy = false;
        onFrame(frame);
      },
      (exitCode) => {
        throw new WorkerEnded(exitCode);
      },
    );
  }

  take(frame: ToWorker): void {
    this.#isBusy = true;
    setImmediate(() => {
      if (this.#isClosed) return;
      turns[turn] = () => void this.#loop.take(frame).catch(this.#onEnd);
      try {
        // A process that a debugger has stopped would answer nobody.
        script.runInThisContext({ breakOnSigint: inspector.url() === undefined });
      } catch (error) {
        this.#onEnd(error);
      }
    });
  }

  /** A task that still runs, asleep in its own await, may come back to its slot: it keeps it until the process ends. */
  close(): void {
    this.#isClosed = true;
    if (!this.#isBusy) this.#slot.close();
  }
}
