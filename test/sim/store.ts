/**
 * NATS as everycore uses it: the log with its sequences, EC_JOBS by compare-and-set, the leader's key with its ttl
 * and the epoch. Requests may be lost, slow, or done with their answer lost; that is all the sender ever knows.
 */
import type { JobId, JobRecord, LogRecord, NodeId, NodeRecord, SegmentId } from "@everycore/protocol";
import { times } from "@everycore/protocol";
import type { StoredNode } from "./node-writer.ts";
import type { Partitions, Party } from "./partitions.ts";
import { nats } from "./partitions.ts";
import type { Faults } from "./plan.ts";
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

/** All jobs share it. */
export const simSegment = "sim" as SegmentId;

export interface LogEntry {
  readonly seq: number;
  /** Of the world. */
  readonly at: number;
  readonly record: LogRecord;
}

interface RequestOptions<T> {
  /** Who asks; undefined: a client, which is never cut off. */
  readonly from?: Party;
  /** Done when it arrives. */
  readonly act: () => T;
  /** undefined: no answer in time; it may have been done all the same, or be done later. */
  readonly answer: (result: T | undefined) => void;
  /** How long it may be on its way when it is slow. */
  readonly slowMs: number;
}

const requestMs = 2_000;
const retryMs = 200;

export class Store {
  readonly log: LogEntry[] = [];
  readonly jobs = new Map<JobId, { record: JobRecord; revision: number }>();
  readonly nodes = new Map<NodeId, StoredNode>();
  /** EC_META: bytes, as they travel. */
  readonly checkpoints = new Map<JobId, Uint8Array>();
  epoch = 0;
  leader: { who: string; until: number } | undefined;
  /** Nothing is answered, and nothing is done. */
  isAway = false;
  /** While faults last. */
  isQuiet = false;
  #revision = 0;
  readonly #time: Timeline;
  readonly #random: Random;
  readonly #faults: Faults;
  readonly #followers = new Set<() => void>();
  readonly #jobWatchers = new Set<(record: JobRecord) => void>();
  readonly #onAppend: (entry: LogEntry) => void;
  readonly #onFault: (kind: string) => void;
  readonly #partitions: Partitions;

  constructor(options: {
    time: Timeline;
    random: Random;
    faults: Faults;
    partitions: Partitions;
    onAppend: (entry: LogEntry) => void;
    onFault: (kind: string) => void;
  }) {
    this.#time = options.time;
    this.#random = options.random;
    this.#faults = options.faults;
    this.#partitions = options.partitions;
    this.#onAppend = options.onAppend;
    this.#onFault = options.onFault;
  }

  request<T>({ from, act, answer, slowMs }: RequestOptions<T>): void {
    const random = this.#random;
    const faults = this.isQuiet ? undefined : this.#faults;
    let answered = false;
    const once = (result: T | undefined): void => {
      if (answered) return;
      answered = true;
      answer(result);
    };
    this.#time.after(requestMs, () => once(undefined));
    if (this.isAway || (from !== undefined && !this.#partitions.passes(from, nats))) return;
    if (random.chance(faults?.leaseLoss ?? 0)) return this.#onFault("request lost");
    const slow = faults !== undefined && random.chance(faults.slow);
    if (slow) this.#onFault("request late");
    this.#time.after(slow ? random.between(0, slowMs) : random.between(0.2, 2), () => {
      if (this.isAway) return;
      const result = act();
      if (from !== undefined && !this.#partitions.passes(nats, from)) return;
      if (random.chance(faults?.answerLoss ?? 0)) return this.#onFault("answer lost");
      this.#time.after(random.between(0.2, 2), () => once(result));
    });
  }

  #put(record: LogRecord): number {
    const entry = { seq: this.log.length + 1, at: this.#time.now, record };
    this.log.push(entry);
    this.#onAppend(entry);
    for (const follower of this.#followers) follower();
    return entry.seq;
  }

  /** Tried until stored: at least once. */
  append(
    record: LogRecord,
    options: { from: Party; goesOn: () => boolean; stored: (seq: number) => void },
  ): void {
    if (!options.goesOn()) return;
    this.request({
      from: options.from,
      act: () => this.#put(record),
      answer: (seq) => {
        if (!options.goesOn()) return;
        if (seq !== undefined) return options.stored(seq);
        this.#time.after(retryMs, () => this.append(record, options));
      },
      slowMs: 3_000,
    });
  }

  /** Input is appended only behind what its writer knows (W3). Gives the last input of the job as it stands. */
  appendInput(record: LogRecord & { readonly kind: "input" | "close" }, expected: number): number {
    const last = this.lastInput(record.job);
    return last.seq === expected ? this.#put(record) : 0;
  }

  lastInput(job: JobId): { seq: number; appended: number; closed: boolean } {
    for (let at = this.log.length - 1; at >= 0; at -= 1) {
      const { seq, record } = this.log[at]!;
      if (record.job !== job) continue;
      if (record.kind === "close") return { seq, appended: record.total, closed: true };
      if (record.kind === "input") return { seq, appended: record.first + record.count, closed: false };
    }
    return { seq: 0, appended: 0, closed: false };
  }

  /** That of the next record if it has none yet. */
  firstSeq(job: JobId): number {
    return this.log.find(({ record }) => record.job === job)?.seq ?? this.log.length + 1;
  }

  lastSeq(job: JobId): number {
    for (let at = this.log.length - 1; at >= 0; at -= 1) {
      const entry = this.log[at]!;
      if (entry.record.job === job) return entry.seq;
    }
    return 0;
  }

  /** Calls `more` whenever the log has grown; gives the call that ends it. */
  follow(more: () => void): () => void {
    this.#followers.add(more);
    return () => void this.#followers.delete(more);
  }

  /** Calls `more` with each record that is put from now on; gives the call that ends it. */
  watchJobs(more: (record: JobRecord) => void): () => void {
    this.#jobWatchers.add(more);
    return () => void this.#jobWatchers.delete(more);
  }

  /** Compare-and-set, also over the mark of a deletion; undefined: refused. */
  writeNode(id: NodeId, record: NodeRecord | undefined, expected: number): number | undefined {
    if ((this.nodes.get(id)?.revision ?? 0) !== expected) return undefined;
    this.#revision += 1;
    this.nodes.set(id, { record, revision: this.#revision });
    return this.#revision;
  }

  /** Compare-and-set; the revision that stands there afterwards, and whose record it is. */
  putJob(
    record: JobRecord,
    revision: number,
  ): { stored: boolean; now: number; theirs: JobRecord | undefined } {
    const current = this.jobs.get(record.id);
    if (current !== undefined && current.record === record)
      return { stored: true, now: current.revision, theirs: record };
    if ((current?.revision ?? 0) !== revision)
      return { stored: false, now: current?.revision ?? 0, theirs: current?.record };
    this.#revision += 1;
    this.jobs.set(record.id, { record, revision: this.#revision });
    for (const watcher of this.#jobWatchers) watcher(record);
    return { stored: true, now: this.#revision, theirs: record };
  }

  /** Takes the leader's key; false: another has it. */
  holdLeader(who: string): boolean {
    if (this.leader !== undefined && this.leader.until > this.#time.now && this.leader.who !== who)
      return false;
    this.leader = { who, until: this.#time.now + times.leaderTtlMs };
    return true;
  }

  /** Renews it; one that had expired or was another's meanwhile is taken only if nobody was elected since (L6). */
  renewLeader(who: string, epoch: number): boolean {
    const held = this.leader;
    const isOurs = held !== undefined && held.who === who && held.until > this.#time.now;
    const isFree = held === undefined || held.until <= this.#time.now;
    if (!isOurs && !(isFree && this.epoch === epoch)) return false;
    this.leader = { who, until: this.#time.now + times.leaderTtlMs };
    return true;
  }

  raiseEpoch(): number {
    this.epoch += 1;
    return this.epoch;
  }
}
