/** A cluster made of a plan: coordinators, agents, clients and faults on one timeline. `run` plays it to its end. */
import type { Answer, Keys } from "@everycore/coordinator/core";
import type { JobId, LeaseGrant, LeaseId, LeaseReply, NodeId } from "@everycore/protocol";
import { SimAgent, silentBreakMs } from "./agent.ts";
import { Client } from "./client.ts";
import type { CoordinatorWorld } from "./coordinator.ts";
import { SimCoordinator } from "./coordinator.ts";
import type { Plan } from "./plan.ts";
import { isTakeoverOnly, planOf } from "./plan.ts";
import { Random } from "./random.ts";
import { Store } from "./store.ts";
import { Timeline } from "./timeline.ts";
import { Breach, Watch } from "./watch.ts";

const faultEveryMs = 100;
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
  readonly quarantines: number;
}

const nodeIdOf = (at: number): NodeId => `${at}`.repeat(16) as NodeId;

/** Ids as good as an HMAC for a world without enemies. */
export const keys: Keys = {
  leaseId: (job, grant) => idOf(job, grant),
  verify: (job, grant) => idOf(job, grant) === grant.id,
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
  #storage: "ok" | "pause" = "ok";
  readonly #random: Random;
  readonly #killed = new Set<string>();
  readonly #ranOn = new Map<SimAgent, number>();
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
      onlyTakeovers: isTakeoverOnly(seed),
    });
    this.store = new Store({ time, random, faults, onAppend: (entry) => this.watch.appended(entry) });
    this.agents = this.plan.nodes.map((node, at) => new SimAgent(nodeIdOf(at), node, this.#agentWorld()));
    this.coordinators = Array.from(
      { length: this.plan.coordinators },
      (_, at) => new SimCoordinator(`coordinator-${at}`, this.#coordinatorWorld()),
    );
    for (const job of this.plan.jobs) this.clients.set(job.id, new Client(job, this.#clientWorld()));
    for (const coordinator of this.coordinators) coordinator.start();
    for (const agent of this.agents) time.after(random.between(0, 2_000), () => agent.start(true));
    time.every(faultEveryMs, () => this.#fault());
    time.at(faults.untilMs, () => this.#calm());
  }

  leader(): SimCoordinator | undefined {
    return this.coordinators.find(
      (one) => one.isAlive && one.isLeading && one.state.leading && one.epoch === this.store.epoch,
    );
  }

  get #isCalm(): boolean {
    return this.time.now >= this.plan.faults.untilMs;
  }

  #breaksSilently(): boolean {
    return !this.#isCalm && this.plan.faults.linkBreaks > 0 && this.#random.chance(0.2);
  }

  #agentWorld(): ConstructorParameters<typeof SimAgent>[2] {
    return {
      time: this.time,
      random: this.#random,
      store: this.store,
      planOf: (job) => this.clients.get(job)?.plan,
      leader: () => this.leader(),
      inputFailures: () => (this.#isCalm ? 0 : this.plan.faults.inputFailures),
      started: (agent, job, index) => this.watch.started(agent, job, index),
      isKilledByHost: (agent, job, index) => this.#isKilledByHost(agent, job, index),
      stepped: () => void (this.steps += 1),
      breaksSilently: () => this.#breaksSilently(),
      gone: (agent) => this.#restart(agent, true),
    };
  }

  #coordinatorWorld(): CoordinatorWorld {
    return {
      time: this.time,
      random: this.#random,
      store: this.store,
      keys,
      sendLease: (effect, state, answered) => this.#sendLease(effect, state, answered),
      stepped: (coordinator, event, effects) => {
        this.steps += 1;
        this.watch.stepped(coordinator.name, coordinator.state, effects, this.store);
        if (event.kind === "elected" && this.#storage !== "ok")
          this.time.after(1, () => coordinator.feed({ kind: "storageLevel", level: this.#storage }));
      },
      unanswered: (ask) => this.#answer(ask, undefined),
      answered: (ask, answer) => this.#answer(ask, answer),
      breaksSilently: () => this.#breaksSilently(),
    };
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
    effect: Parameters<CoordinatorWorld["sendLease"]>[0],
    state: Parameters<CoordinatorWorld["sendLease"]>[1],
    answered: (reply: LeaseReply | undefined) => void,
  ): void {
    const random = this.#random;
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
    if (this.store.isAway || random.chance(faults?.leaseLoss ?? 0)) return;
    const deliver = (): void => {
      if (this.store.isAway) return;
      agent.leaseArrived({ ...facts, priority: spec.priority }, (reply) => {
        if (!random.chance(faults?.answerLoss ?? 0))
          this.time.after(random.between(0.2, 2), () => once(reply));
      });
    };
    const lateMs = (): number =>
      random.chance(faults?.slow ?? 0) ? random.between(2, 3_000) : random.between(0.2, 2);
    this.time.after(lateMs(), deliver);
    if (random.chance(faults?.leaseRepeat ?? 0)) this.time.after(lateMs() + random.between(0, 500), deliver);
  }

  #restart(agent: SimAgent, filesKept: boolean): void {
    agent.crash();
    const isLong = !this.#isCalm && !isTakeoverOnly(this.plan.seed) && this.#random.chance(0.15);
    const afterMs = isLong ? this.#random.between(5_000, 40_000) : this.#random.between(200, 4_000);
    this.time.after(afterMs, () => {
      if (!agent.isUp) agent.start(filesKept);
    });
  }

  /** One moment of bad luck. */
  #fault(): boolean {
    if (this.#isCalm) return false;
    const random = this.#random;
    const { faults } = this.plan;
    const happens = (rate: number): boolean => random.chance((rate * faultEveryMs) / 1_000);
    const agent = random.pick(this.agents);
    const coordinator = random.pick(this.coordinators);
    if (happens(faults.agentCrashes) && agent.isUp) this.#restart(agent, !random.chance(faults.filesLost));
    if (happens(faults.agentPauses)) agent.pause(random.between(500, 25_000));
    if (happens(faults.linkBreaks)) this.#breakLink(agent);
    if (happens(faults.coordinatorCrashes) && coordinator.isAlive) {
      coordinator.crash();
      this.time.after(random.between(100, 8_000), () => {
        if (!coordinator.isAlive) coordinator.start();
      });
    }
    if (happens(faults.coordinatorPauses)) coordinator.pause(random.between(300, 9_000));
    if (faults.coordinatorFreezes > 0 && happens(faults.coordinatorFreezes))
      coordinator.freeze(random.between(2_000, 12_000));
    if (happens(faults.outages) && !this.store.isAway) {
      this.store.isAway = true;
      this.time.after(random.between(200, 9_000), () => void (this.store.isAway = false));
    }
    if (happens(faults.workerKills)) this.#killWorker(agent);
    if (happens(faults.diskFull) && agent.isUp) {
      agent.feed({ kind: "diskLevel", level: random.chance(0.5) ? "full" : "limit" });
      this.time.after(random.between(500, 5_000), () => agent.feed({ kind: "diskLevel", level: "ok" }));
    }
    if (happens(faults.storagePauses) && this.#storage === "ok") {
      this.#setStorage("pause");
      this.time.after(random.between(500, 5_000), () => this.#setStorage("ok"));
    }
    if (happens(faults.drains) && agent.isUp)
      agent.feed({ kind: "drainAsked", deadlineMs: random.between(0, 5_000) });
    return true;
  }

  #setStorage(level: "ok" | "pause"): void {
    this.#storage = level;
    this.leader()?.feed({ kind: "storageLevel", level });
  }

  #breakLink(agent: SimAgent): void {
    const noticed = (): number => (this.#random.chance(0.3) ? silentBreakMs : 50);
    agent.link?.break({ agent: noticed(), leader: noticed() });
  }

  /** Every so many items a bad machine kills a worker; an item that ends well elsewhere. */
  #isKilledByHost(agent: SimAgent, job: JobId, index: number): boolean {
    const { crashEvery } = agent.plan;
    if (crashEvery === undefined) return false;
    const ran = (this.#ranOn.get(agent) ?? 0) + 1;
    this.#ranOn.set(agent, ran);
    const item = `${job}/${index}`;
    if (ran % crashEvery !== 0 || this.#killed.has(item)) return false;
    if (this.clients.get(job)?.plan.fates.has(index) !== false) return false;
    this.#killed.add(item);
    return true;
  }

  /** A death without cause; each item meets at most one, since two are a verdict. */
  #killWorker(agent: SimAgent): void {
    const workers = [...(agent.pool?.workers.values() ?? [])].filter((worker) => worker.isAlive);
    if (workers.length === 0) return;
    const worker = this.#random.pick(workers);
    const running = worker.begun.find((file) => file.isRunning);
    if (running === undefined || worker.phase !== "item") return;
    const item = `${running.job}/${running.start + running.items}`;
    if (
      this.#killed.has(item) ||
      this.clients.get(running.job)?.plan.fates.has(running.start + running.items)
    )
      return;
    this.#killed.add(item);
    worker.die();
  }

  /** From here on everything works. */
  #calm(): void {
    this.store.isQuiet = true;
    this.store.isAway = false;
    this.#setStorage("ok");
  }

  get #isOver(): boolean {
    return this.#isCalm && [...this.clients.values()].every((client) => client.isOver);
  }

  run(): Report {
    const workMs = this.plan.jobs.reduce((sum, job) => sum + this.#workOf(job.items, job.costMs), 0);
    const deadline = this.plan.faults.untilMs + settleMs + 2 * workMs;
    while (!this.#isOver) {
      if (this.time.step(deadline)) continue;
      throw new Breach(
        `P5: not over ${Math.round(deadline / 1_000)} s after the start: ${this.#whatWaits()}`,
      );
    }
    // What was said at the end arrives: then nobody holds anything any more.
    const quiet = this.time.now + 30_000;
    while (this.time.step(quiet))
      if (this.steps % 1_000 === 0) for (const agent of this.agents) agent.check();
    this.watch.ended(this.store, this.leader()?.state);
    this.#nothingHeld();
    return {
      seed: this.plan.seed,
      steps: this.steps,
      records: this.store.log.length,
      simulatedMs: Math.round(this.time.now),
      takeovers: this.store.epoch,
      pauses: [...this.clients.values()].reduce((sum, client) => sum + client.pauses, 0),
      openPauses: [...this.clients.values()].reduce((sum, client) => sum + client.openPauses, 0),
      quarantines: this.watch.quarantines,
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
      return `${job.id} ${job.state}/${job.phase} queued ${queued} leased ${leased.join(" ")} sealing ${sealing}`;
    });
    const nodes = [...(state?.nodes.values() ?? [])].map(
      (node) => `${node.id[0]} ${node.state} ${node.reason}`,
    );
    return `${jobs.join("; ")} | nodes ${nodes.join(", ")}`;
  }

  #nothingHeld(): void {
    const state = this.leader()?.state;
    for (const agent of this.agents) {
      agent.check();
      const node = state?.nodes.get(agent.node);
      const isUsable = agent.isUp && !agent.isDrained && !agent.isPaused;
      if (isUsable && state !== undefined && node?.state !== "connected")
        throw new Breach(
          `P5: agent ${agent.node} works, and its leader says ${node?.state}: ${node?.reason}`,
        );
      for (const job of agent.core?.jobs.values() ?? []) {
        throw new Breach(`P7: agent ${agent.node} still keeps job ${job.id} with ${job.leases.size} leases`);
      }
    }
  }
}
