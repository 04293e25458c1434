/** JavaScript in the caller's own process, for debuggers and profilers that are attached to it. */
import type { FromWorker } from "@everycore/protocol";
import { decodeErrorInfo, exitDiskFull } from "@everycore/protocol";
import { InProcessLoop, WorkerEnded } from "../runtimes/host/in-process.ts";
import { SlotFolder } from "./slot-folder.ts";
import type { LocalSlice, LocalSliceEnd, LocalTask, LocalWorker } from "./worker.ts";
import { LoadFailure } from "./worker.ts";

export interface OwnWorkerOptions {
  /** Made here, removed at the end. */
  readonly dir: string;
  /** An attached debugger stops in front of the task. */
  readonly stops: boolean;
}

/** Changes the process's working directory to its scratch folder, as a worker's is. */
export class OwnWorker implements LocalWorker {
  readonly #folder: SlotFolder;
  readonly #loop: InProcessLoop;
  #answer = Promise.withResolvers<FromWorker>();

  constructor({ dir, stops }: OwnWorkerOptions) {
    this.#folder = new SlotFolder(dir);
    this.#loop = new InProcessLoop({
      directory: dir,
      stops,
      onFrame: (frame) => this.#answer.resolve(frame),
      onEnd: (error) => this.#answer.reject(error),
    });
    process.env["EVERYCORE_WORKER"] = "1";
  }

  async load(task: LocalTask): Promise<void> {
    this.#answer = Promise.withResolvers();
    this.#loop.take(this.#folder.taskFrame(task));
    const answer = await this.#answer.promise;
    if (answer.t === "initFailed") throw new LoadFailure(decodeErrorInfo(answer.error));
  }

  async run(slice: LocalSlice): Promise<LocalSliceEnd> {
    this.#answer = Promise.withResolvers();
    this.#loop.take(this.#folder.sliceFrame(slice));
    try {
      await this.#answer.promise;
      return { records: this.#folder.records() };
    } catch (error) {
      if (!(error instanceof WorkerEnded)) throw error;
      const isDiskFull = error.exitCode === exitDiskFull;
      return { records: this.#folder.records(), death: { exitCode: error.exitCode }, isDiskFull };
    }
  }

  endedSoFar(): number {
    return this.#folder.records().length;
  }

  halt(): void {
    this.#folder.halt();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#loop.close();
    this.#folder[Symbol.dispose]();
    return Promise.resolve();
  }
}
