/**
 * What must hold, by the names of the promises (DESIGN 2). Coverage is judged by the naive fold over the log as it
 * is stored, never by the code under test. A breach throws at once: the seed says how to come back.
 */
import type { ClusterState } from "@everycore/coordinator/core";
import type { JobId, JobRecord, LeaseGrant, LogRecord, NodeId, OutcomeStatus } from "@everycore/protocol";
import { isEnded, limits } from "@everycore/protocol";
import { NaiveFold } from "../../packages/protocol/test/support/naive-fold.ts";
import { notLoaded } from "./agent.ts";
import { must } from "./breach.ts";
import type { Client } from "./client.ts";
import type { LogEntry, Store } from "./store.ts";
import type { Step } from "./watch-leaders.ts";
import { LeaderWatch } from "./watch-leaders.ts";
import { StartWatch } from "./watch-starts.ts";
import type { SampleSeed } from "./watch-audits.ts";
import { AuditWatch } from "./watch-audits.ts";
import type { ItemStart } from "./worker.ts";

export class Watch {
  readonly folds = new Map<JobId, NaiveFold>();
  readonly #clients: ReadonlyMap<JobId, Client>;
  readonly #verify: (job: JobId, grant: LeaseGrant) => boolean;
  readonly #areClocksSet: boolean;
  readonly #starts: StartWatch;
  readonly #leaders: LeaderWatch;
  readonly #seqs = new Map<JobId, number>();
  /** Lease and item of each worker's death that nobody had asked for. */
  readonly #deaths = new Set<string>();
  readonly #audits: AuditWatch;
  /** Jobs of which an item has ended well. */
  readonly #valued = new Set<JobId>();

  constructor(options: {
    clients: ReadonlyMap<JobId, Client>;
    badNodes: ReadonlySet<NodeId> | undefined;
    verify: (job: JobId, grant: LeaseGrant) => boolean;
    isGentle: boolean;
    /** What is to wait so long may wait shorter. */
    areClocksSet: boolean;
    sampleSeed: (job: JobId) => SampleSeed;
    isLiar: (node: NodeId) => boolean;
  }) {
    this.#clients = options.clients;
    this.#verify = options.verify;
    this.#areClocksSet = options.areClocksSet;
    this.#audits = new AuditWatch(options);
    const { clients, isGentle } = options;
    this.#starts = new StartWatch({
      clients,
      isGentle,
      isAllowed: (lease, index) => this.#leaders.isAllowed(lease, index),
      itemOf: (job, index) => this.foldOf(job).item(index),
      timesDoubled: (job, index) => this.#leaders.timesDoubled(job, index),
    });
    this.#leaders = new LeaderWatch({
      foldOf: (job) => this.foldOf(job),
      badNodes: options.badNodes,
      seqOf: (job) => this.#seqs.get(job) ?? 0,
    });
  }

  foldOf(job: JobId): NaiveFold {
    let fold = this.folds.get(job);
    if (fold === undefined) {
      fold = new NaiveFold((grant) => this.#verify(job, grant));
      this.folds.set(job, fold);
    }
    return fold;
  }

  appended({ seq, record }: LogEntry, store: Store): void {
    const fold = this.foldOf(record.job);
    this.#seqs.set(record.job, seq);
    this.#leaders.appended(record, fold.fence);
    const client = this.#clients.get(record.job);
    if (client === undefined) return;
    const reopening = record.kind === "reopen" ? indicesOf(record) : [];
    const before = reopening.map((index) => fold.item(index).outcome?.status);
    fold.apply(seq, record);
    if (record.kind === "strike") this.#judgeStrike(record);
    if (record.kind === "commit") {
      this.#judgeAgains(record, client);
      if (record.parts.some(({ status }) => status === "value")) this.#valued.add(record.job);
    }
    if (record.kind === "seal") this.#judgeSeal(seq, record, client, store);
    for (const [at, index] of reopening.entries()) this.#judgeReopen(index, before[at], client, store);
  }

  /** P4: an item is struck for what it did, not for a worker that was ended for another reason. */
  #judgeStrike({ job, cause, lease, ranges }: Extract<LogRecord, { kind: "strike" }>): void {
    // P4: nobody loses what was never leased.
    if (cause === "lost")
      must(this.#leaders.wasSent(lease.id), "P4", () => `items of ${job} are lost and were not leased`);
    if (cause !== "crash") return;
    for (const index of indicesOf({ ranges })) {
      const isTrue = this.#deaths.has(`${lease.id}/${index}`);
      must(isTrue, "P4", () => `item ${index} of ${job} is struck, and no worker died of it`);
    }
  }

  /** P4: as many tries as were asked for, by what the lease knew of those before. */
  #judgeAgains({ job, leases, parts }: Extract<LogRecord, { kind: "commit" }>, client: Client): void {
    const { retries } = client.plan.spec.task;
    for (const part of parts) {
      if (part.status !== "again") continue;
      for (let index = part.start; index < part.end; index += 1) {
        const tried = this.#leaders.triesBefore(leases[part.lease]!.id, index);
        const told = (): string => `item ${index} of ${job} is to be tried again after ${tried + 1} tries`;
        must(tried < retries, "P4", () => `${told()}, and ${retries} retries were asked for`);
      }
    }
  }

  /** P4: whom the leader blames, and for what. */
  #judgeSeal(seq: number, record: Extract<LogRecord, { kind: "seal" }>, client: Client, store: Store): void {
    const fold = this.foldOf(record.job);
    const mayEnd = record.status === "cancelled" && this.#mayBeCancelled(client, store);
    for (const index of indicesOf(record)) {
      const item = fold.item(index);
      if (item.outcome?.seq !== seq) continue;
      const { crashes, lost } = item;
      const told = (): string => `item ${index} of ${record.job} sealed ${record.status} at ${seq}`;
      if (record.status === "crash") {
        must(client.plan.fates.get(index)?.kind === "crash", "P4", () => `${told()} is innocent`);
        must(crashes.length >= 2, "P4", () => `${told()} after ${crashes.length} crashes`);
      }
      if (record.status === "lost") {
        const enough = lost >= limits.lostStrikesMax || lost + crashes.length >= limits.strikesMax;
        must(enough, "P4", () => `${told()} after ${lost} losses and ${crashes.length} crashes`);
      }
      if (record.status === "cancelled")
        must(mayEnd, "P1", () => `${told()} unasked: ${store.jobs.get(record.job)?.record.reason}`);
      if (record.status === "expired")
        must(client.plan.spec.jobTimeoutMs !== undefined, "P1", () => `${told()} without a time limit`);
      if (record.status === "cancelled" || record.status === "expired") {
        const state = store.jobs.get(record.job)?.record.state;
        const isAnnounced = state !== undefined && !["accepting", "running", "paused"].includes(state);
        must(isAnnounced, "P1", () => `${told()} before its record says so: ${state}`);
      }
    }
  }

  /**
   * Asked for; or its input never was complete; or all of its first items crashed; or it has passed a limit of its own;
   * or a clock was set forward.
   */
  #mayBeCancelled(client: Client, store: Store): boolean {
    if (client.isCancelled || !client.isClosed || this.#isOverItsFailures(client)) return true;
    const { reason = "" } = store.jobs.get(client.plan.id)?.record ?? {};
    // The node that could not load it was the only one left.
    if (reason === notLoaded) return true;
    if (this.#areClocksSet && reason.startsWith("its client was gone")) return true;
    return [...client.plan.fates.values()].filter((fate) => fate.kind === "crash").length >= 4;
  }

  /** `--max-failures`, counted in the log. */
  #isOverItsFailures({ plan }: Client): boolean {
    const { maxFailures } = plan.spec;
    if (maxFailures === undefined) return false;
    const isReduced = plan.spec.task.reduce !== undefined;
    const fold = this.foldOf(plan.id);
    // The parts of a reduction say how many of their items have no value.
    let failed = isReduced ? fold.missing : 0;
    for (const { outcome } of fold.items.values())
      if (outcome !== undefined && isFailure(outcome.status, isReduced)) failed += 1;
    return failed > maxFailures.most;
  }

  /** P2: an outcome that counts is taken back only by a retry, and only a failed one. */
  #judgeReopen(index: number, before: string | undefined, client: Client, store: Store): void {
    const item = this.foldOf(client.plan.id).item(index);
    if (before === undefined || item.outcome !== undefined) return;
    const { id, spec, retryAfter } = client.plan;
    must(retryAfter !== undefined, "P2", () => `item ${index} of ${id} was opened again unasked`);
    const isReduced = spec.task.reduce !== undefined;
    must(before !== "value" || isReduced, "P2", () => `the value of item ${index} of ${id} was taken back`);
    const stored = store.jobs.get(id)?.record.round ?? 0;
    const told = (): string => `item ${index} of ${id} was opened for round ${item.round}`;
    must(stored >= item.round, "P1", () => `${told()}, and its record knows ${stored}`);
  }

  hasValue(job: JobId): boolean {
    return this.#valued.has(job);
  }

  started(...[agent, start]: Parameters<StartWatch["started"]>): void {
    this.#starts.started(agent, start);
  }

  recorded(start: ItemStart): void {
    this.#starts.recorded(start);
  }

  /** A worker has died of it. */
  crashed({ file, index }: ItemStart): void {
    this.#deaths.add(`${file.grant.id}/${index}`);
  }

  get audits(): { readonly checked: number; readonly differing: number } {
    return this.#audits;
  }

  get doubles(): number {
    return this.#leaders.doubles;
  }

  get quarantines(): number {
    return this.#leaders.quarantines;
  }

  put(record: JobRecord): void {
    this.#leaders.put(record);
  }

  stepped(step: Step, store: Store): void {
    this.#leaders.stepped(step, store);
  }

  /** Everything is over: P1, P2 and what each item should have ended in. */
  ended(store: Store, leader: ClusterState | undefined): void {
    for (const client of this.#clients.values()) this.#judgeJob(client, store, leader);
  }

  #judgeJob(client: Client, store: Store, leader: ClusterState | undefined): void {
    const { plan } = client;
    const fold = this.foldOf(plan.id);
    const record = store.jobs.get(plan.id)?.record;
    must(record !== undefined && isEnded(record.state), "P5", () => `job ${plan.id} is ${record?.state}`);
    const total = fold.total ?? 0;
    if (client.isClosed)
      must(total === plan.items, "P1", () => `${plan.id} has ${total} items of ${plan.items}`);
    const mayEnd = record!.state !== "running" && this.#mayBeCancelled(client, store);
    for (let index = 0; index < total; index += 1) this.#judgeItem(client, index, mayEnd);
    const isReduced = plan.spec.task.reduce !== undefined;
    if (isReduced && record!.state === "done" && total > 0) {
      const result = fold.item(total).outcome?.status;
      must(result !== undefined, "P1", () => `the reduction of ${plan.id} has no result`);
    }
    const mayFail = plan.spec.maxFailures !== undefined || record!.reason === notLoaded;
    if (client.isCancelAnswered && client.retries === 0 && !mayFail) {
      must(record!.state !== "failed", "P1", () => `${plan.id} was cancelled and is ${record!.state}`);
    }
    this.#judgeCounts(client, record!, leader);
    this.#audits.judge(plan, record!, fold);
  }

  #judgeItem(client: Client, index: number, mayEnd: boolean): void {
    const { plan } = client;
    const { outcome, lost, crashes, agains, round } = this.foldOf(plan.id).item(index);
    const told = (): string => `item ${index} of ${plan.id} (${plan.fates.get(index)?.kind ?? "value"})`;
    must(outcome !== undefined, "P1", () => `${told()} has no outcome`);
    const { status } = outcome!;
    if (status === "cancelled") return must(mayEnd, "P1", () => `${told()} is cancelled`);
    if (status === "expired")
      return must(plan.spec.jobTimeoutMs !== undefined, "P1", () => `${told()} is expired`);
    const struckOut = lost >= limits.lostStrikesMax || lost + crashes.length >= limits.strikesMax;
    if (status === "lost") return must(struckOut, "P4", () => `${told()} is lost after ${lost} losses`);
    const fate = plan.fates.get(index) ?? { kind: "value" };
    if (fate.kind === "late" && (status === "value" || status === "timeout")) return;
    const isReduced = plan.spec.task.reduce !== undefined;
    const good = fate.kind === "value" || (fate.kind === "error" && fate.times <= plan.spec.task.retries);
    if (fate.kind === "error" && round > 0 && plan.repair !== undefined)
      return must(status === "value", "P2", () => `${told()} is ${status} under repaired code`);
    // A late `again` of a lease that was given up is one try more than the budget: it may turn out well.
    if (fate.kind === "error" && status === "value" && agains >= fate.times) return;
    const expected =
      good || (isReduced && fate.kind === "error")
        ? "value"
        : ({ hang: "timeout", killsNode: "lost" }[fate.kind as string] ?? fate.kind);
    must(status === expected, "P4", () => `${told()} is ${status}`);
  }

  /** What the record says is what the log says; the leader's fold agrees with the naive one (P2). */
  #judgeCounts(client: Client, record: { counts?: object }, leader: ClusterState | undefined): void {
    const { id } = client.plan;
    const fold = this.foldOf(id);
    const counts: Record<string, number> = {};
    // What was appended behind the close of a cancelled job is none of its items, nor is the reduction.
    const end = fold.total ?? 0;
    for (const [index, item] of fold.items) {
      if (item.outcome !== undefined && index < end)
        counts[item.outcome.status] = (counts[item.outcome.status] ?? 0) + 1;
    }
    for (const [status, count] of Object.entries(record.counts ?? {}) as [string, number][])
      must(
        count === (counts[status] ?? 0),
        "P2",
        () => `${id} records ${count} ${status}, the log has ${counts[status] ?? 0}`,
      );
    if (leader !== undefined) this.#leaders.compareAll("the leader", leader);
  }
}

const isFailure = (status: OutcomeStatus, isReduced: boolean): boolean =>
  status === "crash" || status === "lost" || (!isReduced && (status === "error" || status === "timeout"));

function indicesOf(record: { readonly ranges: readonly { start: number; end: number }[] }): number[] {
  const indices: number[] = [];
  for (const { start, end } of record.ranges)
    for (let index = start; index < end; index += 1) indices.push(index);
  return indices;
}
