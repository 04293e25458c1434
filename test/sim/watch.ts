/**
 * What must hold, by the names of the promises (DESIGN 2). Coverage is judged by the naive fold over the log as it
 * is stored, never by the code under test. A breach throws at once: the seed says how to come back.
 */
import type { ClusterState, Effect } from "@everycore/coordinator/core";
import { checkInvariants } from "@everycore/coordinator/core";
import type { JobId, LeaseGrant, LogRecord, NodeId } from "@everycore/protocol";
import { isEnded, limits } from "@everycore/protocol";
import { NaiveFold } from "../../packages/protocol/test/support/naive-fold.ts";
import type { Client } from "./client.ts";
import type { LogEntry, Store } from "./store.ts";

/** Leases of one node at once; the credit keeps it far below. */
const leasesPerNodeMax = 400;
/** Steps between two looks at a whole state. */
const wholeEvery = 25;

export class Breach extends Error {
  override readonly name = "Breach";
}

function must(holds: boolean, promise: string, what: () => string): void {
  if (!holds) throw new Breach(`${promise}: ${what()}`);
}

/** An agent, and which of its lives. */
interface Life {
  readonly life: number;
}

interface Start {
  readonly count: number;
  readonly deaths: number;
  readonly agent: Life;
  readonly life: number;
}

export class Watch {
  readonly folds = new Map<JobId, NaiveFold>();
  readonly #clients: ReadonlyMap<JobId, Client>;
  readonly #verify: (job: JobId, grant: LeaseGrant) => boolean;
  readonly #starts = new Map<JobId, Map<number, Start>>();
  /** P3 is watched item by item: only where nothing but takeovers happens. */
  readonly #onlyTakeovers: boolean;
  /** undefined: nobody can tell. */
  readonly #badNodes: ReadonlySet<NodeId> | undefined;
  #steps = 0;
  quarantines = 0;

  constructor(options: {
    clients: ReadonlyMap<JobId, Client>;
    badNodes: ReadonlySet<NodeId> | undefined;
    verify: (job: JobId, grant: LeaseGrant) => boolean;
    onlyTakeovers: boolean;
  }) {
    this.#clients = options.clients;
    this.#verify = options.verify;
    this.#onlyTakeovers = options.onlyTakeovers;
    this.#badNodes = options.badNodes;
  }

  foldOf(job: JobId): NaiveFold {
    let fold = this.folds.get(job);
    if (fold === undefined) {
      fold = new NaiveFold((grant) => this.#verify(job, grant));
      this.folds.set(job, fold);
    }
    return fold;
  }

  appended({ seq, record }: LogEntry): void {
    const fold = this.foldOf(record.job);
    const client = this.#clients.get(record.job);
    if (client === undefined) return;
    const reopening = record.kind === "reopen" ? indicesOf(record) : [];
    const before = reopening.map((index) => fold.item(index).outcome?.status);
    fold.apply(seq, record);
    if (record.kind === "seal") this.#judgeSeal(seq, record, client);
    for (const [at, index] of reopening.entries()) this.#judgeReopen(index, before[at], fold, client);
  }

  /** P4: whom the leader blames, and for what. */
  #judgeSeal(seq: number, record: Extract<LogRecord, { kind: "seal" }>, client: Client): void {
    const fold = this.foldOf(record.job);
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
      if (record.status === "cancelled") {
        must(
          client.isCancelled || !client.isClosed || this.#hasFailed(client),
          "P1",
          () => `${told()} unasked`,
        );
      }
    }
  }

  #hasFailed(client: Client): boolean {
    return [...client.plan.fates.values()].filter((fate) => fate.kind === "crash").length >= 4;
  }

  /** P2: an outcome that counts is taken back only by a retry, and only a failed one. */
  #judgeReopen(index: number, before: string | undefined, fold: NaiveFold, client: Client): void {
    if (before === undefined || fold.item(index).outcome !== undefined) return;
    const { id, spec, retryAfter } = client.plan;
    must(retryAfter !== undefined, "P2", () => `item ${index} of ${id} was opened again unasked`);
    const isReduced = spec.task.reduce !== undefined;
    must(before !== "value" || isReduced, "P2", () => `the value of item ${index} of ${id} was taken back`);
  }

  /** P3: an item is started again only for a reason that stands in the log, or because its agent died. */
  started(agent: Life, job: JobId, index: number): void {
    const starts = this.#starts.get(job) ?? new Map<number, Start>();
    this.#starts.set(job, starts);
    const before = starts.get(index);
    // Killed within the 2 ms in which a limit is lowered and not read yet, an agent does not strike its item.
    const died = before !== undefined && before.agent.life !== before.life ? 1 : 0;
    const deaths = (before?.deaths ?? 0) + died;
    const count = (before?.count ?? 0) + 1;
    starts.set(index, { count, deaths, agent, life: agent.life });
    const client = this.#clients.get(job);
    if (!this.#onlyTakeovers || client === undefined || client.plan.spec.task.reduce !== undefined) return;
    const { crashes, lost, agains, round } = this.foldOf(job).item(index);
    const reasons = crashes.length + agains + Math.max(lost, deaths);
    // A new round clears the item's history; what it cost before is not known any more.
    if (round > 0) return;
    must(
      count <= 1 + reasons,
      "P3",
      () => `item ${index} of ${job} was started ${count} times for ${reasons} reasons`,
    );
  }

  stepped(name: string, state: ClusterState, effects: readonly Effect[], store: Store): void {
    this.#steps += 1;
    for (const effect of effects) {
      if (effect.kind === "sendLease") this.#judgeLease(effect, state, store);
      if (effect.kind === "standingChanged" && effect.isQuarantined)
        this.#judgeQuarantine(effect.node, state);
    }
    if (this.#steps % wholeEvery === 0) this.#judgeState(name, state);
  }

  #judgeLease(effect: Extract<Effect, { kind: "sendLease" }>, state: ClusterState, store: Store): void {
    const { grant, job, node, partials } = effect;
    const stored = store.jobs.get(job)?.record;
    must(stored !== undefined, "P1", () => `job ${job} is leased and has no record`);
    // A later leader may have written the record; its own mark is not below ours.
    must(grant.end <= (stored?.reserved ?? 0), "C3", () => {
      return `lease [${grant.start}, ${grant.end}) of ${job} passes ${stored?.reserved}, which the record reserves`;
    });
    const of = state.jobs.get(job);
    if (partials && of !== undefined) {
      must(
        of.fold.covered.covers(0, grant.start),
        "P6",
        () => `job ${job} is combined before its items ended`,
      );
    }
    const holder = state.nodes.get(node);
    must(
      holder?.standing.state !== "quarantined",
      "P4",
      () => `node ${node} is quarantined and gets a lease`,
    );
    const leases = holder?.leases.size ?? 0;
    must(leases <= leasesPerNodeMax, "P7", () => `node ${node} has ${leases} leases`);
  }

  /** P4: the host that is to blame. P5: others are there. */
  #judgeQuarantine(node: NodeId, state: ClusterState): void {
    this.quarantines += 1;
    must(this.#badNodes?.has(node) !== false, "P4", () => `node ${node} is quarantined and innocent`);
    const others = [...state.nodes.values()].filter(
      (other) =>
        other.id !== node &&
        other.state === "connected" &&
        !other.draining &&
        !other.diskFull &&
        other.standing.quarantine === undefined,
    );
    must(others.length > 0, "P5", () => `node ${node} is quarantined and was the last usable one`);
  }

  #judgeState(name: string, state: ClusterState): void {
    const [broken] = checkInvariants(state);
    must(broken === undefined, "C", () => `${name}: ${broken}`);
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
    for (let index = 0; index < total; index += 1) this.#judgeItem(client, index, record!.state);
    const isReduced = plan.spec.task.reduce !== undefined;
    if (isReduced && record!.state === "done" && total > 0) {
      const result = fold.item(total).outcome?.status;
      must(result !== undefined, "P1", () => `the reduction of ${plan.id} has no result`);
    }
    if (client.isCancelAnswered && client.retries === 0) {
      must(record!.state !== "failed", "P1", () => `${plan.id} was cancelled and is ${record!.state}`);
    }
    this.#judgeCounts(client, record!, leader);
  }

  #judgeItem(client: Client, index: number, state: string): void {
    const { plan } = client;
    const { outcome, lost, crashes, agains } = this.foldOf(plan.id).item(index);
    const told = (): string => `item ${index} of ${plan.id} (${plan.fates.get(index)?.kind ?? "value"})`;
    must(outcome !== undefined, "P1", () => `${told()} has no outcome`);
    const { status } = outcome!;
    if (status === "cancelled") {
      const wasEnded = client.isCancelled || !client.isClosed || this.#hasFailed(client);
      return must(wasEnded && state !== "running", "P1", () => `${told()} is cancelled`);
    }
    const struckOut = lost >= limits.lostStrikesMax || lost + crashes.length >= limits.strikesMax;
    if (status === "lost") return must(struckOut, "P4", () => `${told()} is lost after ${lost} losses`);
    const fate = plan.fates.get(index) ?? { kind: "value" };
    const isReduced = plan.spec.task.reduce !== undefined;
    const good = fate.kind === "value" || (fate.kind === "error" && fate.times <= plan.spec.task.retries);
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
    const job = leader?.jobs.get(id);
    if (job === undefined) return;
    for (const [index, item] of fold.items) {
      const theirs = job.fold.statusOf(index);
      must(
        theirs === item.outcome?.status,
        "P2",
        () => `the leader says item ${index} of ${id} is ${theirs}`,
      );
    }
  }
}

function indicesOf(record: { readonly ranges: readonly { start: number; end: number }[] }): number[] {
  const indices: number[] = [];
  for (const { start, end } of record.ranges)
    for (let index = start; index < end; index += 1) indices.push(index);
  return indices;
}
