/** All workers of one agent's life, and what their files and their ends tell its core (WorkerPool of the shell). */
import type { AgentEvent, Effect } from "@everycore/node-agent/core";
import type { JobId } from "@everycore/protocol";
import type { Disk, SliceFile } from "./disk.ts";
import type { JobPlan } from "./plan.ts";
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";
import type { ItemStart, Load } from "./worker.ts";
import { SimWorker } from "./worker.ts";

type WithoutTime<T> = T extends unknown ? Omit<T, "at"> : never;
export type Event = WithoutTime<AgentEvent>;
export type LeaseFacts = Extract<AgentEvent, { kind: "leaseArrived" }>["lease"];

type Of<Kind extends Effect["kind"]> = Extract<Effect, { kind: Kind }>;

export interface PoolOptions {
  readonly time: Timeline;
  readonly random: Random;
  readonly disk: Disk;
  readonly slowness: number;
  readonly feed: (event: Event) => void;
  readonly started: (start: ItemStart) => void;
  readonly recorded: (start: ItemStart) => void;
  readonly crashed: (start: ItemStart) => void;
  readonly isKilledByHost: (job: JobId, index: number) => boolean;
  readonly nodeDies: () => void;
  readonly loads: (job: JobId, code: string) => Load;
}

export class Pool {
  readonly workers = new Map<number, SimWorker>();
  #isOver = false;
  readonly #options: PoolOptions;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** The agent is gone, and its workers with it. */
  end(): void {
    this.#isOver = true;
    for (const worker of this.workers.values()) worker.isAlive = false;
    this.workers.clear();
  }

  #feed(event: Event): void {
    if (!this.#isOver) this.#options.feed(event);
  }

  start(id: number): void {
    const { time, random, disk, slowness, started, recorded, crashed, nodeDies, isKilledByHost, loads } =
      this.#options;
    const worker: SimWorker = new SimWorker({
      id,
      time,
      random,
      disk,
      slowness,
      events: {
        ready: () => this.#feed({ kind: "workerReady", worker: id }),
        loaded: () => this.#feed({ kind: "workerLoaded", worker: id }),
        loadFailed: () => this.#feed({ kind: "initFailed", worker: id, error: new Uint8Array() }),
        loads,
        sliceEnded: (file, at, busyMs) => {
          this.#seen(worker, [file]);
          this.#feed({ kind: "sliceEnded", worker: id, slice: file.slice, ended: at, busyMs, cpuMs: busyMs });
        },
        died: () => time.after(random.between(0.5, 5), () => this.#died(worker)),
        isKilledByHost,
        nodeDies,
        started,
        recorded,
        crashed,
      },
    });
    this.workers.set(id, worker);
  }

  task(id: number, plan: JobPlan, code: string): void {
    this.workers.get(id)?.task(plan, code);
  }

  kill(id: number, isDropped: boolean): void {
    this.workers.get(id)?.kill(isDropped);
  }

  setLimit(effect: Of<"setLimit">): void {
    this.workers.get(effect.worker)?.setLimit(effect.slice, effect.limit);
  }

  sendSlice(effect: Of<"sendSlice">, { epoch, grant, task }: LeaseFacts): void {
    const { worker, slice, job, start, end, attempts, partials } = effect;
    const { retries } = task;
    const reduced = task.reduced && !partials;
    const file = { worker, slice, job, epoch, grant, start, end, limit: end, attempts, retries, reduced };
    this.workers.get(worker)?.order({ file, partials });
  }

  lookAll(): void {
    for (const worker of this.workers.values()) this.#look(worker);
  }

  /** Reads what the worker has appended. */
  #look(worker: SimWorker): void {
    this.#seen(worker, worker.begun);
  }

  #seen(worker: SimWorker, files: readonly SliceFile[]): void {
    const seen = files
      .filter((file) => file.seen < file.outcomes.length)
      .map((file) => {
        const runs = this.#options.disk.runs(file, file.seen);
        file.seen = file.outcomes.length;
        return { slice: file.slice, job: file.job, lease: file.grant.id, runs };
      });
    if (seen.length > 0) this.#feed({ kind: "outcomesSeen", worker: worker.id, seen });
  }

  #sights(worker: SimWorker): { slice: number; cursor: number }[] {
    return worker.begun.map((file) => ({ slice: file.slice, cursor: file.start + file.items }));
  }

  readCursor({ worker: id, cut }: Of<"readCursor">): void {
    const look = (): void => {
      const worker = this.workers.get(id);
      if (worker === undefined) return;
      const { phase } = worker;
      this.#look(worker);
      this.#feed({ kind: "cursorRead", worker: id, phase, sights: this.#sights(worker), cut });
    };
    if (cut) this.#options.time.after(2, look);
    else look();
  }

  #died(worker: SimWorker): void {
    if (this.#isOver) return;
    this.#look(worker);
    for (const file of worker.begun) file.isRunning = false;
    const sights = this.#sights(worker);
    const detail = { signal: "SIGSEGV" };
    this.#feed({ kind: "workerDied", worker: worker.id, phase: worker.phase, sights, detail });
  }

  /** The worker is dead: its file gets the outcome that it could not write. */
  appendTimeout({ worker: id, slice, item }: Of<"appendTimeout">): void {
    const files = [...this.#options.disk.files.values()];
    const file = files.findLast((known) => known.worker === id && known.slice === slice);
    const worker = this.workers.get(id);
    if (file === undefined || worker === undefined) return;
    file.items += 1;
    const missing = file.reduced ? 1 : undefined;
    file.outcomes.push({ start: item, end: item + 1, status: 2, missing });
    this.#seen(worker, [file]);
  }
}
