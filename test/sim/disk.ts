/**
 * What an agent's state directory keeps of its workers: slices with their heads, the records of their items, and
 * where each worker was (DESIGN 8). It outlives agent and worker; a lost disk is an empty one.
 */
import type { SeenRuns } from "@everycore/node-agent/core";
import type { JobId, LeaseGrant, LevelRun, Range } from "@everycore/protocol";
import { levelOf } from "@everycore/protocol";

/** Statuses of records: 0 value, 1 error, 2 timeout, 17 a span's partial. */
export interface Outcome extends Range {
  readonly status: number;
  readonly missing: number | undefined;
}

export type OutcomeRun = SeenRuns["runs"][number];

export interface SliceFile {
  readonly file: number;
  readonly worker: number;
  readonly slice: number;
  readonly job: JobId;
  readonly epoch: number;
  readonly grant: LeaseGrant;
  readonly start: number;
  readonly end: number;
  readonly attempts: readonly LevelRun[];
  readonly retries: number;
  readonly reduced: boolean;
  limit: number;
  /** Items with a record: the running item is start + items. */
  items: number;
  readonly outcomes: Outcome[];
  /** Outcomes that the agent has seen, and those that the log has acknowledged. */
  seen: number;
  freed: number;
  isRunning: boolean;
}

/** Bytes of one outcome; large enough that a few hundred fill a commit. */
const outcomeBytes = 900;

export class Disk {
  readonly files = new Map<number, SliceFile>();
  #lastFile = 0;

  add(slice: Omit<SliceFile, "file" | "items" | "outcomes" | "seen" | "freed" | "isRunning">): SliceFile {
    this.#lastFile += 1;
    const file = {
      ...slice,
      file: this.#lastFile,
      items: 0,
      outcomes: [],
      seen: 0,
      freed: 0,
      isRunning: true,
    };
    this.files.set(file.file, file);
    return file;
  }

  /** Outcomes from position `from` on, as runs of equal status. */
  runs(file: SliceFile, from: number): OutcomeRun[] {
    const runs: OutcomeRun[] = [];
    for (let at = from; at < file.outcomes.length; at += 1) {
      const { start, end, status, missing } = file.outcomes[at]!;
      const last = runs.at(-1);
      const to = (at + 1) * outcomeBytes;
      const follows = last?.status === status && last.end === start && missing === undefined;
      // As outcome-scan.ts: what is tried again is no neighbour of what is not.
      const joins =
        follows && (status === 0 || levelOf(file.attempts, last.start) === levelOf(file.attempts, start));
      if (joins) runs[runs.length - 1] = { ...last, end, to };
      else runs.push({ file: file.file, from: at * outcomeBytes, to, start, end, status, missing });
    }
    return runs;
  }

  /** The log has these: a file goes when all of it is acknowledged and its slice is over. */
  free(runs: readonly OutcomeRun[]): void {
    for (const run of runs) {
      const file = this.files.get(run.file);
      if (file === undefined) continue;
      file.freed += (run.to - run.from) / outcomeBytes;
      if (!file.isRunning && file.freed >= file.outcomes.length) this.files.delete(file.file);
    }
  }

  clear(): void {
    this.files.clear();
  }
}
