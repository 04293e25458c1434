/**
 * The fold of a job's log: which outcome of each item counts (P2). Leader, readers, simulator and audit run
 * this very code over the same records in the same order, hence agree without talking. Nothing else decides:
 * no server-side dedupe, no clock, no table of leases.
 *
 * Rules, as cited by tests and mutations:
 *  F1  a part of a commit is accepted if its lease's id is right, the part lies inside the lease, its lease's
 *      round is the round of all its items, and none of its items is covered; else it is dropped and counted;
 *  F2  `again` and `strike` cover nothing and count once per (lease, item): a resend must not count twice;
 *  F3  a seal covers every uncovered item of its ranges whose round matches and skips the others;
 *  F4  a reopen uncovers covered items of lower rounds only, sets their round, and clears their agains and
 *      strikes: one that is stored again after its items have ended anew must not take their outcomes away;
 *  F5  after a fence, records of the leader with a lower epoch are ignored; agents' records are not fenced;
 *  F6  a suspicion covers nothing, ends no membership and is no strike: its uncovered items are run with care.
 */
import type { JobId, LeaseId, NodeId } from "./ids.ts";
import type { FoldDelta } from "./fold-delta.ts";
import { emptyDelta } from "./fold-delta.ts";
import type { OutcomeCounts, OutcomeStatus } from "./outcomes.ts";
import { emptyCounts } from "./outcomes.ts";
import type { MishapsSnapshot } from "./mishaps.ts";
import { Mishaps } from "./mishaps.ts";
import type { Range } from "./ranges.ts";
import { IntervalSet, sizeOf } from "./ranges.ts";
import type {
  CommitPart,
  CommitRecord,
  DeathDetail,
  LeaseGrant,
  LogRecord,
  ReopenRecord,
  SealRecord,
  SlotUsage,
  StrikeCause,
  StrikeRecord,
} from "./records.ts";

/** Version of these rules; stored in the job's record. */
export const foldVersion = 1;

/** True if the grant's id is the one that the cluster would have given it. */
export type VerifyLease = (job: JobId, grant: LeaseGrant) => boolean;

export interface NodeUsage {
  slots: Map<number, { items: number; slices: number; splits: number; busyMs: number; cpuMs: number }>;
  /** Commits that this node had accepted in part or whole. */
  commits: number;
}

export interface DropCounts {
  stale: number;
  duplicate: number;
  invalid: number;
}

/** A fold as data: `of(snapshot())` is the same fold. */
export interface FoldSnapshot {
  readonly sums: Pick<
    JobFold,
    "seq" | "fence" | "missing" | "appended" | "total" | "outcomeBytes" | "retries" | "strikeCount"
  >;
  readonly dropped: Readonly<DropCounts>;
  readonly usage: readonly { node: NodeId; commits: number; slots: readonly SlotUsage[] }[];
  readonly covered: readonly Range[];
  readonly failed: readonly (readonly [FailedStatus, readonly Range[]])[];
  readonly rounds: readonly (readonly [number, readonly Range[]])[];
  readonly gaps: readonly (Range & { readonly missing: number })[];
  readonly mishaps: MishapsSnapshot;
}

/** Statuses other than `value`, each with its own set: values are what is covered and in none of them. */
export type FailedStatus = Exclude<OutcomeStatus, "value">;
export const failedStatuses: readonly FailedStatus[] = [
  "error",
  "timeout",
  "crash",
  "lost",
  "cancelled",
  "expired",
];

export class JobFold {
  readonly job: JobId;
  readonly covered = new IntervalSet();
  readonly dropped: DropCounts = { stale: 0, duplicate: 0, invalid: 0 };
  readonly usage = new Map<NodeId, NodeUsage>();
  /** Sequence of the last record applied. */
  seq = 0;
  /** Highest fence seen. */
  fence = 0;
  /** Items of accepted spans that have no value. */
  missing = 0;
  /** Items in durable input blocks, and the total once the input is closed. */
  appended = 0;
  total: number | undefined;
  /** Bytes of accepted and dropped outcomes. */
  outcomeBytes = 0;
  /** `again`s accepted in all: what `--retries` has cost. */
  retries = 0;
  strikeCount = 0;
  /** Of items without an outcome. */
  mishaps = new Mishaps();

  readonly #verify: VerifyLease;
  readonly #failed = new Map<FailedStatus, IntervalSet>(failedStatuses.map((s) => [s, new IntervalSet()]));
  /** Rounds other than 0. */
  readonly #rounds = new Map<number, IntervalSet>();
  /** Accepted spans with items that have no value: start -> end, missing. A retry reopens them whole. */
  readonly #gaps = new Map<number, { end: number; missing: number }>();

  constructor(job: JobId, verify: VerifyLease) {
    this.job = job;
    this.#verify = verify;
  }

  /** Goes on where another fold of the same log stood. */
  static of(job: JobId, verify: VerifyLease, snapshot: FoldSnapshot): JobFold {
    const { sums, dropped, usage, covered, failed, rounds, gaps, mishaps } = snapshot;
    const fold = new JobFold(job, verify);
    Object.assign(fold, sums);
    Object.assign(fold.dropped, dropped);
    for (const { node, commits, slots } of usage)
      fold.usage.set(node, { commits, slots: new Map(slots.map(({ slot, ...did }) => [slot, did])) });
    fold.covered.addAll(covered);
    for (const [status, ranges] of failed) fold.#failed.get(status)!.addAll(ranges);
    for (const [round, ranges] of rounds) fold.#rounds.set(round, IntervalSet.of(ranges));
    for (const { start, end, missing } of gaps) fold.#gaps.set(start, { end, missing });
    fold.mishaps = Mishaps.of(mishaps);
    return fold;
  }

  /** All that the rest of the log needs to know of what was read, as data of its own (checkpoint.ts). */
  snapshot(): FoldSnapshot {
    const { seq, fence, missing, appended, total, outcomeBytes, retries, strikeCount } = this;
    return {
      sums: { seq, fence, missing, appended, total, outcomeBytes, retries, strikeCount },
      dropped: { ...this.dropped },
      usage: [...this.usage].map(([node, { commits, slots }]) => ({
        node,
        commits,
        slots: [...slots].map(([slot, did]) => ({ slot, ...did })),
      })),
      covered: this.covered.toRanges(),
      failed: [...this.#failed].map(([status, items]) => [status, items.toRanges()]),
      rounds: [...this.#rounds].map(([round, items]) => [round, items.toRanges()]),
      gaps: [...this.#gaps].map(([start, gap]) => ({ start, ...gap })),
      mishaps: this.mishaps.snapshot(),
    };
  }

  /** Intervals in all: what it costs. */
  get runCount(): number {
    let runs = this.covered.intervalCount + this.#gaps.size + this.mishaps.runCount;
    for (const sets of [this.#failed, this.#rounds])
      for (const items of sets.values()) runs += items.intervalCount;
    return runs;
  }

  counts(): OutcomeCounts {
    const counts = emptyCounts();
    let failed = 0;
    for (const [status, set] of this.#failed) {
      counts[status] = set.size;
      failed += set.size;
    }
    counts.value = this.covered.size - failed;
    return counts;
  }

  /** Covered items of one status other than `value`. */
  ranges(status: FailedStatus): Range[] {
    return this.#failed.get(status)!.toRanges();
  }

  /** Accepted spans of a reduction that lack values. */
  gaps(): Range[] {
    return [...this.#gaps].map(([start, gap]) => ({ start, end: gap.end }));
  }

  statusOf(index: number): OutcomeStatus | undefined {
    if (!this.covered.has(index)) return undefined;
    for (const [status, set] of this.#failed) if (set.has(index)) return status;
    return "value";
  }

  roundOf(index: number): number {
    for (const [round, set] of this.#rounds) if (set.has(index)) return round;
    return 0;
  }

  /** The first run of one round inside [start, end). */
  roundRun(start: number, end: number): { round: number; end: number } {
    const round = this.roundOf(start);
    let stop = end;
    for (const [other, set] of this.#rounds) {
      if (other === round) stop = Math.min(stop, set.fromIndex(start)!.end);
      else stop = Math.min(stop, set.fromIndex(start)?.start ?? end);
    }
    return { round, end: stop };
  }

  /** The range cut where the round changes, in order. */
  roundRuns(range: Range): (Range & { readonly round: number })[] {
    const runs: (Range & { readonly round: number })[] = [];
    for (let start = range.start; start < range.end;) {
      const { round, end } = this.roundRun(start, range.end);
      runs.push({ start, end, round });
      start = end;
    }
    return runs;
  }

  apply(seq: number, record: LogRecord): FoldDelta {
    const delta = emptyDelta();
    this.seq = Math.max(this.seq, seq);
    switch (record.kind) {
      case "commit":
        this.#applyCommit(seq, record, delta);
        break;
      case "strike":
        this.#applyStrike(record, delta);
        break;
      case "seal":
        this.#applySeal(seq, record, delta);
        break;
      case "reopen":
        this.#applyReopen(record, delta);
        break;
      case "fence":
        this.fence = Math.max(this.fence, record.epoch);
        break;
      case "input":
        // Blocks are whole only with their last piece; first and count say where they belong.
        if (record.piece === record.pieces - 1 && record.first === this.appended)
          this.appended += record.count;
        break;
      case "close":
        this.total = this.total ?? record.total;
        break;
      case "chunk":
        break;
    }
    return delta;
  }

  #applyCommit(seq: number, record: CommitRecord, delta: FoldDelta): void {
    const valid = record.leases.map((grant) => this.#verify(record.job, grant));
    let entry = 0;
    for (const part of record.parts) {
      const grant = record.leases[part.lease];
      if (grant === undefined || !valid[part.lease]) {
        delta.dropped.push({ part, lease: grant?.id ?? ("" as LeaseId), reason: "invalid" });
        this.dropped.invalid += part.end - part.start;
      } else {
        this.#applyPart({ seq, entry, part, grant }, delta);
      }
      entry += part.missing === undefined ? part.end - part.start : 1;
    }
    this.outcomeBytes += record.bytes;
    const node = record.leases[0]?.node;
    if (node !== undefined && valid[0]) this.#applyUsage(node, record.usage);
  }

  #applyPart(
    at: { seq: number; entry: number; part: CommitPart; grant: LeaseGrant },
    delta: FoldDelta,
  ): void {
    const { seq, entry, part, grant } = at;
    const { start, end } = part;
    const drop = (range: Range, reason: "stale" | "duplicate" | "invalid"): void => {
      delta.dropped.push({ part: range, lease: grant.id, reason });
      this.dropped[reason] += range.end - range.start;
    };
    if (!(start < end) || start < grant.start || end > grant.end) return drop(part, "invalid");
    if (part.status === "again") return this.#applyAgain(part, grant, delta);
    const isSpan = part.missing !== undefined;
    // Plain parts are single items written as runs, so each item is judged alone; a span is one part.
    const pieces = isSpan ? [{ start, end }] : this.#sameFate(start, end);
    for (const piece of pieces) {
      const run = this.roundRun(piece.start, piece.end);
      if (run.round !== grant.round || run.end < piece.end) drop(piece, "stale");
      else if (this.covered.intersects(piece.start, piece.end)) drop(piece, "duplicate");
      else {
        this.covered.add(piece.start, piece.end);
        if (part.status !== "value") this.#failed.get(part.status)!.add(piece.start, piece.end);
        if ((part.missing ?? 0) > 0) this.#gaps.set(piece.start, { end: piece.end, missing: part.missing! });
        this.missing += part.missing ?? 0;
        delta.accepted.push({
          start: piece.start,
          end: piece.end,
          status: part.status,
          node: grant.node,
          lease: grant.id,
          seq,
          entry: isSpan ? entry : entry + piece.start - start,
          missing: part.missing ?? 0,
        });
      }
    }
  }

  /** [start, end) cut where coverage or round changes. */
  #sameFate(start: number, end: number): Range[] {
    const pieces: Range[] = [];
    let at = start;
    while (at < end) {
      let stop = this.#rounds.size === 0 ? end : this.roundRun(at, end).end;
      const next = this.covered.fromIndex(at);
      if (next !== undefined) stop = Math.min(stop, next.start <= at ? next.end : next.start);
      pieces.push({ start: at, end: stop });
      at = stop;
    }
    return pieces;
  }

  #applyAgain(part: CommitPart, grant: LeaseGrant, delta: FoldDelta): void {
    for (const piece of this.#sameFate(part.start, part.end)) {
      const open = !this.covered.has(piece.start) && this.roundOf(piece.start) === grant.round;
      const fresh = open ? this.mishaps.countOnce(piece, grant.id) : [];
      const repeated = piece.end - piece.start - sizeOf(fresh);
      if (repeated > 0) {
        delta.dropped.push({ part: piece, lease: grant.id, reason: "duplicate" });
        this.dropped.duplicate += repeated;
      }
      for (const range of fresh) {
        this.retries += range.end - range.start;
        for (const run of this.mishaps.again(range)) {
          delta.again.push({
            start: run.start,
            end: run.end,
            lease: grant.id,
            node: grant.node,
            count: run.level,
          });
        }
      }
    }
  }

  #applyStrike(record: StrikeRecord, delta: FoldDelta): void {
    const fenced = record.byLeader && record.epoch < this.fence;
    if (fenced || !this.#verify(record.job, record.lease)) {
      delta.ignored = true;
      return;
    }
    const { lease } = record;
    for (const range of record.ranges) {
      const from = Math.max(range.start, lease.start);
      const to = Math.min(range.end, lease.end);
      for (const piece of this.#sameFate(from, to)) {
        const open = !this.covered.has(piece.start) && this.roundOf(piece.start) === lease.round;
        if (!open) continue;
        if (record.cause === "suspected") {
          this.mishaps.suspect(piece);
          delta.suspected.push(piece);
        } else {
          const { cause, detail } = record;
          for (const fresh of this.mishaps.countOnce(piece, lease.id))
            this.#strike(fresh, { cause, lease, detail }, delta);
        }
      }
    }
  }

  #strike(
    range: Range,
    of: { cause: StrikeCause; lease: LeaseGrant; detail: DeathDetail | undefined },
    delta: FoldDelta,
  ): void {
    this.mishaps.strike(range, of);
    this.strikeCount += range.end - range.start;
    delta.struck.push({ ...range, lease: of.lease.id, node: of.lease.node, cause: of.cause });
  }

  #applySeal(seq: number, record: SealRecord, delta: FoldDelta): void {
    if (record.epoch < this.fence) {
      delta.ignored = true;
      return;
    }
    for (const range of record.ranges) {
      for (const open of this.covered.missingIn(range.start, range.end)) {
        for (const run of this.roundRuns(open)) {
          if (run.round === record.round) this.#seal(seq, run, record, delta);
        }
      }
    }
  }

  #seal(seq: number, range: Range, record: SealRecord, delta: FoldDelta): void {
    this.covered.add(range.start, range.end);
    this.#failed.get(record.status)!.add(range.start, range.end);
    delta.accepted.push({
      start: range.start,
      end: range.end,
      status: record.status,
      node: record.node,
      lease: undefined,
      seq,
      entry: 0,
      missing: 0,
    });
  }

  #applyReopen(record: ReopenRecord, delta: FoldDelta): void {
    if (record.epoch < this.fence) {
      delta.ignored = true;
      return;
    }
    for (const range of record.ranges) {
      for (const was of this.covered.within(range.start, range.end)) {
        for (const run of this.roundRuns(was)) {
          // Published twice, the second one must not uncover what the new round has covered meanwhile.
          if (run.round < record.round) this.#reopen(run, record.round, delta);
        }
      }
    }
  }

  #reopen(was: Range, round: number, delta: FoldDelta): void {
    this.covered.remove(was.start, was.end);
    for (const set of this.#failed.values()) set.remove(was.start, was.end);
    for (const set of this.#rounds.values()) set.remove(was.start, was.end);
    let of = this.#rounds.get(round);
    if (of === undefined) this.#rounds.set(round, (of = new IntervalSet()));
    of.add(was.start, was.end);
    this.#forget(was);
    delta.reopened.push({ start: was.start, end: was.end });
  }

  #forget(range: Range): void {
    for (const [start, gap] of this.#gaps) {
      if (start < range.start || gap.end > range.end) continue;
      this.missing -= gap.missing;
      this.#gaps.delete(start);
    }
    this.mishaps.forget(range);
  }

  #applyUsage(node: NodeId, usages: readonly SlotUsage[]): void {
    let of = this.usage.get(node);
    if (of === undefined) this.usage.set(node, (of = { slots: new Map(), commits: 0 }));
    of.commits += 1;
    for (const usage of usages) {
      const slot = of.slots.get(usage.slot) ?? { items: 0, slices: 0, splits: 0, busyMs: 0, cpuMs: 0 };
      slot.items += usage.items;
      slot.slices += usage.slices;
      slot.splits += usage.splits;
      slot.busyMs += usage.busyMs;
      slot.cpuMs += usage.cpuMs;
      of.slots.set(usage.slot, slot);
    }
  }
}
