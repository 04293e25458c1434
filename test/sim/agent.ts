/**
 * An agent around the real core: workers, files, publisher and link as its shell has them. It is killed and comes
 * back with its files or without, stands still, loses its link, and hears the leader late, twice or never.
 */
import type { AgentEvent, AgentState, Effect } from "@everycore/node-agent/core";
import { checkInvariants, newAgent, reportOf, step } from "@everycore/node-agent/core";
import type { Effect as LeaderEffect, NodeReport } from "@everycore/coordinator/core";
import type { CommitRecord, JobId, LeaseReply, LogRecord, NodeId, StrikeRecord } from "@everycore/protocol";
import { furthest, times } from "@everycore/protocol";
import type { SimCoordinator } from "./coordinator.ts";
import { Disk } from "./disk.ts";
import { eventOf } from "./agent-events.ts";
import { leftoversOf } from "./leftovers.ts";
import { Link, silentBreakMs } from "./link.ts";
import type { Partitions } from "./partitions.ts";
import type { JobPlan, NodePlan } from "./plan.ts";
import type { Event, LeaseFacts } from "./pool.ts";
import { Pool } from "./pool.ts";
import type { ItemStart, Load } from "./worker.ts";
import type { Random } from "./random.ts";
import type { Store } from "./store.ts";
import type { Timeline } from "./timeline.ts";

export interface AgentWorld {
  readonly time: Timeline;
  readonly random: Random;
  readonly store: Store;
  readonly partitions: Partitions;
  planOf(job: JobId): JobPlan | undefined;
  /** Who leads, as an agent that looks around finds it. */
  leader(): SimCoordinator | undefined;
  /** Chance that an input cannot be fetched. */
  readonly inputFailures: () => number;
  readonly started: (agent: SimAgent, start: ItemStart) => void;
  /** The outcome of an item stands in a file. */
  readonly recorded: (start: ItemStart) => void;
  /** A worker has died of an item. */
  readonly crashed: (start: ItemStart) => void;
  /** Its machine is bad, and it is this item's turn. */
  readonly isKilledByHost: (agent: SimAgent, job: JobId, index: number) => boolean;
  /** What becomes of a task that a worker loads here. */
  readonly loads: (agent: SimAgent, job: JobId, code: string) => Load;
  readonly stepped: (agent: SimAgent) => void;
  /** A break that only silence tells of. */
  readonly breaksSilently: () => boolean;
  /** The process has ended by itself: it was drained, or an item took it down. */
  readonly gone: (agent: SimAgent) => void;
}

/** What a node says of a task that it cannot load. */
export const notLoaded = "no task";

const tickMs = 50;
const recoverMs = 5_000;

export class SimAgent {
  readonly node: NodeId;
  readonly plan: NodePlan;
  readonly disk = new Disk();
  core: AgentState | undefined;
  pool: Pool | undefined;
  isPaused = false;
  isDrained = false;
  /** Simulated time of its last start, ms. */
  upSince = 0;
  link: Link | undefined;
  #leader: SimCoordinator | undefined;
  #incarnation = 0;
  #isLinked = false;
  #isListening = false;
  #filesRecovered = true;
  /** Sequences of what was published from a former agent's files. */
  readonly #recovered = new Map<JobId, number>();
  #lastAsk = 0;
  #queue: Event[] = [];
  #isRunning = false;
  readonly #answers = new Map<number, (reply: LeaseReply) => void>();
  readonly #facts = new Map<string, LeaseFacts>();
  readonly #world: AgentWorld;

  constructor(node: NodeId, plan: NodePlan, world: AgentWorld) {
    this.node = node;
    this.plan = plan;
    this.#world = world;
  }

  /** Which of its lives this is. */
  get life(): number {
    return this.#incarnation;
  }

  get isUp(): boolean {
    return this.core !== undefined;
  }

  #inLife(): () => boolean {
    const incarnation = this.#incarnation;
    return () => this.core !== undefined && this.#incarnation === incarnation;
  }

  start(filesKept: boolean): void {
    const { time } = this.#world;
    this.upSince = time.now;
    this.#incarnation += 1;
    this.#recovered.clear();
    this.core = newAgent({ slots: this.plan.slots, runtimes: ["js"] });
    this.isDrained = false;
    this.isPaused = false;
    this.#isListening = false;
    this.#filesRecovered = filesKept;
    this.pool = this.#newPool();
    const goesOn = this.#inLife();
    const ready = (): void => {
      if (!goesOn()) return;
      this.#connect(goesOn);
      time.every(tickMs, () => goesOn() && this.#tick());
      time.every(times.heartbeatMs, () => goesOn() && this.#heartbeat());
      this.feed({ kind: "tick" });
    };
    if (!filesKept) this.disk.clear();
    this.#recover(goesOn, ready);
  }

  #newPool(): Pool {
    const { time, random } = this.#world;
    return new Pool({
      time,
      random,
      disk: this.disk,
      slowness: this.plan.slowness,
      feed: (event) => this.feed(event),
      started: (start) => this.#world.started(this, start),
      recorded: (start) => this.#world.recorded(start),
      crashed: (start) => this.#world.crashed(start),
      isKilledByHost: (job, index) => this.#world.isKilledByHost(this, job, index),
      loads: (job, code) => this.#world.loads(this, job, code),
      nodeDies: () => {
        this.crash();
        this.#world.gone(this);
      },
    });
  }

  #sendTask({ worker, job }: Extract<Effect, { kind: "sendTask" }>): void {
    this.pool?.task(worker, this.#world.planOf(job)!, this.core?.jobs.get(job)?.task.code ?? "");
  }

  #sendSlice(effect: Extract<Effect, { kind: "sendSlice" }>): void {
    const facts = this.#facts.get(effect.lease);
    if (facts !== undefined) this.pool?.sendSlice(effect, facts);
  }

  /** A former agent's files are published before the hello, unless NATS is away for long. */
  #recover(goesOn: () => boolean, ready: () => void): void {
    const records = leftoversOf(this.disk);
    if (records.length === 0) return this.#world.time.after(1, ready);
    const old = [...this.disk.files.keys()];
    let isReady = false;
    const go = (): void => {
      if (isReady) return;
      isReady = true;
      ready();
    };
    const wasKept = this.#filesRecovered;
    this.#filesRecovered = false;
    this.#world.time.after(recoverMs, () => goesOn() && go());
    const next = (at: number): void => {
      const record = records[at];
      if (record === undefined) {
        for (const file of old) this.disk.files.delete(file);
        this.#filesRecovered = wasKept;
        return go();
      }
      const stored = (seq: number): void => {
        this.#recovered.set(record.job, seq);
        next(at + 1);
      };
      this.#world.store.append(record, { from: this.node, goesOn, stored });
    };
    next(0);
  }

  crash(): void {
    if (this.core === undefined) return;
    this.core = undefined;
    this.isPaused = false;
    this.#queue = [];
    this.#answers.clear();
    this.#facts.clear();
    this.#isLinked = false;
    this.pool?.end();
    this.pool = undefined;
    const isSilent = this.#world.breaksSilently();
    this.link?.break({ agent: 0, leader: isSilent ? silentBreakMs : 50 });
    this.link = undefined;
  }

  pause(ms: number): void {
    if (this.core === undefined || this.isPaused) return;
    const goesOn = this.#inLife();
    this.isPaused = true;
    this.#world.time.after(ms, () => {
      if (!goesOn()) return;
      this.isPaused = false;
      this.feed({ kind: "tick" });
    });
  }

  #connect(goesOn: () => boolean): void {
    const { time, random } = this.#world;
    const later = (): void => time.after(random.between(50, 500), () => goesOn() && this.#connect(goesOn));
    if (this.isDrained) return;
    const leader = this.#world.leader();
    if (leader === undefined || this.isPaused) return later();
    const { partitions } = this.#world;
    if (!partitions.passesBoth(this.node, leader.name)) return later();
    const gone = (): void => {
      if (!goesOn() || this.link !== link) return;
      this.link = undefined;
      this.#isLinked = false;
      this.feed({ kind: "linkDown" });
      later();
    };
    const link: Link = new Link({
      time,
      random,
      onBreak: { agent: gone, leader: () => leader.linkGone(this.node, link) },
      passes: (to) =>
        to === "leader"
          ? partitions.passes(this.node, leader.name)
          : partitions.passes(leader.name, this.node),
    });
    this.link = link;
    this.#leader = leader;
    this.feed({ kind: "linkUp" });
  }

  /** Events run to completion, one after the other, as in the shell. */
  feed(event: Event): void {
    if (this.core === undefined) return;
    this.#queue.push(event);
    if (this.isPaused || this.#isRunning) return;
    this.#isRunning = true;
    for (
      let next = this.#queue.shift();
      next !== undefined && this.core !== undefined;
      next = this.#queue.shift()
    ) {
      const effects = step(this.core, { at: this.#world.time.now, ...next } as AgentEvent);
      this.#world.stepped(this);
      for (const effect of effects) this.#perform(effect);
      if (next.kind === "workerDied") this.pool?.workers.delete(next.worker);
    }
    this.#isRunning = false;
  }

  check(): void {
    if (this.core !== undefined) checkInvariants(this.core);
  }

  #tick(): boolean {
    if (this.isPaused || this.core === undefined) return true;
    const isBusy = [...(this.pool?.workers.values() ?? [])].some((worker) => worker.begun.length > 0);
    const waits = [...this.core.jobs.values()].some((job) => job.waiting.length > 0 || job.leases.size > 0);
    if (!isBusy && !waits && this.core.drain === "working") return true;
    this.pool?.lookAll();
    this.feed({ kind: "tick" });
    return true;
  }

  #heartbeat(): boolean {
    const { core } = this;
    if (this.isPaused || core === undefined || !this.#isLinked) return true;
    const busy = [...core.workers.values()].filter((worker) => worker.slices.length > 0).length;
    const diskFull = core.disk !== "ok";
    const gaveBack = reportOf(core).filter((report) => report.gaveBack.length > 0);
    this.#say((leader) => {
      leader.feed({ kind: "nodeHeartbeat", node: this.node, busy, diskFull });
      for (const { job, grant, gaveBack: ranges } of gaveBack)
        leader.feed({ kind: "gaveBack", node: this.node, job, grant, ranges });
    });
    return true;
  }

  /** Over the link, if there is one: the next hello reports everything that lasts. */
  #say(act: (leader: SimCoordinator) => void): void {
    const leader = this.#leader;
    if (!this.#isLinked || leader === undefined) return;
    this.link?.send("leader", () => act(leader));
  }

  /** A lease message; undefined: nobody listens. */
  leaseArrived(facts: LeaseFacts, answer: (reply: LeaseReply | undefined) => void): void {
    if (this.core === undefined || !this.#isListening) return answer(undefined);
    this.#lastAsk += 1;
    this.#answers.set(this.#lastAsk, answer);
    if (!this.#facts.has(facts.grant.id)) this.#facts.set(facts.grant.id, facts);
    const ready = this.#world.random.chance(0.7);
    this.feed({ kind: "leaseArrived", lease: facts, ask: this.#lastAsk, ready });
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case "answerLease":
        this.#answers.get(effect.ask)?.(effect.reply);
        this.#answers.delete(effect.ask);
        return;
      case "fetchInput":
        return this.#fetch(effect);
      case "forgetLease":
        this.#facts.delete(effect.lease);
        return;
      case "startWorker":
        return this.pool?.start(effect.worker);
      case "sendTask":
        return this.#sendTask(effect);
      case "sendSlice":
        return this.#sendSlice(effect);
      case "setLimit":
        return this.pool?.setLimit(effect);
      case "readCursor":
        return this.pool?.readCursor(effect);
      case "killGroup":
        return this.pool?.kill(effect.worker, effect.reason.kind === "cancel");
      case "appendTimeout":
        return this.pool?.appendTimeout(effect);
      case "publishCommit":
        return this.#publish(effect.record, (seq) => ({ kind: "commitAcked", commit: effect.commit, seq }));
      case "publishStrike":
        return this.#publish(effect.record, (seq) => ({ kind: "strikeAcked", strike: effect.strike, seq }));
      case "freeOutcomes":
        return this.disk.free(effect.runs);
      case "hello":
        return this.#hello(effect);
      case "closeLink":
        return this.link?.break({ agent: 0, leader: 50 });
      case "dropJob":
        return;
      case "drained":
        this.isDrained = true;
        this.#say((leader) =>
          leader.feed({
            kind: "drained",
            node: this.node,
            acknowledged: this.#acknowledged(effect.acknowledged),
          }),
        );
        // The process ends a little later, when what it said has left.
        return this.#world.time.after(20, () => this.#world.gone(this));
      default:
        return this.#tell(effect);
    }
  }

  #tell(
    effect: Extract<
      Effect,
      { kind: "gaveBack" | "taskFailed" | "starving" | "sliceStarting" | "leaseFound" }
    >,
  ): void {
    const { node } = this;
    switch (effect.kind) {
      case "gaveBack": {
        const { job, grant, ranges } = effect;
        return this.#say((leader) => leader.feed({ kind: "gaveBack", node, job, grant, ranges }));
      }
      case "taskFailed": {
        const { job, round } = effect;
        const { died } = effect.failure;
        return this.#say((leader) =>
          leader.feed({ kind: "taskFailed", node, job, round, message: notLoaded, died }),
        );
      }
      case "leaseFound": {
        const { job, lease, accepted } = effect;
        const late = { ok: false, reason: "late", message: "it has not arrived" } as const;
        const reply: LeaseReply = accepted === undefined ? late : { ok: true, accepted };
        return this.#say((leader) => leader.feed({ kind: "leaseAnswered", job, lease, reply, from: node }));
      }
      case "starving":
        return this.#say((leader) => leader.feed({ kind: "starving", node, slots: effect.slots }));
      case "sliceStarting": {
        const { job, grant, range, ask } = effect;
        return this.#say((leader) =>
          leader.feed({ kind: "sliceStarting", node, job, lease: grant.id, range, ask }),
        );
      }
    }
  }

  #publish(record: CommitRecord | StrikeRecord | LogRecord, acked: (seq: number) => Event): void {
    const stored = (seq: number): void => this.feed(acked(seq));
    this.#world.store.append(record, { from: this.node, goesOn: this.#inLife(), stored });
  }

  #fetch({ job, lease }: { job: JobId; lease: LeaseFacts["grant"]["id"] }): void {
    const goesOn = this.#inLife();
    const fails = this.#world.random.chance(this.#world.inputFailures());
    this.#world.time.after(this.#world.random.between(1, 200), () => {
      if (!goesOn()) return;
      if (fails) this.feed({ kind: "inputFailed", job, lease, bundle: false, message: "gone" });
      else this.feed({ kind: "inputReady", job, lease });
    });
  }

  #hello(effect: Extract<Effect, { kind: "hello" }>): void {
    const { link } = this;
    const leader = this.#leader;
    if (link === undefined || leader === undefined) return;
    const report: NodeReport = {
      node: this.node,
      host: `host-${this.plan.machine}`,
      machine: `machine-${this.plan.machine}`,
      slots: this.plan.slots,
      runtimes: ["js"],
      labels: [],
      incarnation: `${this.#incarnation}`,
      epochSeen: effect.epoch,
      leases: effect.leases,
      accepted: effect.accepted,
      filesRecovered: this.#filesRecovered,
      acknowledged: this.#acknowledged(effect.acknowledged),
    };
    link.send("leader", () => {
      if (!leader.admit(this, link, report)) return link.break({ agent: 5, leader: 5 });
      const { epoch } = leader;
      const nodes = leader.links.size;
      link.send("agent", () => this.#welcomed(link, epoch, nodes));
    });
  }

  #acknowledged(own: ReadonlyMap<JobId, number>): Map<JobId, number> {
    return furthest(own, this.#recovered);
  }

  #welcomed(link: Link, epoch: number, nodes: number): void {
    if (this.link !== link) return;
    this.#isListening = true;
    this.#isLinked = true;
    this.feed({ kind: "welcomed", epoch, nodes, drop: [] });
  }

  fromLeader(link: Link, message: LeaderEffect): void {
    if (this.link === link && this.core !== undefined) this.feed(eventOf(message));
  }
}
