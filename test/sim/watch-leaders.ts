/**
 * Every leader, step by step: what it leases, what it writes, and whether its fold is the naive one. The items of each
 * record are compared as it is folded, all of them and the whole state (C1-C6) each thousand steps.
 */
import type { ClusterState, Effect, Event } from "@everycore/coordinator/core";
import { checkInvariants } from "@everycore/coordinator/core";
import type { JobId, JobRecord, LeaseId, LevelRun, LogRecord, NodeId, Range } from "@everycore/protocol";
import { IntervalSet, levelOf } from "@everycore/protocol";
import type { NaiveFold } from "../../packages/protocol/test/support/naive-fold.ts";
import { must } from "./breach.ts";
import type { Store } from "./store.ts";

/** Leases of one node at once; the credit keeps it far below. */
const leasesPerNodeMax = 400;
/** Steps between two looks at a whole state, and at the places of all items. */
const wholeEvery = 1_000;
const placesEvery = 25;

export interface Step {
  readonly name: string;
  readonly state: ClusterState;
  readonly event: Event;
  readonly effects: readonly Effect[];
}

type LeasedJob = ClusterState["jobs"] extends ReadonlyMap<JobId, infer Of> ? Of : never;
type SendLease = Extract<Effect, { kind: "sendLease" }>;

export class LeaderWatch {
  readonly #foldOf: (job: JobId) => NaiveFold;
  readonly #seqOf: (job: JobId) => number;
  /** Of each lease's number, by job: the epoch that gave it. */
  readonly #numbers = new Map<JobId, Map<number, number>>();
  /** Of each job's record: the last epoch that wrote it. */
  readonly #writers = new Map<JobId, number>();
  /** Of each job: the last epoch that has leased it. */
  readonly #deciders = new Map<JobId, number>();
  /** What the first message of each lease said of the tries before it. */
  readonly #tries = new Map<LeaseId, readonly LevelRun[]>();
  /** Starts that were announced, by node and number. */
  readonly #asked = new Map<string, { readonly lease: LeaseId; readonly range: Range }>();
  /** Of leases whose starts are announced: items that were allowed to. */
  readonly #allowed = new Map<LeaseId, IntervalSet>();
  /** undefined: nobody can tell. */
  readonly #badNodes: ReadonlySet<NodeId> | undefined;
  #steps = 0;
  quarantines = 0;
  doubles = 0;
  /** Second leases of an item, by job. */
  readonly #doubled = new Map<JobId, Map<number, number>>();

  constructor(options: {
    foldOf: (job: JobId) => NaiveFold;
    seqOf: (job: JobId) => number;
    badNodes: ReadonlySet<NodeId> | undefined;
  }) {
    this.#badNodes = options.badNodes;
    this.#foldOf = options.foldOf;
    this.#seqOf = options.seqOf;
  }

  /** How often the item was given to a second node while one had it. */
  timesDoubled(job: JobId, index: number): number {
    return this.#doubled.get(job)?.get(index) ?? 0;
  }

  /** Some leader has sent this lease. */
  wasSent(lease: LeaseId): boolean {
    return this.#tries.has(lease);
  }

  /** P2: of two leaders the later one has written last. */
  put(record: JobRecord): void {
    const last = this.#writers.get(record.id) ?? 0;
    must(record.epoch >= last, "P2", () => `epoch ${record.epoch} wrote ${record.id} after epoch ${last}`);
    this.#writers.set(record.id, record.epoch);
  }

  /** P2: once a leader decides, no record of a former one counts. `fence` is that of the log. */
  appended(record: LogRecord, fence: number): void {
    const isLeaders = record.kind === "seal" || record.kind === "reopen" || record.kind === "strike";
    if (!isLeaders || (record.kind === "strike" && !record.byLeader)) return;
    const decider = this.#deciders.get(record.job) ?? 0;
    const told = (): string => `a ${record.kind} of epoch ${record.epoch} counts in ${record.job}`;
    must(
      record.epoch >= decider || record.epoch < fence,
      "P2",
      () => `${told()} after ${decider} has leased`,
    );
  }

  stepped({ name, state, event, effects }: Step, store: Store): void {
    this.#steps += 1;
    if (event.kind === "sliceStarting") this.#asked.set(`${event.node}/${event.ask}`, event);
    for (const effect of effects) {
      if (effect.kind === "sendLease") this.#judgeLease(effect, state, store);
      if (effect.kind === "mayStart") {
        const asked = this.#asked.get(`${effect.node}/${effect.ask}`);
        if (asked !== undefined) this.#allowed.get(asked.lease)?.add(asked.range.start, asked.range.end);
      }
      if (effect.kind === "standingChanged" && effect.isQuarantined)
        this.#judgeQuarantine(effect.node, state);
    }
    if (event.kind === "logRecord") this.#compare(name, state, event.job, rangesOf(event.record));
    if (this.#steps % placesEvery === 0) {
      const [broken] = checkInvariants(state);
      must(broken === undefined, "C", () => `${name}: ${broken}`);
    }
    if (this.#steps % wholeEvery === 0) this.compareAll(name, state);
  }

  isAllowed(lease: LeaseId, index: number): boolean {
    return this.#allowed.get(lease)?.has(index) ?? true;
  }

  triesBefore(lease: LeaseId, index: number): number {
    return levelOf(this.#tries.get(lease) ?? [], index);
  }

  compareAll(name: string, state: ClusterState): void {
    for (const id of state.jobs.keys()) {
      const indices = [...this.#foldOf(id).items.keys()];
      this.#compare(
        name,
        state,
        id,
        indices.map((index) => ({ start: index, end: index + 1 })),
      );
    }
  }

  /** P2: every leader and every reader computes the same from the same log. Where it is behind, nothing is said yet. */
  #compare(name: string, state: ClusterState, id: JobId, ranges: readonly Range[]): void {
    const fold = state.jobs.get(id)?.fold;
    if (fold === undefined || fold.seq !== this.#seqOf(id)) return;
    const naive = this.#foldOf(id);
    for (const { start, end } of ranges) {
      for (let index = start; index < end; index += 1) {
        const item = naive.item(index);
        const theirs = [fold.statusOf(index), fold.roundOf(index), fold.mishaps.attempts(index)];
        const deaths = [fold.mishaps.crashes(index).length, fold.mishaps.lostCount(index)];
        const right = [item.outcome?.status, item.round, item.agains, item.crashes.length, item.lost];
        const isSame = [...theirs, ...deaths].every((value, at) => value === right[at]);
        must(isSame, "P2", () => {
          return `${name} says item ${index} of ${id} is ${[...theirs, ...deaths].join("/")}, the log ${right.join("/")}`;
        });
      }
    }
  }

  #judgeLease(effect: SendLease, state: ClusterState, store: Store): void {
    const { grant, job, node, partials } = effect;
    const stored = store.jobs.get(job)?.record;
    must(stored !== undefined, "P1", () => `job ${job} is leased and has no record`);
    // A later leader may have written the record; its own mark is not below ours.
    must(grant.end <= (stored?.reserved ?? 0), "C3", () => {
      return `lease [${grant.start}, ${grant.end}) of ${job} passes ${stored?.reserved}, which the record reserves`;
    });
    const numbers = this.#numbers.get(job) ?? new Map<number, number>();
    this.#numbers.set(job, numbers);
    const epoch = numbers.get(grant.n) ?? state.epoch;
    must(
      epoch === state.epoch,
      "P2",
      () => `epochs ${epoch} and ${state.epoch} gave lease ${grant.n} of ${job}`,
    );
    numbers.set(grant.n, state.epoch);
    this.#deciders.set(job, Math.max(state.epoch, this.#deciders.get(job) ?? 0));
    // An agent keeps the first message that it gets.
    if (!this.#tries.has(grant.id)) this.#tries.set(grant.id, effect.attempts);
    if (effect.mode !== "normal" && !this.#allowed.has(grant.id))
      this.#allowed.set(grant.id, new IntervalSet());
    const of = state.jobs.get(job);
    if (of === undefined) return;
    if (partials) {
      const isReady = of.fold.covered.covers(0, grant.start);
      must(isReady, "P6", () => `job ${job} is combined before its items ended`);
    }
    const holder = state.nodes.get(node);
    const isTrusted = holder?.standing.state !== "quarantined";
    must(isTrusted, "P4", () => `node ${node} is quarantined and gets a lease`);
    const leases = holder?.leases.size ?? 0;
    must(leases <= leasesPerNodeMax, "P7", () => `node ${node} has ${leases} leases`);
    this.#judgeTroubled(effect, of, state);
    this.#judgeDouble(effect, of);
  }

  /** P2: asked for, and of an item that is late. */
  #judgeDouble({ grant, job }: SendLease, of: LeasedJob): void {
    const lease = of.doubles.get(grant.id);
    if (lease === undefined || lease.sends > 1) return;
    const isCovered = of.fold.covered.has(grant.start);
    const isAsked = isCovered ? of.spec.audit !== undefined : of.spec.speculate === true;
    must(isAsked, "P2", () => `item ${grant.start} of ${job} runs twice, unasked`);
    const isLate = of.queues.normal.isEmpty && of.fold.total !== undefined;
    must(isLate, "P2", () => `item ${grant.start} of ${job} runs twice while others wait`);
    const items = this.#doubled.get(job) ?? new Map<number, number>();
    this.#doubled.set(job, items);
    items.set(grant.start, (items.get(grant.start) ?? 0) + 1);
    if (!isCovered) this.doubles += 1;
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

  /** P4: an item that killed its worker is leased alone, and elsewhere while there is another node. */
  #judgeTroubled({ grant, node, mode }: SendLease, job: LeasedJob, state: ClusterState): void {
    // Sent again, it is as it was: what was struck since is taken out of it by the fold.
    if (job.leases.get(grant.id)?.sends !== 1) return;
    for (let index = grant.start; index < grant.end; index += 1) {
      const killed = job.fold.mishaps.crashes(index).map((crash) => crash.node);
      const lost = job.fold.mishaps.lostCount(index);
      const told = (): string => `item ${index} of ${job.id} (${killed.length} crashes, ${lost} losses)`;
      const isOne = grant.end - grant.start === 1;
      must(isOne || killed.length === 0, "P4", () => `${told()} is leased with others`);
      must(lost === 0 || killed.length > 0 || mode !== "normal", "P4", () => `${told()} starts unannounced`);
      must(
        lost < 2 || killed.length > 0 || (isOne && mode === "alone"),
        "P4",
        () => `${told()} is not alone`,
      );
      if (!killed.includes(node)) continue;
      const other = [...state.nodes.values()].find(
        (one) => !killed.includes(one.id) && takesWork(one, job, state.now),
      );
      must(other === undefined, "P4", () => `${told()} goes to ${node} again, and ${other?.id} is there`);
    }
  }
}

function takesWork(
  node: ClusterState["nodes"] extends ReadonlyMap<NodeId, infer Of> ? Of : never,
  job: LeasedJob,
  now: number,
): boolean {
  const isThere = node.state === "connected" && node.deferred === undefined && !node.draining;
  const isTrusted = node.standing.state !== "quarantined";
  return isThere && isTrusted && !node.diskFull && now >= node.refusedUntil && !job.failedOn.has(node.id);
}

function rangesOf(record: LogRecord): readonly Range[] {
  switch (record.kind) {
    case "commit":
      return record.parts;
    case "seal":
    case "reopen":
    case "strike":
      return record.ranges;
    case "input":
    case "close":
    case "chunk":
    case "fence":
      return [];
  }
}
