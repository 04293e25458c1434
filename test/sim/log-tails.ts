/**
 * The tails of a leader (packages/coordinator/src/data/log-tails.ts): one of the segment, from where the active jobs need
 * it, and one of each ended job whose log is asked for. Records arrive in order, a few at a time.
 */
import type { JobCheckpoint, JobId, JobRecord } from "@everycore/protocol";
import { decodeCheckpoint, encodeCheckpoint, isCheckpointOf, isEnded } from "@everycore/protocol";
import type { Random } from "./random.ts";
import type { LogEntry, Store } from "./store.ts";
import type { Timeline } from "./timeline.ts";

export interface SimTailsOptions {
  readonly time: Timeline;
  readonly random: Random;
  readonly store: Store;
  /** Chance that the next records of the log come late. */
  readonly slowTail: () => number;
  /** Within the term. */
  readonly goesOn: () => boolean;
  /** NATS reaches the leader. */
  readonly hears: () => boolean;
  readonly onRecord: (entry: LogEntry) => void;
}

export interface FoundLogs {
  readonly all: readonly {
    readonly record: JobRecord;
    readonly lastSeq: number;
    readonly checkpoint?: JobCheckpoint;
  }[];
  /** Behind which the segment is read: nothing is needed of ended jobs. */
  readonly after: number;
}

export function findLogs(store: Store, records: readonly JobRecord[]): FoundLogs {
  let after = store.log.length;
  const all = records.map((record) => {
    if (isEnded(record.state)) return { record, lastSeq: 0 };
    const lastSeq = store.lastSeq(record.id);
    const checkpoint = checkpointOf(store, record);
    after = Math.min(after, checkpoint?.fold.sums.seq ?? store.firstSeq(record.id) - 1);
    return checkpoint === undefined ? { record, lastSeq } : { record, lastSeq, checkpoint };
  });
  return { all, after };
}

/** It may be lost, and land when another leads already, whose own is newer. */
export function saveCheckpoint(
  { time, random, store }: Pick<SimTailsOptions, "time" | "random" | "store">,
  checkpoint: JobCheckpoint,
): void {
  const bytes = encodeCheckpoint(checkpoint);
  if (random.chance(0.1)) return;
  time.after(random.between(1, 500), () => void store.checkpoints.set(checkpoint.job, bytes));
}

function checkpointOf(store: Store, record: JobRecord): JobCheckpoint | undefined {
  const bytes = store.checkpoints.get(record.id);
  const checkpoint = bytes === undefined ? undefined : decodeCheckpoint(bytes);
  return checkpoint !== undefined && isCheckpointOf(checkpoint, record) ? checkpoint : undefined;
}

interface Tail {
  /** Records that were read. */
  position: number;
  isPumping: boolean;
  readonly isWanted: (job: JobId) => boolean;
}

export class SimTails {
  readonly #options: SimTailsOptions;
  readonly #tails: Tail[] = [];
  readonly #ownJobs = new Set<JobId>();
  readonly #stop: () => void;

  constructor(options: SimTailsOptions) {
    this.#options = options;
    this.#stop = options.store.follow(() => {
      for (const tail of this.#tails) this.#pump(tail);
    });
  }

  openSegment(after: number): void {
    this.#open(after, (job) => !this.#ownJobs.has(job));
  }

  /** False: it is read already. */
  claimJob(job: JobId): boolean {
    if (this.#ownJobs.has(job)) return false;
    this.#ownJobs.add(job);
    return true;
  }

  openJob(own: JobId): void {
    this.#open(0, (job) => job === own);
  }

  close(): void {
    this.#stop();
    this.#tails.length = 0;
  }

  #open(after: number, isWanted: (job: JobId) => boolean): void {
    const tail: Tail = { position: after, isPumping: false, isWanted };
    this.#tails.push(tail);
    this.#pump(tail);
  }

  #pump(tail: Tail): void {
    const { time, random, store, slowTail, goesOn, hears, onRecord } = this.#options;
    if (tail.isPumping || tail.position >= store.log.length) return;
    tail.isPumping = true;
    const isDeaf = store.isAway || !hears();
    const wait = isDeaf ? 100 : random.chance(0.02) ? random.between(0, 300) : random.between(0.1, 2);
    // Drawn only where there is something to draw for.
    const lateMs = slowTail() > 0 && random.chance(slowTail()) ? random.between(0, 2_000) : 0;
    time.after(wait + lateMs, () => {
      if (!goesOn()) return;
      tail.isPumping = false;
      if (!store.isAway && hears()) {
        const to = Math.min(store.log.length, tail.position + random.int(1, 100));
        while (tail.position < to && goesOn()) {
          const entry = store.log[tail.position]!;
          tail.position += 1;
          if (tail.isWanted(entry.record.job)) onRecord(entry);
        }
      }
      if (goesOn()) this.#pump(tail);
    });
  }
}
