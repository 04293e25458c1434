/**
 * All worker processes of the agent by the core's numbers, and the outcome files of those that are dead but not
 * acknowledged. Performs the core's effects on workers and turns what they do into events.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { DeathDetail, FromWorker, JobId, Phase, SegmentId, TaskSpec } from "@everycore/protocol";
import { codecs, encodeErrorInfo, exitDiskFull, outcomeStatus } from "@everycore/protocol";
import type { AgentEvent, Effect, OutcomeRun, SeenRuns, SliceSight } from "../core/index.ts";
import type { KillReason } from "../core/model.ts";
import type { LeaseInputs } from "../data/inputs.ts";
import type { SliceTracing } from "../tracing.ts";
import type { LeaseMessage } from "@everycore/protocol";
import { encodeHead } from "./slice-head.ts";
import type { OutcomeFiles } from "./outcome-files.ts";
import type { OutputStore } from "./output-store.ts";
import { taskFrame } from "./task-frame.ts";
import { workerDirName } from "./worker-dir.ts";
import type { WorkerCommand } from "./worker-process.ts";
import { WorkerProcess } from "./worker-process.ts";

/** After a limit was lowered the worker may be between reading the old one and claiming an item (DESIGN 9). */
const cutWaitMs = 2;
/** A worker that has grown by so much since its task was loaded is replaced, as joblib does it. */
const grownBytes = 300 * 1024 * 1024;

export interface PoolOptions {
  readonly dir: string;
  readonly bootId: string;
  readonly setpriv: string | undefined;
  readonly node: string;
  readonly log: Logger;
  readonly output: OutputStore;
  readonly tracing: SliceTracing;
  readonly command: (runtime: string, dir: string) => WorkerCommand;
  readonly now: () => number;
  readonly emit: (event: AgentEvent) => void;
  /** Bytes that one worker may use. */
  readonly memoryBytesMax: number;
  /** Bytes that this machine has: no lease raises a worker's limit beyond it. */
  readonly machineBytes: number;
}

/** A killed process is gone in milliseconds, unless its disk hangs. */
const goneWithinMs = 1_000;

interface Entry {
  readonly process: WorkerProcess;
  job: JobId | undefined;
  readonly sights: Map<number, number>;
  /** Memory when its task was loaded. */
  loadedBytes: number | undefined;
  memoryBytesMax: number;
  killed: KillReason["kind"] | undefined;
}

type Of<Kind extends Effect["kind"]> = Extract<Effect, { kind: Kind }>;

export class WorkerPool {
  readonly #options: PoolOptions;
  readonly #workers = new Map<number, Entry>();
  /** Stores that have files, the dead ones' included. */
  readonly #stores = new Map<OutcomeFiles, WorkerProcess>();
  /** By file, as long as that exists. */
  readonly #storeOf = new Map<number, OutcomeFiles>();

  constructor(options: PoolOptions) {
    this.#options = options;
    mkdirSync(options.dir, { recursive: true, mode: 0o700 });
  }

  start(effect: Of<"startWorker">): void {
    const { dir, bootId, setpriv, output, emit, now } = this.#options;
    const { worker } = effect;
    const workerDir = join(dir, workerDirName({ slot: effect.slot, worker, bootId }));
    const started = new WorkerProcess({
      id: worker,
      slot: effect.slot,
      dir: workerDir,
      command: this.#options.command(effect.runtime, workerDir),
      bootId,
      setpriv,
      onFrame: (frame) => this.#heard(worker, frame),
      onDeath: ({ phase, detail }) => {
        this.look(worker);
        this.#tellOfDeath(worker, { phase, detail });
        if (detail.exitCode === exitDiskFull && phase !== "item") {
          emit({ kind: "diskLevel", at: now(), level: "full" }); // the next heartbeat looks again
        }
        emit({ kind: "workerDied", at: now(), worker, phase, sights: this.#sightsOf(worker), detail });
      },
      onPrint: (stream, data) => {
        const job = this.#workers.get(worker)?.job;
        if (job !== undefined) output.append({ job, slot: effect.slot, stream }, data);
      },
    });
    this.#workers.set(worker, {
      process: started,
      job: effect.job,
      sights: new Map(),
      loadedBytes: undefined,
      memoryBytesMax: this.#options.memoryBytesMax,
      killed: undefined,
    });
    this.#stores.set(started.files, started);
    // Mostly its outcomes are acknowledged long before it is full, or its worker ends.
    started.files.onGone = (file) => this.#storeOf.delete(file);
  }

  #heard(worker: number, frame: FromWorker): void {
    const { emit, now } = this.#options;
    switch (frame.t) {
      case "ready":
        return emit({ kind: "workerReady", at: now(), worker });
      case "loaded": {
        const entry = this.#workers.get(worker);
        if (entry !== undefined) entry.loadedBytes = entry.process.sampleMemory();
        return emit({ kind: "workerLoaded", at: now(), worker });
      }
      case "initFailed":
        return emit({ kind: "initFailed", at: now(), worker, error: frame.error });
      case "sliceEnded": {
        this.look(worker);
        const entry = this.#workers.get(worker);
        entry?.sights.delete(frame.slice);
        entry?.process.files.sliceEnded();
        this.#options.tracing.ended(worker, frame);
        return emit({
          kind: "sliceEnded",
          at: now(),
          worker,
          slice: frame.slice,
          ended: frame.at,
          busyMs: frame.busyMs,
          cpuMs: frame.cpuMs,
        });
      }
    }
  }

  /** Reads what the worker has appended and tells the core of it. */
  look(worker: number): void {
    const entry = this.#workers.get(worker);
    if (entry === undefined) return;
    const seen: SeenRuns[] = [];
    for (const slice of entry.process.read()) {
      entry.sights.set(slice.slice, slice.head.start + slice.items);
      this.#options.tracing.found(worker, slice.slice, slice.times);
      if (slice.runs.length === 0) continue;
      for (const run of slice.runs) this.#storeOf.set(run.file, entry.process.files);
      seen.push({ slice: slice.slice, job: slice.head.job, lease: slice.head.grant.id, runs: slice.runs });
      slice.runs = [];
    }
    if (seen.length > 0) this.#options.emit({ kind: "outcomesSeen", at: this.#options.now(), worker, seen });
  }

  /** To the log unless it was meant to go, and to the trace of its job. */
  #tellOfDeath(worker: number, { phase, detail }: { phase: Phase; detail: DeathDetail }): void {
    const entry = this.#workers.get(worker);
    if (entry === undefined) return;
    const { killed, sights, job, process } = entry;
    this.#options.tracing.died(worker, { phase, detail, kill: killed }, (slice) => sights.get(slice));
    if (killed === "cancel" || killed === "stop") return;
    const item = phase === "item" ? sights.get(process.page.read().slice) : undefined;
    const { exitCode, signal, reason = killed } = detail;
    const about = { job, slot: process.slot, item, exitCode, signal, reason };
    this.#options.log.warn(about, "worker died"); // pino leaves out what is undefined
  }

  lookAll(): void {
    for (const worker of this.#workers.keys()) this.look(worker);
  }

  #sightsOf(worker: number): SliceSight[] {
    const sights = this.#workers.get(worker)?.sights ?? new Map<number, number>();
    return [...sights].map(([slice, cursor]) => ({ slice, cursor }));
  }

  sendTask(effect: Of<"sendTask">, task: TaskSpec, bundleDir: string | undefined): void {
    const entry = this.#workers.get(effect.worker);
    if (entry === undefined) return;
    entry.job = effect.job;
    const { slot, scratch } = entry.process;
    const { node } = this.#options;
    entry.process.send(taskFrame(task, { job: effect.job, dir: bundleDir, node, slot, scratch }));
  }

  sendSlice(effect: Of<"sendSlice">, message: LeaseMessage, inputs: LeaseInputs | undefined): void {
    const entry = this.#workers.get(effect.worker);
    if (entry === undefined) return;
    const { start, end, slice } = effect;
    const { grant, task, memoryBytes = 0 } = message;
    // For the rest of its life: the core gives such a worker nothing else.
    entry.memoryBytesMax = Math.max(entry.memoryBytesMax, Math.min(memoryBytes, this.#options.machineBytes));
    const reduced = task.reduce !== undefined && !effect.partials;
    const { slot } = entry.process;
    const trace = this.#options.tracing.begin({ worker: effect.worker, slot, slice, start, end }, message);
    const head = encodeHead({
      job: effect.job,
      segment: message.segment as SegmentId, // checked by decodeLease
      epoch: message.epoch,
      grant,
      start,
      end,
      slot,
      retries: task.retries,
      attempts: effect.attempts,
      reduced,
      ...(trace.isTimed ? { timed: true } : {}),
    });
    const files = inputs?.files?.filter((file) => file.first < end && file.first + file.count > start);
    entry.process.page.setLimit(slice, end);
    entry.process.send({
      t: "slice",
      slice,
      start,
      end,
      file: entry.process.files.pathForSlice(),
      head,
      codec: codecs[message.items.codec],
      ...(inputs?.inline === undefined
        ? {}
        : { block: inputs.inline.slice(start - grant.start, end - grant.start) }),
      ...(files === undefined ? {} : { files }),
      ...(inputs?.partials === undefined ? {} : { partials: inputs.partials }),
      reduced,
      ...trace.context,
    });
  }

  setLimit(effect: Of<"setLimit">): void {
    this.#workers.get(effect.worker)?.process.page.setLimit(effect.slice, effect.limit);
  }

  readCursor(effect: Of<"readCursor">): void {
    const { worker, cut } = effect;
    const look = (): void => {
      const entry = this.#workers.get(worker);
      if (entry === undefined) return;
      // Phase first: items claimed after it only make the cursor, read later, larger.
      const { phase } = entry.process.page.read();
      this.look(worker);
      this.#options.emit({
        kind: "cursorRead",
        at: this.#options.now(),
        worker,
        phase,
        sights: this.#sightsOf(worker),
        cut,
      });
    };
    if (cut) setTimeout(look, cutWaitMs);
    else look();
  }

  kill(effect: Of<"killGroup">): void {
    const { worker, reason } = effect;
    const entry = this.#workers.get(worker);
    if (entry !== undefined) entry.killed ??= reason.kind;
    entry?.process.kill(reason.kind === "memory" ? entry.memoryBytesMax : undefined);
  }

  appendTimeout(effect: Of<"appendTimeout">): void {
    const entry = this.#workers.get(effect.worker);
    if (entry === undefined) return;
    const message = `the item ran longer than ${effect.timeoutMs} ms`;
    const isOnDisk = entry.process.files.append({
      index: effect.item,
      status: outcomeStatus.timeout,
      codec: codecs.error,
      micros: effect.timeoutMs * 1_000,
      payload: encodeErrorInfo({ kind: "timeout", name: "TimeoutError", message }),
    });
    this.look(effect.worker);
    if (isOnDisk) return;
    this.#options.log.warn({ job: effect.job, item: effect.item }, "no room for an outcome: kept in memory");
    this.#options.emit({ kind: "diskLevel", at: this.#options.now(), level: "full" });
  }

  /** After its death was judged. */
  retire(worker: number): void {
    const entry = this.#workers.get(worker);
    if (entry === undefined) return;
    this.#workers.delete(worker);
    if (entry.process.retire()) this.#removeStore(entry.process.files);
  }

  #removeStore(files: OutcomeFiles): void {
    this.#stores.get(files)?.removeDir();
    this.#stores.delete(files);
  }

  bytesOf(run: OutcomeRun): Buffer {
    const store = this.#storeOf.get(run.file);
    if (store === undefined) throw new Error(`no outcome file ${run.file}`);
    return store.bytesOf(run);
  }

  free(runs: readonly OutcomeRun[]): void {
    for (const run of runs) {
      const store = this.#storeOf.get(run.file);
      if (store === undefined) continue;
      store.free(run);
      if (store.isEmpty && !this.#isAlive(store)) this.#removeStore(store);
    }
  }

  #isAlive(files: OutcomeFiles): boolean {
    const process = this.#stores.get(files);
    return process !== undefined && this.#workers.has(process.id);
  }

  /** Workers over their memory are named to the core; peaks are remembered for the day they die. */
  watchMemory(): void {
    for (const [worker, entry] of this.#workers) {
      const bytes = entry.process.sampleMemory();
      if (bytes > (entry.loadedBytes ?? bytes) + grownBytes) {
        this.#options.emit({ kind: "workerGrew", at: this.#options.now(), worker });
      }
      if (bytes <= entry.memoryBytesMax) continue;
      this.look(worker);
      this.#options.emit({ kind: "memoryOver", at: this.#options.now(), worker });
    }
  }

  get size(): number {
    return this.#workers.size;
  }

  /**
   * Ends all workers. What is wholly acknowledged leaves no file, so that the next agent here has nothing to publish
   * again; the files of one that was at an item stay, for that agent to say what ran.
   */
  async end(): Promise<void> {
    for (const entry of this.#workers.values()) {
      entry.killed ??= "stop";
      entry.process.kill();
    }
    const exits = [...this.#workers.values()].map(({ process }) => process.exited);
    await Promise.race([Promise.all(exits), delay(goneWithinMs, undefined, { ref: false })]);
    for (const { process } of this.#workers.values()) {
      if (process.files.isIdle && process.retire()) this.#removeStore(process.files);
    }
  }
}
