/**
 * A simulated worker and its slot file: items take their time, poison kills, and every ended item is a record
 * that stays when worker or agent die. Seen by the agent only when it looks (slice end, tick, death).
 */
import type { OutcomeRun, SeenRuns, SliceSight } from "@everycore/node-agent/core";
import type { CommitRecord, JobId, LeaseGrant, LevelRun, Phase, StrikeRecord } from "@everycore/protocol";
import type { Workload } from "./faults.ts";
import type { Timeline } from "./timeline.ts";

interface Head {
  readonly job: JobId;
  readonly epoch: number;
  readonly grant: LeaseGrant;
  readonly attempts: readonly LevelRun[];
  readonly retries: number;
}

interface GivenSlice {
  readonly slice: number;
  readonly start: number;
  readonly end: number;
  readonly head: Head;
}

interface RunningSlice extends GivenSlice {
  limit: number;
  /** Next item: all before it have records. */
  cursor: number;
  begun: boolean;
  /** Records not yet shown to the agent start here. */
  seenTo: number;
  beganAt: number;
}

interface WorkerParts {
  readonly id: number;
  readonly slot: number;
  readonly time: Timeline;
  readonly workload: Workload;
  readonly started: (index: number) => void;
}

interface WorkerEvents {
  readonly ended: (slice: number, at: number, busyMs: number) => void;
  readonly died: () => void;
}

export class SimWorker {
  readonly id: number;
  readonly slot: number;
  isDead = false;
  phase: Phase = "idle";
  /** Records on disk that are not acknowledged, by slice. */
  readonly #records: { head: Head; slice: number; run: OutcomeRun }[] = [];
  readonly #slices: RunningSlice[] = [];
  #fileAt = 0;
  #ready = false;
  #loaded = false;
  readonly #onReady: (() => void)[] = [];
  readonly #parts: WorkerParts;
  readonly #on: WorkerEvents;

  constructor(parts: WorkerParts, on: WorkerEvents) {
    this.#parts = parts;
    this.#on = on;
    this.id = parts.id;
    this.slot = parts.slot;
  }

  get kept(): readonly OutcomeRun[] {
    return this.#records.map(({ run }) => run);
  }

  get isRunning(): boolean {
    return !this.isDead && this.phase === "item";
  }

  /** The process is up: a task that was sent before is read only now. */
  becomeReady(): void {
    this.#ready = true;
    for (const run of this.#onReady.splice(0)) run();
  }

  whenReady(run: () => void): void {
    if (this.#ready) run();
    else this.#onReady.push(run);
  }

  load(): void {
    this.#loaded = true;
    this.#begin();
  }

  give(slice: GivenSlice): void {
    if (this.isDead) return;
    this.#slices.push({
      ...slice,
      limit: slice.end,
      cursor: slice.start,
      begun: false,
      seenTo: slice.start,
      beganAt: 0,
    });
    if (this.#slices.length === 1) this.#begin();
  }

  setLimit(slice: number, limit: number): void {
    const found = this.#slices.find((known) => known.slice === slice);
    if (found !== undefined) found.limit = Math.min(found.limit, limit);
  }

  get sights(): SliceSight[] {
    return this.#slices.map((slice) => ({
      slice: slice.slice,
      cursor: slice.begun ? slice.cursor : undefined,
    }));
  }

  #begin(): void {
    const [slice] = this.#slices;
    if (slice === undefined || slice.begun || !this.#loaded || this.isDead) return;
    slice.begun = true;
    slice.beganAt = this.#parts.time.now;
    this.phase = "item";
    this.#item(slice);
  }

  #item(slice: RunningSlice): void {
    if (this.isDead) return;
    if (slice.cursor >= slice.end || slice.cursor >= slice.limit) return this.#end(slice);
    const index = slice.cursor;
    const { time, workload } = this.#parts;
    this.#parts.started(index);
    const ms = workload.itemMs * (0.5 + ((index * 2_654_435_761) % 1_000) / 1_000);
    time.after(ms, () => {
      if (this.isDead) return;
      if (workload.poison.has(index)) return this.die(0);
      this.#record(slice, index, workload.failing.has(index) ? 1 : 0);
      slice.cursor = index + 1;
      this.#item(slice);
    });
  }

  #record(slice: RunningSlice, index: number, status: number): void {
    const from = this.#fileAt;
    this.#fileAt += 30;
    const run = {
      file: this.id,
      from,
      to: this.#fileAt,
      start: index,
      end: index + 1,
      status,
      missing: undefined,
    };
    this.#records.push({ head: slice.head, slice: slice.slice, run });
  }

  #end(slice: RunningSlice): void {
    this.#slices.shift();
    this.phase = "idle";
    this.#ended.push(slice);
    this.#on.ended(slice.slice, slice.cursor, this.#parts.time.now - slice.beganAt);
    this.#begin();
  }
  readonly #ended: RunningSlice[] = [];

  /** Records that the agent has not been shown yet. */
  takeSeen(): SeenRuns[] {
    const seen: SeenRuns[] = [];
    for (const slice of [...this.#ended.splice(0), ...this.#slices]) {
      const runs = this.#records
        .filter((record) => record.slice === slice.slice && record.run.start >= slice.seenTo)
        .map(({ run }) => run);
      slice.seenTo = slice.cursor;
      if (runs.length > 0) {
        seen.push({ slice: slice.slice, job: slice.head.job, lease: slice.head.grant.id, runs });
      }
    }
    return seen;
  }

  free(runs: readonly OutcomeRun[]): void {
    for (const run of runs) {
      if (run.file !== this.id) continue;
      const at = this.#records.findIndex((record) => record.run.from === run.from);
      if (at >= 0) this.#records.splice(at, 1);
    }
  }

  die(delayMs: number): void {
    if (this.isDead) return;
    this.isDead = true;
    this.#parts.time.after(delayMs + 1, () => this.#on.died());
  }

  /** Killed with its agent: nobody is told. */
  vanish(): void {
    this.isDead = true;
  }

  /** What a new life of the agent finds: outcomes as commits, a `lost` strike for the running item. */
  leftovers(): (CommitRecord | StrikeRecord)[] {
    const records: (CommitRecord | StrikeRecord)[] = [];
    for (const { head, run } of this.#records) {
      const tried =
        head.attempts.find((known) => known.start <= run.start && run.start < known.end)?.level ?? 0;
      const status = run.status === 0 ? "value" : tried < head.retries ? "again" : "error";
      records.push({
        kind: "commit",
        job: head.job,
        epoch: head.epoch,
        leases: [head.grant],
        parts: [{ lease: 0, start: run.start, end: run.end, status }],
        usage: [],
        bytes: 30,
      });
    }
    for (const slice of this.#slices) {
      if (!slice.begun || slice.cursor >= slice.end || this.phase !== "item") continue;
      records.push({
        kind: "strike",
        job: slice.head.job,
        epoch: slice.head.epoch,
        cause: "lost",
        lease: slice.head.grant,
        ranges: [{ start: slice.cursor, end: slice.cursor + 1 }],
        byLeader: false,
      });
    }
    return records;
  }
}
