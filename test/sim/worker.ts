/**
 * A worker process: starts, loads, runs its slices item by item, writes a record for each, looks at the limit
 * before each, dies of poison or of a signal. Its agent learns what a real one does: from files and from its death.
 */
import type { JobId } from "@everycore/protocol";
import { levelAt, levelOf } from "@everycore/protocol";
import type { Disk, Outcome, SliceFile } from "./disk.ts";
import type { Fate, JobPlan } from "./plan.ts";
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

export interface SliceOrder {
  /** The file appears when the slice begins. */
  readonly file: Omit<SliceFile, "file" | "items" | "outcomes" | "seen" | "freed" | "isRunning">;
  readonly partials: boolean;
}

/** One run of one item: in which slice, and by whom. */
export interface ItemStart {
  readonly file: SliceFile;
  readonly index: number;
  readonly worker: { readonly isAlive: boolean; readonly isDropped: boolean; readonly code: string };
}

export type Load = "well" | "raises" | "dies";

/** What an agent hears of its worker. */
export interface WorkerEvents {
  readonly ready: () => void;
  readonly loaded: () => void;
  readonly loadFailed: () => void;
  /** What becomes of a task that it loads; asked once for each. */
  readonly loads: (job: JobId, code: string) => Load;
  readonly sliceEnded: (slice: SliceFile, at: number, busyMs: number) => void;
  readonly died: () => void;
  /** Something on this host kills the worker while it runs the item; asked once for each try. */
  readonly isKilledByHost: (job: JobId, index: number) => boolean;
  /** An item that takes its node down was run. */
  readonly nodeDies: () => void;
  readonly started: (start: ItemStart) => void;
  readonly recorded: (start: ItemStart) => void;
  /** It dies of its own, or of the world, while it runs the item. */
  readonly crashed: (start: ItemStart) => void;
}

const loadMs = { from: 5, to: 60 };
const startMs = { from: 30, to: 80 };

export class SimWorker {
  readonly id: number;
  isAlive = true;
  /** It was ended because nobody wants what it runs. */
  isDropped = false;
  phase: "idle" | "load" | "item" = "idle";
  readonly #orders: SliceOrder[] = [];
  readonly limits = new Map<number, number>();
  /** Begun slices that the agent has not heard the end of, in order. */
  readonly begun: SliceFile[] = [];
  #running: SliceFile | undefined;
  #isReady = false;
  #isLoaded = false;
  #task: JobPlan | undefined;
  /** What it has loaded; empty: the job's own. */
  code = "";
  readonly #time: Timeline;
  readonly #random: Random;
  readonly #disk: Disk;
  readonly #slowness: number;
  readonly #events: WorkerEvents;

  constructor(options: {
    id: number;
    time: Timeline;
    random: Random;
    disk: Disk;
    slowness: number;
    events: WorkerEvents;
  }) {
    this.id = options.id;
    this.#time = options.time;
    this.#random = options.random;
    this.#disk = options.disk;
    this.#slowness = options.slowness;
    this.#events = options.events;
    this.#later(this.#random.between(startMs.from, startMs.to), () => {
      this.#isReady = true;
      this.#events.ready();
      this.#load();
    });
  }

  /** Only while it lives. */
  #later(ms: number, act: () => void): void {
    this.#time.after(ms, () => {
      if (this.isAlive) act();
    });
  }

  task(plan: JobPlan, code: string): void {
    this.#task = plan;
    this.code = code;
    this.#load();
  }

  #load(): void {
    if (!this.#isReady || this.#task === undefined || this.phase === "load" || this.#isLoaded) return;
    this.phase = "load";
    const load = this.#events.loads(this.#task.id, this.code);
    this.#later(this.#random.between(loadMs.from, loadMs.to), () => {
      if (load === "dies") return this.die();
      this.phase = "idle";
      if (load === "raises") return this.#events.loadFailed();
      this.#isLoaded = true;
      this.#events.loaded();
      this.#next();
    });
  }

  order(order: SliceOrder): void {
    this.limits.set(order.file.slice, order.file.end);
    this.#orders.push(order);
    this.#next();
  }

  setLimit(slice: number, limit: number): void {
    this.limits.set(slice, limit);
    const begun = this.begun.find((file) => file.slice === slice);
    if (begun !== undefined) begun.limit = limit;
  }

  /** SIGTERM now, SIGKILL 200 ms later: it may go on for a while. */
  kill(isDropped: boolean): void {
    this.isDropped ||= isDropped;
    this.#later(this.#random.chance(0.3) ? this.#random.between(1, 200) : 1, () => this.#end());
  }

  /** Nobody asked for it. */
  die(): void {
    const file = this.#running;
    if (this.isAlive && file !== undefined && this.phase === "item")
      this.#events.crashed({ file, index: file.start + file.items, worker: this });
    this.#end();
  }

  #end(): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.#events.died();
  }

  #next(): void {
    if (!this.#isLoaded || this.#running !== undefined) return;
    const order = this.#orders.shift();
    if (order === undefined) return;
    const limit = this.limits.get(order.file.slice) ?? order.file.end;
    const file = this.#disk.add({ ...order.file, limit });
    this.begun.push(file);
    this.#running = file;
    this.phase = "item";
    this.#item(file, order.partials, this.#time.now);
  }

  /** The limit is read, then the item is claimed; what is lowered after that comes too late for it. */
  #item(file: SliceFile, partials: boolean, beganAt: number): void {
    const at = file.start + file.items;
    if (at >= file.end || at >= file.limit) return this.#endSlice(file, beganAt);
    this.#events.started({ file, index: at, worker: this });
    const plan = this.#task!;
    const fate = partials ? undefined : this.#fateOf(plan, at);
    const costMs = (partials ? 5 : plan.costMs(at)) * this.#slowness;
    if (fate?.kind === "hang") return;
    let tookMs = costMs;
    if (fate?.kind === "late") tookMs = fate.ms;
    else if (fate !== undefined && fate.kind !== "value") tookMs *= this.#random.next();
    const isKilledByHost = !partials && this.#events.isKilledByHost(file.job, at);
    this.#later(tookMs, () => {
      if (fate?.kind === "crash" || isKilledByHost) return this.die();
      if (fate?.kind === "killsNode") return this.#events.nodeDies();
      this.#record(file, at, fate?.kind === "error" ? fate.times : 0);
      this.#item(file, partials, beganAt);
    });
  }

  #fateOf(plan: JobPlan, at: number): Fate | undefined {
    const fate = plan.fates.get(at);
    return fate?.kind === "error" && this.code !== "" ? undefined : fate;
  }

  #record(file: SliceFile, at: number, failures: number): void {
    file.items += 1;
    if (file.reduced) return;
    this.#events.recorded({ file, index: at, worker: this });
    const tried = levelOf(file.attempts, at);
    file.outcomes.push({ start: at, end: at + 1, status: tried < failures ? 1 : 0, missing: undefined });
  }

  #endSlice(file: SliceFile, beganAt: number): void {
    const at = file.start + file.items;
    if (file.reduced) file.outcomes.push(...this.#partials(file, at));
    this.phase = "idle";
    file.isRunning = false;
    this.#running = undefined;
    const busyMs = this.#time.now - beganAt;
    // It is in the pipe: heard even if the worker dies in the next slice, and before its death is.
    this.#time.after(this.#random.between(0.05, 0.4), () => {
      this.begun.splice(this.begun.indexOf(file), 1);
      this.#events.sliceEnded(file, at, busyMs);
    });
    this.#next();
  }

  /** The maximal spans of what was run; an item that fails more often than it is tried has no value. */
  #partials(file: SliceFile, end: number): Outcome[] {
    const partials: Outcome[] = [];
    for (let start = file.start; start < end;) {
      const next = start + 2 ** levelAt(start, end);
      let missing = 0;
      for (let index = start; index < next; index += 1) {
        const fate = this.#task!.fates.get(index);
        if (fate?.kind === "error" && fate.times > file.retries) missing += 1;
      }
      partials.push({ start, end: next, status: 17, missing });
      start = next;
    }
    return partials;
  }
}
