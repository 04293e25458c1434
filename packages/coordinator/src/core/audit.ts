/**
 * The account of a job's log, round by round (P2). Round 0 opens all items, a reopen those that it uncovers; each of them
 * gets one outcome in its round, so that in every round as many outcomes were accepted as items were opened. What came
 * too late, twice, or without a right to it is counted beside.
 */
import type {
  FoldDelta,
  JobId,
  LogRecord,
  OutcomeCounts,
  Range,
  VerifyLease,
} from "@everycore/protocol/pure";
import { emptyCounts, JobFold } from "@everycore/protocol/pure";

export interface RoundAudit {
  readonly round: number;
  /** Items that had no outcome when it began. */
  opened: number;
  /** How they ended; a later round may have opened some of them again. */
  readonly outcomes: OutcomeCounts;
  duplicate: number;
  stale: number;
  invalid: number;
  /** Errors and timeouts that were tried again. */
  retries: number;
  strikes: number;
  commits: number;
}

export const acceptedIn = ({ outcomes }: RoundAudit): number =>
  Object.values(outcomes).reduce((sum: number, count: number) => sum + count, 0);

export class JobAudit {
  readonly fold: JobFold;
  records = 0;
  commits = 0;
  readonly #rounds = new Map<number, RoundAudit>();

  constructor(job: JobId, verify: VerifyLease) {
    this.fold = new JobFold(job, verify);
  }

  apply(seq: number, record: LogRecord): void {
    const delta = this.fold.apply(seq, record);
    this.records += 1;
    if (record.kind === "commit") this.commits += 1;
    if (record.kind === "commit" && record.leases[0] !== undefined)
      this.#of(record.leases[0].round).commits += 1;
    if (record.kind === "reopen") this.#of(record.round).opened += this.#sizeOf(delta.reopened);
    this.#count(record, delta);
  }

  #count(record: LogRecord, delta: FoldDelta): void {
    for (const part of delta.accepted)
      this.#of(roundOf(record, part.lease)).outcomes[part.status] += this.#sizeOf([part]);
    for (const { part, lease, reason } of delta.dropped)
      this.#of(roundOf(record, lease))[reason] += part.end - part.start;
    for (const part of delta.again) this.#of(roundOf(record, part.lease)).retries += part.end - part.start;
    for (const part of delta.struck) this.#of(roundOf(record, part.lease)).strikes += part.end - part.start;
  }

  /** Of the job's own items: the reduction, an item behind them, is none. */
  #sizeOf(ranges: readonly Range[]): number {
    const end = this.fold.total ?? Number.POSITIVE_INFINITY;
    return ranges.reduce((sum, range) => sum + Math.max(0, Math.min(range.end, end) - range.start), 0);
  }

  #of(round: number): RoundAudit {
    const known = this.#rounds.get(round);
    if (known !== undefined) return known;
    const counts = { opened: 0, duplicate: 0, stale: 0, invalid: 0, retries: 0, strikes: 0, commits: 0 };
    const audit = { round, outcomes: emptyCounts(), ...counts };
    this.#rounds.set(round, audit);
    return audit;
  }

  /** In their order. */
  get rounds(): RoundAudit[] {
    this.#of(0).opened = this.fold.total ?? this.fold.appended;
    return [...this.#rounds.values()].sort((a, b) => a.round - b.round);
  }

  /** Every item has exactly one outcome, and had in each of its rounds. */
  get isClosed(): boolean {
    const { total, covered } = this.fold;
    if (total === undefined || !covered.covers(0, total)) return false;
    return this.rounds.every((round) => acceptedIn(round) === round.opened);
  }
}

/** The round for which the record speaks of the items of this lease. */
function roundOf(record: LogRecord, lease: string | undefined): number {
  if (record.kind === "seal") return record.round;
  if (record.kind === "strike") return record.lease.round;
  if (record.kind === "commit") return record.leases.find(({ id }) => id === lease)?.round ?? 0;
  return 0;
}
