/**
 * The leader's core on a bench: puts and appends are performed at once and come back as events, agents are lists of
 * the leases they hold, time moves when told. Invariants are checked after every step.
 */
import type { ClusterState, Effect, Event, Job, Keys, NodeReport } from "../../src/core/index.ts";
import { checkInvariants, newCluster, step } from "../../src/core/index.ts";
import type {
  CommitPart,
  DeathDetail,
  JobId,
  JobRecord,
  JobSpec,
  LeaseGrant,
  LeaseId,
  LeaseReply,
  LogRecord,
  NodeId,
  NodeRecord,
  Range,
  SegmentId,
} from "@everycore/protocol";
import { IntervalSet } from "@everycore/protocol";

type WithoutTime<T> = T extends unknown ? Omit<T, "at"> : never;
export type BenchEvent = WithoutTime<Event>;

export const jobId = (name: string): JobId =>
  Buffer.from(name).toString("hex").padEnd(20, "0").slice(0, 20) as JobId;
export const nodeId = (name: string): NodeId =>
  Buffer.from(name).toString("hex").padEnd(16, "0").slice(0, 16) as NodeId;

/** Ids that only this bench gives out. */
const segment = "s" as SegmentId;

const benchKeys: Keys = {
  leaseId: (_job, { n, start }) =>
    `${n.toString(16).padStart(20, "0")}${start.toString(16).padStart(12, "0")}` as LeaseId,
  verify: (job, grant) => benchKeys.leaseId(job, grant) === grant.id,
  sampleSeed: () => [1, 2, 3, 4],
};

/** What the bench performs, or holds. */
type Act = Extract<Effect, { kind: "putJob" | "appendRecord" | "readLog" }>;

export interface HeldLease {
  readonly job: JobId;
  readonly grant: LeaseGrant;
  readonly unfinished: IntervalSet;
}

export interface BenchNode {
  readonly id: NodeId;
  readonly slots: number;
  readonly machine: string;
  incarnation: number;
  accepted: number;
  /** Arrived, but not answered. */
  readonly arrived: Extract<Effect, { kind: "sendLease" }>[];
  readonly held: Map<LeaseId, HeldLease>;
}

export interface SubmitOptions {
  readonly items?: number;
  /** Appended as input in blocks of so many items. */
  readonly block?: number;
  readonly task?: Partial<JobSpec["task"]>;
  readonly strict?: boolean;
  readonly ttlMs?: number;
  readonly priority?: number;
  readonly user?: string;
  readonly limits?: Partial<Pick<JobSpec, "maxFailures" | "jobTimeoutMs" | "retryDelayMs">>;
  readonly speculate?: boolean;
  readonly audit?: number;
  /** The input stays open. */
  readonly open?: boolean;
}

export class CoreBench {
  state: ClusterState = newCluster();
  now = 1_000_000;
  epoch = 0;
  readonly log: { seq: number; storedAt: number; record: LogRecord }[] = [];
  readonly records = new Map<JobId, JobRecord>();
  /** EC_NODES. */
  readonly nodeRecords = new Map<NodeId, NodeRecord>();
  readonly nodes = new Map<NodeId, BenchNode>();
  /** Every effect so far. */
  readonly effects: Effect[] = [];
  /** How often later leaders take checkpoints; undefined: as they do by themselves. */
  pace: ClusterState["checkpoints"] | undefined;
  /** Puts and appends wait for `release`. */
  isHeld = false;
  /** What two nodes gave, as the shell would find it; undefined: it cannot be read. */
  isEqual: (effect: Extract<Effect, { kind: "compare" }>) => boolean | undefined = () => true;
  readonly #waiting: Act[] = [];
  #asks = 0;

  constructor() {
    this.lead([]);
  }

  feed(event: BenchEvent): Effect[] {
    const effects = step(this.state, benchKeys, { at: this.now, ...event } as Event);
    const [broken] = checkInvariants(this.state);
    if (broken !== undefined) throw new Error(`after ${event.kind}: ${broken}`);
    this.effects.push(...effects);
    const all = [...effects];
    for (const effect of effects) {
      if (effect.kind === "putJob" || effect.kind === "appendRecord" || effect.kind === "readLog") {
        if (this.isHeld) this.#waiting.push(effect);
        else all.push(...this.#perform(effect));
      } else if (effect.kind === "compare") {
        const { job, index } = effect;
        all.push(...this.feed({ kind: "compared", job, index, isEqual: this.isEqual(effect) }));
      } else if (effect.kind === "putNode") this.nodeRecords.set(effect.record.id, effect.record);
      else if (effect.kind === "deleteNode") this.nodeRecords.delete(effect.node);
      else if (effect.kind === "sendLease") this.nodes.get(effect.node)?.arrived.push(effect);
      else if (effect.kind === "dropLeases")
        for (const lease of effect.leases) this.nodes.get(effect.node)?.held.delete(lease);
      else if (effect.kind === "sendCancel" || effect.kind === "sendJobEnded")
        for (const [id, held] of this.nodes.get(effect.node)?.held ?? [])
          if (held.job === effect.job) this.nodes.get(effect.node)?.held.delete(id);
    }
    return all;
  }

  #perform(effect: Act): Effect[] {
    if (effect.kind === "appendRecord") return this.append(effect.record);
    if (effect.kind === "readLog") return this.#readLog(effect.job);
    this.records.set(effect.record.id, effect.record);
    return this.feed({ kind: "jobStored", job: effect.record.id });
  }

  #readLog(job: JobId): Effect[] {
    const own = this.log.filter(({ record }) => record.job === job);
    const effects = this.feed({ kind: "logOpened", job, lastSeq: own.at(-1)?.seq ?? 0 });
    for (const entry of own) effects.push(...this.feed({ kind: "logRecord", job, segment, ...entry }));
    return effects;
  }

  /** What waited is performed: all of it, or the first so many. */
  release(count = this.#waiting.length): Effect[] {
    return this.#waiting.splice(0, count).flatMap((effect) => this.#perform(effect));
  }

  /** Appends to the log; the leader reads it at once. */
  append(record: LogRecord): Effect[] {
    const seq = this.log.length + 1;
    const storedAt = this.now;
    this.log.push({ seq, storedAt, record });
    return this.feed({ kind: "logRecord", job: record.job, segment, seq, storedAt, record });
  }

  tick(ms: number): Effect[] {
    this.now += ms;
    return this.feed({ kind: "tick" });
  }

  /** A new leader with nothing but records and log; the old one's waiting acts never happen. */
  lead(awaited: readonly NodeId[] = [...this.nodes.keys()]): Effect[] {
    const wasHeld = this.isHeld;
    this.#waiting.length = 0;
    this.isHeld = true;
    this.state = newCluster(this.pace);
    this.epoch += 1;
    for (const node of this.nodes.values()) node.arrived.length = 0;
    const kept = [...this.nodeRecords.values()].filter(({ id, isGone }) => isGone || awaited.includes(id));
    const others = awaited.filter((id) => !this.nodeRecords.has(id));
    const bare = others.map((id) => ({ id, host: "", epoch: 0, draining: false, isGone: false }));
    const effects = this.feed({ kind: "elected", epoch: this.epoch, knownNodes: [...kept, ...bare] });
    for (const record of this.records.values()) {
      const lastSeq = this.log.findLast((entry) => entry.record.job === record.id)?.seq ?? 0;
      effects.push(...this.feed({ kind: "jobRecovered", record, lastSeq }));
    }
    effects.push(...this.feed({ kind: "recovered" }));
    for (const { record, ...at } of [...this.log]) {
      effects.push(...this.feed({ kind: "logRecord", job: record.job, segment, ...at, record }));
    }
    this.isHeld = wasHeld;
    if (!wasHeld) effects.push(...this.release());
    return effects;
  }

  ask(): number {
    this.#asks += 1;
    return this.#asks;
  }

  /** Submits, appends its input, closes it. */
  submit(name: string, options: SubmitOptions = {}): { job: JobId; effects: Effect[] } {
    const { items = 10, block = 0, task = {}, strict = false, ttlMs = 0, priority = 0 } = options;
    const id = jobId(name);
    const isRange = block === 0;
    const spec: JobSpec = {
      name,
      task: { runtime: "js", seed: "0123456789abcdef", rangeStart: 0, retries: 0, ...task },
      codec: isRange ? "range" : "json",
      ...(isRange ? { rangeItems: items } : {}),
      priority,
      strict,
      ttlMs,
      ...options.limits,
      ...(options.speculate === undefined ? {} : { speculate: options.speculate }),
      ...(options.audit === undefined ? {} : { audit: options.audit }),
    };
    const user = options.user ?? "local";
    const effects = this.feed({ kind: "jobSubmitted", id, user, spec, segment, ask: this.ask() });
    if (!isRange) {
      for (let first = 0; first < items; first += block)
        effects.push(...this.input(id, first, Math.min(block, items - first)));
    }
    if (options.open !== true) effects.push(...this.append({ kind: "close", job: id, total: items }));
    return { job: id, effects };
  }

  input(job: JobId, first: number, count: number): Effect[] {
    return this.append({
      kind: "input",
      job,
      first,
      count,
      codec: "json",
      piece: 0,
      pieces: 1,
      bytes: 10 * count,
    });
  }

  job(id: JobId): Job {
    return this.state.jobs.get(id)!;
  }

  /** A node says hello; it holds what it holds, unless it was restarted. */
  report(
    name: string,
    options: {
      slots?: number;
      machine?: string;
      restarted?: boolean;
      wiped?: boolean;
    } & Partial<NodeReport> = {},
  ): Effect[] {
    const { slots = 2, machine = name, restarted = false, wiped = false, ...rest } = options;
    const id = nodeId(name);
    let node = this.nodes.get(id);
    if (node === undefined) {
      node = { id, slots, machine, incarnation: 1, accepted: 0, arrived: [], held: new Map() };
      this.nodes.set(id, node);
    }
    if (restarted || wiped) {
      node.incarnation += 1;
      node.accepted = 0;
      node.held.clear();
      node.arrived.length = 0;
    }
    const leases = [...node.held.values()].map(({ job, grant, unfinished }) => ({
      job,
      grant,
      unfinished: unfinished.toRanges(),
      unacknowledged: [],
      gaveBack: [],
      acknowledgedSeq: 0,
    }));
    const report: NodeReport = {
      node: id,
      host: `host-${name}`,
      machine: node.machine,
      slots: node.slots,
      runtimes: ["js"],
      labels: [],
      incarnation: `${name}.${node.incarnation}`,
      epochSeen: this.epoch,
      leases,
      accepted: node.accepted,
      filesRecovered: !wiped,
      acknowledged: new Map(),
      ...rest,
    };
    return this.feed({ kind: "nodeReported", report });
  }

  node(name: string): BenchNode {
    return this.nodes.get(nodeId(name))!;
  }

  /** Answers every lease that has arrived; a refused or unanswered one is not held. */
  answer(
    name: string,
    reply: (accepted: number) => LeaseReply | undefined = (accepted) => ({ ok: true, accepted }),
  ): Effect[] {
    const node = this.node(name);
    const effects: Effect[] = [];
    for (const { job, grant } of node.arrived.splice(0)) {
      const given = reply(node.accepted + 1);
      if (given?.ok === true) {
        node.accepted += 1;
        node.held.set(grant.id, { job, grant, unfinished: IntervalSet.of([grant]) });
      }
      effects.push(...this.feed({ kind: "leaseAnswered", job, lease: grant.id, reply: given }));
    }
    return effects;
  }

  /** The node's lease that has the item. */
  leaseOf(name: string, job: JobId, index: number): LeaseGrant {
    const held = [...this.node(name).held.values()].find(
      (lease) => lease.job === job && lease.unfinished.has(index),
    );
    if (held === undefined) throw new Error(`${name} does not hold item ${index}`);
    return held.grant;
  }

  /** The node commits a range of one lease; the status of each item is the same. */
  commit(
    name: string,
    job: JobId,
    range: Range,
    status: CommitPart["status"] = "value",
    missing?: number,
  ): Effect[] {
    const grant = this.leaseOf(name, job, range.start);
    this.node(name).held.get(grant.id)?.unfinished.remove(range.start, range.end);
    const part = { lease: 0, ...range, status, ...(missing === undefined ? {} : { missing }) };
    const usage = [
      {
        slot: 0,
        items: range.end - range.start,
        slices: 1,
        splits: 0,
        busyMs: 10 * (range.end - range.start),
        cpuMs: 1,
      },
    ];
    return this.append({
      kind: "commit",
      job,
      epoch: this.epoch,
      leases: [grant],
      parts: [part],
      usage,
      bytes: 1,
    });
  }

  /** A death on the node while it ran the item, as its agent writes it. */
  strike(
    name: string,
    job: JobId,
    index: number,
    cause: "crash" | "lost" = "crash",
    detail?: DeathDetail,
  ): Effect[] {
    const lease = this.leaseOf(name, job, index);
    this.node(name)
      .held.get(lease.id)
      ?.unfinished.remove(index, index + 1);
    const ranges = [{ start: index, end: index + 1 }];
    const strike = { kind: "strike", job, epoch: this.epoch, cause, lease, ranges, byLeader: false } as const;
    return this.append(detail === undefined ? strike : { ...strike, detail });
  }

  giveBack(name: string, job: JobId, range: Range): Effect[] {
    const grant = this.leaseOf(name, job, range.start);
    this.node(name).held.get(grant.id)?.unfinished.remove(range.start, range.end);
    return this.feed({ kind: "gaveBack", node: nodeId(name), job, grant, ranges: [range] });
  }

  breakLink(name: string): Effect[] {
    const node = this.node(name);
    return this.feed({ kind: "linkBroke", node: node.id, incarnation: `${name}.${node.incarnation}` });
  }

  /** Each node answers and commits all it has, until nothing is leased. */
  runAll(): void {
    for (let round = 0; round < 200; round += 1) {
      let did = 0;
      for (const [id, node] of this.nodes) {
        this.feed({ kind: "nodeHeartbeat", node: id, busy: 0, diskFull: false });
        if (this.state.nodes.get(id)?.state !== "connected") continue;
        const name = Buffer.from(id, "hex").toString().replaceAll("\0", "");
        did += this.answer(name).length;
        for (const { job, unfinished } of [...node.held.values()]) {
          for (const range of unfinished.toRanges()) did += this.commit(name, job, range).length;
        }
      }
      this.tick(200);
      if (did === 0) return;
    }
    throw new Error("it never ends");
  }
}

/** Effects of one kind. */
export const only = <Kind extends Effect["kind"]>(
  effects: readonly Effect[],
  kind: Kind,
): Extract<Effect, { kind: Kind }>[] =>
  effects.filter((effect): effect is Extract<Effect, { kind: Kind }> => effect.kind === kind);

/** Records of one kind that were appended. */
export const appended = <Kind extends LogRecord["kind"]>(
  effects: readonly Effect[],
  kind: Kind,
): Extract<LogRecord, { kind: Kind }>[] =>
  only(effects, "appendRecord")
    .map((effect) => effect.record as LogRecord)
    .filter((record): record is Extract<LogRecord, { kind: Kind }> => record.kind === kind);
