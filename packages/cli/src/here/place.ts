/** A temporary folder of this command in which items run: the unpacked bundle, and a folder for each worker. */
import { rmSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BundleDigest, ErrorInfo, TaskSpec } from "@everycore/protocol";
import type * as Local from "@everycore/node-agent/local";

export interface Bundled {
  readonly digest: BundleDigest;
  readonly bytes: Uint8Array;
}

export interface WorkerOptions {
  readonly task: TaskSpec;
  /** For the task's context. */
  readonly job: string;
  readonly debugging?: Local.Debugging | undefined;
  readonly onPrint: (data: Buffer) => void;
  /** JavaScript runs in this very process. */
  readonly isOwn: boolean;
  /** Ends what runs. */
  readonly signal: AbortSignal;
}

export class Place implements AsyncDisposable {
  readonly #local: typeof Local;
  readonly #dir: string;
  readonly #bundleDir: string | undefined;
  readonly #interpreters: ReturnType<typeof Local.discover>;
  #workers = 0;

  private constructor(local: typeof Local, dir: string, bundleDir: string | undefined) {
    this.#local = local;
    this.#dir = dir;
    this.#bundleDir = bundleDir;
    this.#interpreters = local.discover();
    this.#interpreters.catch(() => {}); // heard of by whoever asks for a worker
  }

  /** `sourceFolder`: where the task's own files are, for debuggers that know them by that name. */
  static async make(bundle: Bundled | undefined, sourceFolder?: string): Promise<Place> {
    const local = await import("@everycore/node-agent/local"); // the agent's code: not for every command
    const dir = await mkdtemp(join(tmpdir(), "everycore-here-"));
    if (bundle === undefined) return new Place(local, dir, undefined);
    // As on a node: traces are told without this folder's name (summary.ts).
    const bundleDir = join(dir, "bundles", bundle.digest);
    local.unpackBundle(bundle.bytes, bundleDir);
    if (sourceFolder !== undefined) await rootSourceMaps(bundleDir, sourceFolder);
    return new Place(local, dir, bundleDir);
  }

  /** A worker that has loaded the task. Throws LoadFailure, and the signal's reason. */
  async worker(options: WorkerOptions): Promise<Local.LocalWorker> {
    const { task, job, signal } = options;
    const worker = await this.#start(options);
    try {
      signal.throwIfAborted();
      const code = this.#bundleDir === undefined ? {} : { dir: this.#bundleDir };
      await worker.load({ job, task, ...code });
      return worker;
    } catch (error) {
      await worker[Symbol.asyncDispose]();
      signal.throwIfAborted();
      throw error;
    }
  }

  async #start({ task, debugging, onPrint, isOwn, signal }: WorkerOptions): Promise<Local.LocalWorker> {
    this.#workers += 1;
    const dir = join(this.#dir, `worker-${this.#workers}`);
    const { HostWorker, OwnWorker } = this.#local;
    if (isOwn && task.runtime === "js")
      return new OwnWorker({ dir, stops: debugging?.kind === "inspect" && debugging.stops });
    const { runtime, python } = task;
    const interpreters = await this.#interpreters;
    const worker = new HostWorker({ runtime, python, dir, interpreters, debugging, onPrint });
    const kill = (): void => worker.kill();
    signal.addEventListener("abort", kill, { once: true });
    return worker;
  }

  /** Why a task cannot be loaded, as a cluster would say of its job; undefined for any other error. */
  loadFailure(error: unknown): { readonly reason: string; readonly info: ErrorInfo } | undefined {
    if (!(error instanceof this.#local.LoadFailure)) return undefined;
    const { info, message } = error;
    const tail = (info.stderrTail ?? "").trim().slice(-500);
    return { info, reason: tail === "" ? message : `${message}: ${tail}` };
  }

  /** For a process that is at its end. */
  removeNow(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** Breakpoints that an editor sets in the task's file are found by the names in its source map. */
async function rootSourceMaps(dir: string, sourceFolder: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (!name.endsWith(".map")) continue;
    const path = join(dir, name);
    const map = JSON.parse(await readFile(path, "utf8")) as object; // esbuild's own
    await writeFile(path, JSON.stringify({ ...map, sourceRoot: pathToFileURL(`${sourceFolder}/`).href }));
  }
}
