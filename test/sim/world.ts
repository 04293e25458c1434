/** A cluster made of a plan: coordinators, agents, clients and faults on one timeline. `run` plays it to its end. */
import type { Answer, Keys } from "@everycore/coordinator/core";
import type { JobId, LeaseGrant, LeaseId, LeaseReply, NodeId } from "@everycore/protocol";
import { taskOfRound } from "@everycore/protocol";
import { SimAgent } from "./agent.ts";
import { Client } from "./client.ts";
import type { CoordinatorWorld } from "./coordinator-world.ts";
import { SimCoordinator } from "./coordinator.ts";
import { faultEveryMs, Faults } from "./faults.ts";
import { nats, Partitions } from "./partitions.ts";
import type { Plan } from "./plan.ts";
import { faultsMin, isFull, isGentle, planOf } from "./plan.ts";
import { Random } from "./random.ts";
import { Store } from "./store.ts";
import { Timeline } from "./timeline.ts";
import { Breach } from "./breach.ts";
import { judgeEnd } from "./watch-end.ts";
import { Watch } from "./watch.ts";

/** So much of the cores' work is plenty: ten times what most histories need. */
const stepsPerSecondMax = 300;
const stepsPerItemMax = 12;
/** Steps between two looks at the whole of an agent. */
const agentCheckEvery = 25;
/** Bad luck goes on for so much longer where a plan has promised more of it. */
const moreFaultsMs = 5_000;
const faultsMs = 120_000;
/** A job may wait this long for losses, takeovers and verdicts once the faults are over, beside its own work. */
const settleMs = 240_000;

export interface Report {
  readonly seed: number;
  readonly steps: number;
  readonly records: number;
  readonly simulatedMs: number;
  readonly takeovers: number;
  /** Jobs that were paused for a while. */
  readonly pauses: number;
  /** Those of them whose input was still coming. */
  readonly openPauses: number;
  readonly items: number;
  readonly nodes: number;
  /** Kinds of faults, and how often each happened. */
  readonly faults: Readonly<Record<string, number>>;
  /** Steps of a leader whose successor was elected already. */
  readonly stepsOfFormer: number;
  readonly quarantines: number;
  /** Items that were given to a second node while one had them. */
  readonly doubles: number;
  /** Items whose values of two nodes were compared, and those that differ. */
  readonly checked: number;
  readonly differing: number;
}

const nodeIdOf = (at: number): NodeId => `${at}`.repeat(16) as NodeId;

/** Ids as good as an HMAC for a world without enemies. */
export const keys: Keys = {
  leaseId: (job, grant) => idOf(job, grant),
  verify: (job, grant) => idOf(job, grant) === grant.id,
  sampleSeed: (job) => [0, 1, 2, 3].map((at) => Number.parseInt(job.slice(4 * at, 4 * at + 4), 16)) as never,
};

function idOf(job: JobId, grant: Omit<LeaseGrant, "id">): LeaseId {
  const { start, end, node, round, n } = grant;
  let text = "";
  for (let part = 0; part < 4; part += 1) {
    let hash = 0x811c_9dc5 ^ part;
    for (const char of `${job}/${start}/${end}/${node}/${round}/${n}`)
      hash = Math.imul(hash ^ char.charCodeAt(0), 0x0100_0193);
    text += (hash >>> 0).toString(16).padStart(8, "0");
  }
  return text as LeaseId;
}

export class World {
  readonly plan: Plan;
  readonly time = new Timeline();
  readonly store: Store;
  readonly agents: SimAgent[];
  readonly coordinators: SimCoordinator[];
  readonly clients = new Map<JobId, Client>();
  readonly watch: Watch;
  steps = 0;
  readonly #partitions: Partitions;
  readonly #faults: Faults;
  #isCalm = false;
  #stepsOfFormer = 0;
  #storage: "ok" | "pause" = "ok";
  readonly #random: Random;
  readonly #asks = new Map<number, (answer: Answer | undefined) => void>();
  #lastAsk = 0;

  constructor(seed: number, change: (plan: Plan) => Plan = (plan) => plan) {
    this.#random = new Random(seed);
    const random = this.#random;
    this.plan = change(planOf(seed, random));
    const { faults } = this.plan;
    const { time } = this;
    const badNodes = this.plan.nodes.flatMap(({ crashEvery }, at) => (crashEvery === undefined ? [] : [at]));
    this.watch = new Watch({
      clients: this.clients,
      // Where workers die without a cause, any node may look bad.
      badNodes: faults.workerKills > 0 ? undefined : new Set(badNodes.map(nodeIdOf)),
      verify: (job, grant) => keys.verify(job, grant),
      isGentle: isGentle(seed),
      areClocksSet: faults.clockJumps > 0,
      sampleSeed: (job) => keys.sampleSeed(job),
      isLiar: (node) => this.#isLiar(node),
    });
    const partitions = new Partitions(time);
    this.#partitions = partitions;
    this.store = new Store({
      time,
      random,
      faults,
      partitions,
      onAppend: (entry) => this.watch.appended(entry, this.store),
      onFault: (kind) => this.#faults.happened(kind),
    });
    this.store.watchJobs((record) => this.watch.put(record));
    this.agents = this.plan.nodes.map((node, at) => new SimAgent(nodeIdOf(at), node, this.#agentWorld()));
    this.coordinators = Array.from(
      { length: this.plan.coordinators },
      (_, at) => new SimCoordinator(`coordinator-${at}`, this.#coordinatorWorld()),
    );
    for (const job of this.plan.jobs) this.clients.set(job.id, new Client(job, this.#clientWorld()));
    for (const coordinator of this.coordinators) coordinator.start();
    for (const agent of this.agents) time.after(random.between(0, 2_000), () => agent.start(true));
    this.#faults = new Faults({
      time,
      random,
      rates: faults,
      isGentle: isGentle(seed),
      store: this.store,
      partitions,
      agents: this.agents,
      coordinators: this.coordinators,
      clients: this.clients,
      failsToLoad: (agent) => !this.#isCalm && agent.plan.failsToLoad === true,
      hasValue: (job) => this.watch.hasValue(job),
      restart: (agent, filesKept) => this.#restart(agent, filesKept),
      setStorage: (level) => this.#setStorage(level),
    });
    time.every(faultEveryMs, () => {
      if (!this.#isCalm) this.#faults.strike();
      return !this.#isCalm;
    });
    time.at(faults.untilMs, () => this.#calm());
  }

  leader(): SimCoordinator | undefined {
    return this.coordinators.find(
      (one) => one.isAlive && one.isLeading && one.state.leading && one.epoch === this.store.epoch,
    );
  }

  #breaksSilently(): boolean {
    const { seed, faults } = this.plan;
    return !this.#isCalm && faults.linkBreaks > 0 && !isGentle(seed) && this.#random.chance(0.2);
  }

  #agentWorld(): ConstructorParameters<typeof SimAgent>[2] {
    return {
      time: this.time,
      random: this.#random,
      store: this.store,
      partitions: this.#partitions,
      planOf: (job) => this.clients.get(job)?.plan,
      leader: () => this.leader(),
      inputFailures: () => (this.#isCalm ? 0 : this.plan.faults.inputFailures),
      started: (agent, start) => this.watch.started(agent, start),
      recorded: (start) => this.watch.recorded(start),
      crashed: (start) => this.watch.crashed(start),
      isKilledByHost: (agent, job, index) => this.#faults.isKilledByHost(agent, job, index),
      loads: (agent, job, code) => this.#faults.loads(agent, job, code),
      stepped: (agent) => {
        this.steps += 1;
        if (this.steps % agentCheckEvery === 0) agent.check();
      },
      breaksSilently: () => this.#breaksSilently(),
      gone: (agent) => this.#restart(agent, true),
    };
  }

  #coordinatorWorld(): CoordinatorWorld {
    return {
      time: this.time,
      random: this.#random,
      store: this.store,
      partitions: this.#partitions,
      slowTail: () => (this.#isCalm ? 0 : this.plan.faults.slowTail),
      keys,
      sendLease: (from, effect, answered) => this.#sendLease(from, effect, answered),
      stepped: (coordinator, event, effects) => {
        this.steps += 1;
        if (coordinator.epoch < this.store.epoch) this.#stepsOfFormer += 1;
        this.watch.stepped({ name: coordinator.name, state: coordinator.state, event, effects }, this.store);
        if (event.kind === "elected" && this.#storage !== "ok")
          this.time.after(1, () => coordinator.feed({ kind: "storageLevel", level: this.#storage }));
      },
      unanswered: (ask) => this.#answer(ask, undefined),
      answered: (ask, answer) => this.#answer(ask, answer),
      breaksSilently: () => this.#breaksSilently(),
      areEqual: ({ first, second }) => this.#isLiar(first.node) === this.#isLiar(second.node),
    };
  }

  #isLiar(node: NodeId): boolean {
    return this.plan.nodes.some((plan, at) => plan.lies === true && nodeIdOf(at) === node);
  }

  #clientWorld(): ConstructorParameters<typeof Client>[1] {
    return {
      time: this.time,
      random: this.#random,
      store: this.store,
      leader: () => this.leader(),
      ask: (leader, event, then) => {
        this.#lastAsk += 1;
        const ask = this.#lastAsk;
        this.#asks.set(ask, then);
        this.time.after(this.#random.between(0.2, 3), () => leader.ask(ask, event(ask)));
      },
    };
  }

  #answer(ask: number, answer: Answer | undefined): void {
    const then = this.#asks.get(ask);
    this.#asks.delete(ask);
    if (then !== undefined) this.time.after(this.#random.between(0.2, 3), () => then(answer));
  }

  /** One request over core NATS: lost, late, twice, its answer lost. */
  #sendLease(
    from: SimCoordinator,
    effect: Parameters<CoordinatorWorld["sendLease"]>[1],
    answered: (reply: LeaseReply | undefined) => void,
  ): void {
    const random = this.#random;
    const { state, name } = from;
    const passes = (one: string, other: string): boolean =>
      !this.store.isAway && this.#partitions.passes(one, nats) && this.#partitions.passes(nats, other);
    const faults = this.#isCalm ? undefined : this.plan.faults;
    const agent = this.agents.find((one) => one.node === effect.node);
    const job = state.jobs.get(effect.job);
    if (agent === undefined || job === undefined) return;
    if (job.state === "paused") throw new Breach(`job ${job.id} is paused and is leased to ${agent.node}`);
    const { spec } = job;
    const task = {
      runtime: spec.task.runtime,
      reduced: spec.task.reduce !== undefined,
      retries: spec.task.retries,
      itemTimeoutMs: spec.task.itemTimeoutMs,
      code: taskOfRound(job, effect.grant.round).bundle ?? "",
    };
    const { grant, attempts, mode, itemMs, tag, partials } = effect;
    const facts = {
      epoch: state.epoch,
      job: job.id,
      segment: job.segment,
      task,
      grant,
      attempts,
      mode,
      itemMs,
      tag,
      partials,
    };
    let isAnswered = false;
    const once = (reply: LeaseReply | undefined): void => {
      if (isAnswered) return;
      isAnswered = true;
      answered(reply);
    };
    this.time.after(1_000, () => once(undefined));
    if (!passes(name, agent.node)) return;
    const happens = (chance: number | undefined, kind: string): boolean => {
      const does = random.chance(chance ?? 0);
      if (does) this.#faults.happened(kind);
      return does;
    };
    if (happens(faults?.leaseLoss, "lease lost")) return;
    const deliver = (): void => {
      if (!passes(name, agent.node)) return;
      agent.leaseArrived({ ...facts, priority: spec.priority }, (reply) => {
        if (!passes(agent.node, name) || happens(faults?.answerLoss, "answer lost")) return;
        this.time.after(random.between(0.2, 2), () => once(reply));
      });
    };
    const lateMs = (): number =>
      happens(faults?.slow, "lease late") ? random.between(2, 3_000) : random.between(0.2, 2);
    this.time.after(lateMs(), deliver);
    if (happens(faults?.leaseRepeat, "lease doubled"))
      this.time.after(lateMs() + random.between(0, 500), deliver);
  }

  /** Two are left at least: an item that has crashed is to find another node. */
  #staysAway(): boolean {
    const { gone } = this.plan.faults;
    if (gone === 0 || this.#isCalm || !this.#random.chance(gone)) return false;
    return this.plan.nodes.length - (this.#faults.counts.get("agent gone for good") ?? 0) > 2;
  }

  #restart(agent: SimAgent, filesKept: boolean): void {
    agent.crash();
    if (this.#staysAway()) return this.#faults.happened("agent gone for good");
    const isLong = !this.#isCalm && !isGentle(this.plan.seed) && this.#random.chance(0.15);
    const afterMs = isLong ? this.#random.between(5_000, 40_000) : this.#random.between(200, 4_000);
    this.time.after(afterMs, () => {
      if (!agent.isUp) agent.start(filesKept);
    });
  }

  #setStorage(level: "ok" | "pause"): void {
    this.#storage = level;
    this.leader()?.feed({ kind: "storageLevel", level });
  }

  /** From here on everything works. */
  #calm(): void {
    if (isFull(this.plan.seed) && this.#faults.count < faultsMin && this.time.now < faultsMs)
      return this.time.after(moreFaultsMs, () => this.#calm());
    this.#isCalm = true;
    this.#partitions.heal();
    this.store.isQuiet = true;
    this.store.isAway = false;
    this.#setStorage("ok");
  }

  get #isOver(): boolean {
    return this.#isCalm && [...this.clients.values()].every((client) => client.isOver);
  }

  run(): Report {
    const workMs = this.plan.jobs.reduce((sum, job) => sum + this.#workOf(job.items, job.costMs), 0);
    const deadline = Math.max(this.plan.faults.untilMs, faultsMs) + settleMs + 2 * workMs;
    while (!this.#isOver) {
      if (this.time.step(deadline)) continue;
      throw new Breach(
        `P5: not over ${Math.round(deadline / 1_000)} s after the start: ${this.#whatWaits()}`,
      );
    }
    // What was said at the end arrives: then nobody holds anything any more.
    const quiet = this.time.now + 30_000;
    while (this.time.step(quiet));
    this.watch.ended(this.store, this.leader()?.state);
    judgeEnd(this.agents, this.leader()?.state, { store: this.store, now: this.time.now });
    this.#noStorm();
    return {
      seed: this.plan.seed,
      steps: this.steps,
      records: this.store.log.length,
      simulatedMs: Math.round(this.time.now),
      takeovers: this.store.epoch,
      pauses: [...this.clients.values()].reduce((sum, client) => sum + client.pauses, 0),
      items: this.plan.jobs.reduce((sum, job) => sum + job.items, 0),
      nodes: this.plan.nodes.length,
      faults: Object.fromEntries(this.#faults.counts),
      stepsOfFormer: this.#stepsOfFormer,
      openPauses: [...this.clients.values()].reduce((sum, client) => sum + client.openPauses, 0),
      quarantines: this.watch.quarantines,
      doubles: this.watch.doubles,
      checked: this.watch.audits.checked,
      differing: this.watch.audits.differing,
    };
  }

  #workOf(items: number, costMs: (index: number) => number): number {
    let ms = 0;
    for (let index = 0; index < items; index += 1) ms += costMs(index);
    return ms;
  }

  #whatWaits(): string {
    const state = this.leader()?.state;
    const jobs = [...(state?.active ?? [])].map((job) => {
      const { normal, announced, alone, awaiting, crashed } = job.queues;
      const queued = `${normal.size}+${announced.size}+${alone.size}+${awaiting.size}+${crashed.size}`;
      const leased = [...job.leases.values()].map(
        ({ grant, open, state: of }) => `${grant.node[0]}:${of}${JSON.stringify(open.toRanges())}`,
      );
      const sealing = JSON.stringify(job.sealing.toRanges());
      const checks = [...(job.checks?.items.values() ?? [])].flatMap(({ index, state: of }) =>
        of === "over" ? [] : [`${index} ${of}`],
      );
      return `${job.id} ${job.state}/${job.phase} queued ${queued} leased ${leased.join(" ")} sealing ${sealing} checks ${checks.join(", ")}`;
    });
    const nodes = [...(state?.nodes.values() ?? [])].map(
      (node) => `${node.id[0]} ${node.state} ${node.reason}`,
    );
    return `${jobs.join("; ")} | nodes ${nodes.join(", ")}`;
  }

  /** Ticks and heartbeats, and a few steps for each item: nobody talks all day. */
  #noStorm(): void {
    const items = this.plan.jobs.reduce((sum, job) => sum + job.items, 0);
    const bound = stepsPerSecondMax * (this.time.now / 1_000) + stepsPerItemMax * items;
    if (this.steps > bound) throw new Breach(`P7: ${this.steps} steps, ${Math.round(bound)} are plenty`);
  }
}
