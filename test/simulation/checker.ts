/**
 * An independent reading of the log, item by item, against the promises: P1 (every item ends), P2 (one outcome,
 * the first accepted), P4 (only what kills is blamed), and the real fold against this naive one.
 */
import type {
  CommitRecord,
  JobFold,
  LeaseGrant,
  LogRecord,
  OutcomeStatus,
  SealRecord,
  StrikeRecord,
} from "@everycore/protocol";
import type { Workload } from "./faults.ts";
import type { LogEntry } from "./nats-world.ts";
import { verify } from "./leader-node.ts";

interface Item {
  outcome: OutcomeStatus | undefined;
  round: number;
  crashes: number;
  lost: number;
  agains: number;
  /** Leases under which an again or strike was counted. */
  counted: Set<string>;
}

export class NaiveFold {
  readonly items: Item[];
  duplicates = 0;
  stale = 0;
  #fence = 0;

  constructor(items: number) {
    this.items = Array.from({ length: items }, () => ({
      outcome: undefined,
      round: 0,
      crashes: 0,
      lost: 0,
      agains: 0,
      counted: new Set<string>(),
    }));
  }

  apply(record: LogRecord): void {
    switch (record.kind) {
      case "commit":
        return this.#commit(record);
      case "strike":
        return this.#strike(record);
      case "seal":
        return this.#seal(record);
      case "reopen":
        if (record.epoch < this.#fence) return;
        for (const { start, end } of record.ranges) {
          for (const item of this.items.slice(start, end)) {
            if (item.outcome === undefined || item.round >= record.round) continue;
            Object.assign(item, { outcome: undefined, round: record.round, crashes: 0, lost: 0, agains: 0 });
            item.counted = new Set();
          }
        }
        return;
      case "fence":
        this.#fence = Math.max(this.#fence, record.epoch);
        return;
      default:
        return;
    }
  }

  #commit(record: CommitRecord): void {
    for (const part of record.parts) {
      const lease = record.leases[part.lease];
      if (lease === undefined || !verify(record.job, lease)) continue;
      for (let index = part.start; index < part.end; index += 1) {
        const item = this.items[index];
        if (item === undefined || index < lease.start || index >= lease.end) continue;
        if (part.status === "again") this.#again(item, lease);
        else if (item.round !== lease.round) this.stale += 1;
        else if (item.outcome !== undefined) this.duplicates += 1;
        else item.outcome = part.status;
      }
    }
  }

  #again(item: Item, lease: LeaseGrant): void {
    const isOpen = item.outcome === undefined && item.round === lease.round;
    if (!isOpen || item.counted.has(lease.id)) {
      this.duplicates += 1;
      return;
    }
    item.counted.add(lease.id);
    item.agains += 1;
  }

  #strike(record: StrikeRecord): void {
    if (record.byLeader && record.epoch < this.#fence) return;
    const { lease, cause } = record;
    if (!verify(record.job, lease)) return;
    for (const range of record.ranges) {
      for (
        let index = Math.max(range.start, lease.start);
        index < Math.min(range.end, lease.end);
        index += 1
      ) {
        const item = this.items[index];
        if (item === undefined || item.outcome !== undefined || item.round !== lease.round) continue;
        if (item.counted.has(lease.id)) continue;
        item.counted.add(lease.id);
        if (cause === "crash") item.crashes += 1;
        else item.lost += 1;
      }
    }
  }

  #seal(record: SealRecord): void {
    if (record.epoch < this.#fence) return;
    for (const range of record.ranges) {
      for (const item of this.items.slice(range.start, range.end)) {
        if (item.outcome === undefined && item.round === record.round) item.outcome = record.status;
      }
    }
  }
}

export interface Ending {
  readonly cancelled: boolean;
  /** Starts of each item, all tries and lives. */
  readonly starts: readonly number[];
  /** Nothing has happened for which an item may start again: so many rounds, each item once for each try (P3). */
  readonly startsOnce: number | undefined;
}

/** Throws with the first broken promise. */
export function checkEnd(log: readonly LogEntry[], fold: JobFold, workload: Workload, ending: Ending): void {
  const naive = new NaiveFold(workload.items);
  // What stands behind the end of the job has not been read by the leader: late duplicates.
  for (const { seq, record } of log) if (seq <= fold.seq) naive.apply(record);
  const { duplicate, stale } = fold.dropped;
  if (duplicate !== naive.duplicates || stale !== naive.stale) {
    throw new Error(
      `P2: the fold dropped ${duplicate} duplicates and ${stale} stale, the log has ${naive.duplicates} and ${naive.stale}`,
    );
  }
  for (const [index, item] of naive.items.entries()) {
    if (item.outcome === undefined) throw new Error(`P1: item ${index} has no outcome`);
    if (fold.statusOf(index) !== item.outcome) {
      throw new Error(
        `P2: item ${index} is ${fold.statusOf(index)} in the fold and ${item.outcome} in the log`,
      );
    }
    checkItem(index, item, workload, ending);
  }
}

function checkItem(index: number, item: Item, workload: Workload, ending: Ending): void {
  const { outcome } = item;
  const isPoison = workload.poison.has(index);
  if (outcome === "cancelled") {
    if (!ending.cancelled) throw new Error(`P1: item ${index} is cancelled, and nobody asked for it`);
    return;
  }
  if (isPoison && (outcome === "value" || outcome === "error")) {
    throw new Error(`P4: poison item ${index} ended as ${outcome}`);
  }
  if (outcome === "crash" && item.crashes < 2)
    throw new Error(`P4: item ${index} was blamed after ${item.crashes} crash`);
  if (outcome === "lost" && item.lost < 3 && item.lost + item.crashes < 4) {
    throw new Error(`P4: item ${index} is lost after ${item.lost} losses`);
  }
  if (outcome === "error") {
    if (!workload.failing.has(index)) throw new Error(`P2: sound item ${index} ended in error`);
    // More are possible: a try of a lost lease may be reported after its item was leased again.
    if (item.agains < workload.retries) {
      throw new Error(`item ${index} was retried ${item.agains} times of ${workload.retries}`);
    }
  }
  if (outcome === "value" && workload.failing.has(index))
    throw new Error(`P2: failing item ${index} has a value`);
  if (ending.startsOnce !== undefined && !isPoison) {
    const most = workload.failing.has(index) ? (workload.retries + 1) * ending.startsOnce : 1;
    if (ending.starts[index]! > most)
      throw new Error(`P3: item ${index} started ${ending.starts[index]} times, not ${most}`);
  }
  // Whole leases of lost nodes are struck: an innocent item that waited in three of them is lost unrun (DESIGN 9).
  if (ending.starts[index] === 0 && outcome !== "lost")
    throw new Error(`P2: item ${index} ended as ${outcome} and never ran`);
}
