/**
 * The fold's rules once more, as they are told in DESIGN 5, item by item and as slow as that is: what JobFold is
 * held against in unit tests, and what the simulator judges coverage by. It shares no code with fold.ts.
 */
import type { LeaseGrant, LogRecord, OutcomeStatus } from "../../src/index.ts";

export interface NaiveItem {
  round: number;
  outcome: { status: OutcomeStatus; seq: number } | undefined;
  agains: number;
  lost: number;
  isSuspected: boolean;
  crashes: string[];
}

export interface NaiveCounts {
  stale: number;
  duplicate: number;
  invalid: number;
}

export class NaiveFold {
  readonly items = new Map<number, NaiveItem>();
  readonly dropped: NaiveCounts = { stale: 0, duplicate: 0, invalid: 0 };
  /** `lease/item` pairs whose again or strike was counted. */
  readonly counted = new Set<string>();
  readonly #verify: (grant: LeaseGrant) => boolean;
  fence = 0;
  appended = 0;
  total: number | undefined;
  missing = 0;
  /** Accepted spans that lack values: `start-end` -> how many. */
  readonly gaps = new Map<string, number>();

  constructor(verify: (grant: LeaseGrant) => boolean) {
    this.#verify = verify;
  }

  item(index: number): NaiveItem {
    let item = this.items.get(index);
    if (item === undefined) {
      item = { round: 0, outcome: undefined, agains: 0, lost: 0, isSuspected: false, crashes: [] };
      this.items.set(index, item);
    }
    return item;
  }

  apply(seq: number, record: LogRecord): void {
    switch (record.kind) {
      case "commit":
        for (const part of record.parts) this.#part(seq, part, record.leases[part.lease]);
        return;
      case "strike":
        if (record.byLeader && record.epoch < this.fence) return;
        if (!this.#verify(record.lease)) return;
        for (const range of record.ranges) {
          for (let index = range.start; index < range.end; index += 1) this.#strike(index, record);
        }
        return;
      case "seal":
        if (record.epoch < this.fence) return;
        for (const range of record.ranges) {
          for (let index = range.start; index < range.end; index += 1) {
            const item = this.item(index);
            if (item.outcome === undefined && item.round === record.round)
              item.outcome = { status: record.status, seq };
          }
        }
        return;
      case "reopen":
        if (record.epoch < this.fence) return;
        for (const range of record.ranges) {
          for (let index = range.start; index < range.end; index += 1) this.#reopen(index, record.round);
        }
        return;
      case "fence":
        this.fence = Math.max(this.fence, record.epoch);
        return;
      case "input":
        if (record.piece === record.pieces - 1 && record.first === this.appended)
          this.appended += record.count;
        return;
      case "close":
        this.total ??= record.total;
        return;
      case "chunk":
        return;
    }
  }

  #part(
    seq: number,
    part: { start: number; end: number; status: string; missing?: number },
    grant: LeaseGrant | undefined,
  ): void {
    const { start, end } = part;
    const indices = Array.from({ length: Math.max(0, end - start) }, (_, at) => start + at);
    const isGood = grant !== undefined && this.#verify(grant) && start >= grant.start && end <= grant.end;
    if (!isGood) {
      this.dropped.invalid += end - start;
      return;
    }
    if (part.status === "again") {
      for (const index of indices) this.#again(index, grant);
      return;
    }
    const groups = part.missing === undefined ? indices.map((index) => [index]) : [indices];
    for (const group of groups) {
      const items = group.map((index) => this.item(index));
      if (items.some((item) => item.round !== grant.round)) this.dropped.stale += group.length;
      else if (items.some((item) => item.outcome !== undefined)) this.dropped.duplicate += group.length;
      else {
        for (const item of items) item.outcome = { status: part.status as OutcomeStatus, seq };
        this.missing += part.missing ?? 0;
        if (part.missing) this.gaps.set(`${start}-${end}`, part.missing);
      }
    }
  }

  #countOnce(index: number, grant: LeaseGrant): boolean {
    const item = this.item(index);
    if (item.outcome !== undefined || item.round !== grant.round) return false;
    const pair = `${grant.id}/${index}`;
    if (this.counted.has(pair)) return false;
    this.counted.add(pair);
    return true;
  }

  #again(index: number, grant: LeaseGrant): void {
    if (this.#countOnce(index, grant)) this.item(index).agains += 1;
    else this.dropped.duplicate += 1;
  }

  #strike(index: number, record: Extract<LogRecord, { kind: "strike" }>): void {
    const { lease } = record;
    if (record.cause === "suspected") {
      const item = this.item(index);
      const isInside = index >= lease.start && index < lease.end;
      if (isInside && item.outcome === undefined && item.round === lease.round) item.isSuspected = true;
      return;
    }
    if (index < lease.start || index >= lease.end || !this.#countOnce(index, lease)) return;
    if (record.cause === "lost") this.item(index).lost += 1;
    else this.item(index).crashes.push(lease.node);
  }

  #reopen(index: number, round: number): void {
    const item = this.item(index);
    if (item.outcome === undefined || item.round >= round) return;
    item.outcome = undefined;
    item.round = round;
    item.agains = 0;
    item.lost = 0;
    item.isSuspected = false;
    item.crashes = [];
    // A span whose items run again no longer lacks what it lacked.
    for (const [span, missing] of this.gaps) {
      const [start, end] = span.split("-").map(Number);
      if (index < start! || index >= end!) continue;
      this.missing -= missing;
      this.gaps.delete(span);
    }
  }
}
