/**
 * The bad luck of a history: ten times a second each kind of fault may happen, at the rates of the plan. Messages that
 * are lost, late or doubled are not here but where they travel (store.ts, world.ts); all are counted.
 */
import type { JobId } from "@everycore/protocol";
import type { SimAgent } from "./agent.ts";
import type { Client } from "./client.ts";
import type { SimCoordinator } from "./coordinator.ts";
import { silentBreakMs } from "./link.ts";
import type { Partitions } from "./partitions.ts";
import { nats } from "./partitions.ts";
import type { Faults as Rates } from "./plan.ts";
import type { Random } from "./random.ts";
import type { Store } from "./store.ts";
import type { Timeline } from "./timeline.ts";
import type { Load } from "./worker.ts";

export const faultEveryMs = 100;

export interface FaultWorld {
  readonly time: Timeline;
  readonly random: Random;
  readonly rates: Rates;
  /** Nothing may be so bad that something is run again. */
  readonly isGentle: boolean;
  readonly store: Store;
  readonly partitions: Partitions;
  readonly agents: readonly SimAgent[];
  readonly coordinators: readonly SimCoordinator[];
  readonly clients: ReadonlyMap<JobId, Client>;
  readonly failsToLoad: (agent: SimAgent) => boolean;
  /** Some item of the job has ended well, by its log. */
  readonly hasValue: (job: JobId) => boolean;
  restart(agent: SimAgent, filesKept: boolean): void;
  setStorage(level: "ok" | "pause"): void;
}

export class Faults {
  /** How often each kind has happened. */
  readonly counts = new Map<string, number>();
  readonly #world: FaultWorld;
  readonly #killed = new Set<string>();
  readonly #ranOn = new Map<SimAgent, number>();
  readonly #loads = new Map<string, number>();
  #isStoragePaused = false;

  constructor(world: FaultWorld) {
    this.#world = world;
  }

  get count(): number {
    let all = 0;
    for (const count of this.counts.values()) all += count;
    return all;
  }

  happened(kind: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
  }

  /** One moment. Faults that a plan is without draw nothing: other plans stay what they are. */
  strike(): void {
    const { random, rates, agents, coordinators } = this.#world;
    const happens = (rate: number): boolean => random.chance((rate * faultEveryMs) / 1_000);
    const agent = random.pick(agents);
    const coordinator = random.pick(coordinators);
    if (happens(rates.agentCrashes) && agent.isUp) {
      this.happened("agent crash");
      this.#world.restart(agent, !random.chance(rates.filesLost));
    }
    if (happens(rates.agentPauses)) {
      this.happened("agent pause");
      agent.pause(random.between(500, 25_000));
    }
    if (happens(rates.linkBreaks)) this.#breakLink(agent);
    if (happens(rates.coordinatorCrashes) && coordinator.isAlive) this.#crash(coordinator);
    if (happens(rates.coordinatorPauses)) {
      this.happened("coordinator pause");
      coordinator.pause(random.between(300, 9_000));
    }
    if (rates.coordinatorFreezes > 0 && happens(rates.coordinatorFreezes)) {
      this.happened("coordinator freeze");
      coordinator.freeze(random.between(2_000, 12_000));
    }
    if (happens(rates.outages)) this.#outage();
    if (happens(rates.workerKills)) this.#killWorker(agent);
    if (happens(rates.diskFull) && agent.isUp) this.#fillDisk(agent);
    if (happens(rates.storagePauses)) this.#pauseStorage();
    if (happens(rates.drains) && agent.isUp) {
      this.happened("drain");
      agent.feed({ kind: "drainAsked", deadlineMs: random.between(0, 5_000) });
    }
    if (rates.partitions > 0 && happens(rates.partitions)) this.#cut(agent, coordinator);
    if (rates.clockJumps > 0 && happens(rates.clockJumps)) {
      this.happened("clock jump");
      const byMs = random.chance(0.5) ? random.between(500, 20_000) : random.between(20_000, 3_600_000);
      coordinator.setClock(random.chance(0.5) ? byMs : -byMs);
    }
  }

  #crash(coordinator: SimCoordinator): void {
    const { time, random } = this.#world;
    this.happened("coordinator crash");
    coordinator.crash();
    time.after(random.between(100, 8_000), () => {
      if (!coordinator.isAlive) coordinator.start();
    });
  }

  #outage(): void {
    const { time, random, store } = this.#world;
    if (store.isAway) return;
    this.happened("outage");
    store.isAway = true;
    time.after(random.between(200, 9_000), () => void (store.isAway = false));
  }

  #fillDisk(agent: SimAgent): void {
    const { time, random } = this.#world;
    this.happened("disk full");
    agent.feed({ kind: "diskLevel", level: random.chance(0.5) ? "full" : "limit" });
    time.after(random.between(500, 5_000), () => agent.feed({ kind: "diskLevel", level: "ok" }));
  }

  #pauseStorage(): void {
    const { time, random } = this.#world;
    if (this.#isStoragePaused) return;
    this.happened("storage pause");
    this.#isStoragePaused = true;
    this.#world.setStorage("pause");
    time.after(random.between(500, 5_000), () => {
      this.#isStoragePaused = false;
      this.#world.setStorage("ok");
    });
  }

  #breakLink(agent: SimAgent): void {
    const { random, isGentle } = this.#world;
    const noticed = (): number => (!isGentle && random.chance(0.3) ? silentBreakMs : 50);
    if (agent.link !== undefined) this.happened("link break");
    agent.link?.break({ agent: noticed(), leader: noticed() });
  }

  /** Two of the three that talk: one way or both. */
  #cut(agent: SimAgent, coordinator: SimCoordinator): void {
    const { random, partitions } = this.#world;
    const [one, other] = random.pick([
      [agent.node, coordinator.name],
      [agent.node, nats],
      [coordinator.name, nats],
    ] as const);
    const ms = random.between(500, 25_000);
    const way = random.int(0, 2);
    this.happened(way === 2 ? "partition" : "one-way partition");
    if (way !== 1) partitions.cut(one, other, ms);
    if (way !== 0) partitions.cut(other, one, ms);
  }

  /** Every so many items a bad machine kills a worker; an item that ends well elsewhere. */
  isKilledByHost(agent: SimAgent, job: JobId, index: number): boolean {
    const { crashEvery } = agent.plan;
    if (crashEvery === undefined) return false;
    const ran = (this.#ranOn.get(agent) ?? 0) + 1;
    this.#ranOn.set(agent, ran);
    const item = `${job}/${index}`;
    if (ran % crashEvery !== 0 || this.#killed.has(item)) return false;
    if (this.#world.clients.get(job)?.plan.fates.has(index) !== false) return false;
    this.#killed.add(item);
    this.happened("worker kill");
    return true;
  }

  /**
   * On one node each second worker of a job fails to load its task, once it has given a value: elsewhere it goes on. By
   * the seed and the order of things alone: nothing is drawn.
   */
  loads(agent: SimAgent, job: JobId, code: string): Load {
    const { failsToLoad, hasValue } = this.#world;
    if (!failsToLoad(agent)) return "well";
    const key = `${agent.node}/${job}/${code}`;
    const loads = (this.#loads.get(key) ?? 0) + 1;
    this.#loads.set(key, loads);
    if (loads % 2 !== 0 || !hasValue(job)) return "well";
    this.happened("task not loaded");
    return loads % 4 === 0 ? "dies" : "raises";
  }

  /** A death without cause; each item meets at most one, since two are a verdict. */
  #killWorker(agent: SimAgent): void {
    const { random, clients } = this.#world;
    const workers = [...(agent.pool?.workers.values() ?? [])].filter((worker) => worker.isAlive);
    if (workers.length === 0) return;
    const worker = random.pick(workers);
    const running = worker.begun.find((file) => file.isRunning);
    if (running === undefined || worker.phase !== "item") return;
    const index = running.start + running.items;
    const item = `${running.job}/${index}`;
    if (this.#killed.has(item) || clients.get(running.job)?.plan.fates.has(index)) return;
    this.#killed.add(item);
    this.happened("worker kill");
    worker.die();
  }
}
