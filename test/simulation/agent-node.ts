/**
 * A node: lives of an agent over one state directory, with simulated workers. What workers appended survives the
 * agent's death; a new life publishes it first, with a `lost` strike for what was running (DESIGN 8).
 */
import type { AgentEvent, AgentState, Effect, OutcomeRun } from "@everycore/node-agent/core";
import { checkInvariants, newAgent, step } from "@everycore/node-agent/core";
import type { Effect as LeaderEffect } from "@everycore/coordinator/core";
import type { JobId, JobSpec, LeaseGrant, LeaseReply, NodeId, SegmentId } from "@everycore/protocol";
import type { Workload } from "./faults.ts";
import type { LeaderNode } from "./leader-node.ts";
import type { NatsWorld } from "./nats-world.ts";
import type { Random } from "./prng.ts";
import { SimWorker } from "./sim-worker.ts";
import type { Timeline } from "./timeline.ts";

type WithoutTime<T> = T extends unknown ? Omit<T, "at"> : never;
type AgentTold = WithoutTime<AgentEvent>;

export interface World {
  readonly time: Timeline;
  readonly nats: NatsWorld;
  readonly random: Random;
  readonly workload: Workload;
  readonly leader: () => LeaderNode | undefined;
  /** Every start of an item, for the side effects that a task would have. */
  readonly started: (index: number) => void;
}

interface LeaseFacts {
  readonly effect: Extract<LeaderEffect, { kind: "sendLease" }>;
  readonly epoch: number;
  readonly spec: JobSpec;
}

export class AgentNode {
  readonly id: NodeId;
  isAlive = false;
  steps = 0;
  readonly #world: World;
  readonly #slots: number;
  #state: AgentState = newAgent({ slots: 1, runtimes: ["js"] });
  #life = 0;
  #workers = new Map<number, SimWorker>();
  #answers = new Map<number, (reply: LeaseReply) => void>();
  #asks = 0;
  /** The leader that this link leads to; undefined: broken. */
  #link: LeaderNode | undefined;
  #filesRecovered = true;

  constructor(id: NodeId, slots: number, world: World) {
    this.id = id;
    this.#slots = slots;
    this.#world = world;
  }

  get state(): AgentState {
    return this.#state;
  }

  /** A new life. `withFiles` false: its disk is gone. */
  start(withFiles: boolean): void {
    const former = this.#workers;
    this.#life += 1;
    this.isAlive = true;
    this.#workers = new Map();
    this.#answers.clear();
    this.#state = newAgent({ slots: this.#slots, runtimes: ["js"] });
    this.#filesRecovered = withFiles;
    const life = this.#life;
    const begin = (): void => {
      if (life !== this.#life) return;
      this.#connect();
      this.#tick();
    };
    if (!withFiles) return begin();
    this.#recover([...former.values()], begin);
  }

  /** Publishes what the files hold, then a strike for each running item; `done` once all is acknowledged. */
  #recover(workers: readonly SimWorker[], done: () => void): void {
    const life = this.#life;
    const records = workers.flatMap((worker) => worker.leftovers());
    let open = records.length;
    if (open === 0) return done();
    for (const record of records) {
      this.#world.nats.publish(record, {
        isAlive: () => life === this.#life && this.isAlive,
        acked: () => {
          open -= 1;
          if (open === 0) done();
        },
      });
    }
  }

  crash(): void {
    this.isAlive = false;
    this.breakLink();
    for (const worker of this.#workers.values()) worker.vanish();
  }

  breakLink(): void {
    const leader = this.#link;
    this.#link = undefined;
    const incarnation = String(this.#life);
    if (leader !== undefined) {
      this.#world.time.after(this.#world.nats.delay(), () =>
        leader.tell({ kind: "linkBroke", node: this.id, incarnation }),
      );
    }
    if (!this.isAlive) return;
    this.tell({ kind: "linkDown" });
    const life = this.#life;
    this.#world.time.after(this.#world.random.int(100, 2_000), () => {
      if (life === this.#life) this.#connect();
    });
  }

  #connect(): void {
    if (!this.isAlive || this.#link !== undefined) return;
    const leader = this.#world.leader();
    if (leader === undefined) {
      const life = this.#life;
      this.#world.time.after(500, () => {
        if (life === this.#life) this.#connect();
      });
      return;
    }
    this.#link = leader;
    this.tell({ kind: "linkUp" });
    this.#heartbeat(leader, this.#life);
  }

  #heartbeat(leader: LeaderNode, life: number): void {
    if (this.#link !== leader || life !== this.#life || !this.isAlive) return;
    if (!leader.isAlive) return this.breakLink();
    this.#toLeader(() => leader.tell({ kind: "nodeHeartbeat", node: this.id, busy: 0, diskFull: false }));
    this.#world.time.after(1_000, () => this.#heartbeat(leader, life));
  }

  /** The link is a stream: in order, and nothing of it arrives after it broke. */
  #toLeader(deliver: (leader: LeaderNode) => void): void {
    const leader = this.#link;
    if (leader === undefined) return;
    this.#outbox.push(() => {
      if (this.#link === leader) deliver(leader);
    });
    this.#world.time.after(this.#world.nats.delay(), () => this.#outbox.shift()?.());
  }
  readonly #outbox: (() => void)[] = [];
  readonly #inbox: (() => void)[] = [];

  fromLeader(leader: LeaderNode, event: AgentTold): void {
    if (this.#link !== leader) return;
    const life = this.#life;
    this.#inbox.push(() => {
      if (this.#link === leader && life === this.#life) this.tell(event);
    });
    this.#world.time.after(this.#world.nats.delay(), () => this.#inbox.shift()?.());
  }

  lease(facts: LeaseFacts, answer: (reply: LeaseReply) => void): void {
    if (!this.isAlive) return;
    const { effect, epoch, spec } = facts;
    this.#asks += 1;
    this.#answers.set(this.#asks, answer);
    const task = {
      runtime: spec.task.runtime,
      reduced: false,
      retries: spec.task.retries,
      itemTimeoutMs: undefined,
    };
    const { job, grant, attempts, mode, itemMs, tag } = effect;
    const lease = {
      epoch,
      job,
      segment: "s1" as SegmentId,
      task,
      grant,
      attempts,
      mode,
      itemMs,
      priority: 0,
      tag,
      partials: false,
    };
    this.tell({ kind: "leaseArrived", lease, ask: this.#asks, ready: effect.blocks === undefined });
  }

  #tick(): void {
    const life = this.#life;
    if (!this.isAlive) return;
    for (const worker of this.#workers.values()) this.#see(worker);
    this.tell({ kind: "tick" });
    this.#world.time.after(50, () => {
      if (life === this.#life) this.#tick();
    });
  }

  #see(worker: SimWorker): void {
    const seen = worker.takeSeen();
    if (seen.length > 0) this.tell({ kind: "outcomesSeen", worker: worker.id, seen });
  }

  tell(event: AgentTold): void {
    if (!this.isAlive) return;
    const effects = step(this.#state, { at: this.#world.time.now, ...event });
    this.steps += 1;
    if (this.steps % 5 === 0) checkInvariants(this.#state);
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: Effect): void {
    const { time, nats } = this.#world;
    const life = this.#life;
    const later = (ms: number, run: () => void): void =>
      time.after(ms, () => {
        if (life === this.#life && this.isAlive) run();
      });
    switch (effect.kind) {
      case "answerLease":
        this.#answers.get(effect.ask)?.(effect.reply);
        this.#answers.delete(effect.ask);
        return;
      case "fetchInput":
        return later(nats.delay() * 2, () =>
          this.tell({ kind: "inputReady", job: effect.job, lease: effect.lease }),
        );
      case "startWorker":
        return this.#startWorker(effect.worker, effect.slot);
      case "sendTask":
        return this.#workers.get(effect.worker)?.whenReady(() =>
          later(3, () => {
            this.#workers.get(effect.worker)?.load();
            this.tell({ kind: "workerLoaded", worker: effect.worker });
          }),
        );
      case "sendSlice":
        return this.#sendSlice(effect);
      case "setLimit":
        return this.#workers.get(effect.worker)?.setLimit(effect.slice, effect.limit);
      case "readCursor":
        return later(effect.cut ? 2 : 0, () => {
          const worker = this.#workers.get(effect.worker);
          if (worker === undefined || worker.isDead) return;
          const { phase, sights } = worker;
          this.tell({ kind: "cursorRead", worker: worker.id, phase, sights, cut: effect.cut });
        });
      case "killGroup":
        return this.#workers.get(effect.worker)?.die(1);
      case "publishCommit":
        return nats.publish(effect.record, {
          isAlive: () => life === this.#life && this.isAlive && this.#state.commits.has(effect.commit),
          acked: (seq) => this.tell({ kind: "commitAcked", commit: effect.commit, seq }),
        });
      case "publishStrike":
        return nats.publish(effect.record, {
          isAlive: () => life === this.#life && this.isAlive && this.#state.strikes.has(effect.strike),
          acked: (seq) => this.tell({ kind: "strikeAcked", strike: effect.strike, seq }),
        });
      case "freeOutcomes":
        for (const worker of this.#workers.values()) worker.free(effect.runs);
        return;
      case "hello":
        return this.#hello(effect);
      default:
        return this.#performLink(effect);
    }
  }

  #performLink(effect: Effect): void {
    switch (effect.kind) {
      case "gaveBack": {
        const { job, grant, ranges } = effect;
        return this.#toLeader((leader) =>
          leader.tell({ kind: "gaveBack", node: this.id, job, grant, ranges }),
        );
      }
      case "starving":
        return this.#toLeader((leader) =>
          leader.tell({ kind: "starving", node: this.id, slots: effect.slots }),
        );
      case "sliceStarting": {
        const { job, grant, range, ask } = effect;
        return this.#toLeader((leader) =>
          leader.tell({ kind: "sliceStarting", node: this.id, job, lease: grant.id, range, ask }),
        );
      }
      case "taskFailed":
        throw new Error("a task failed to load in the simulator");
      default:
        return;
    }
  }

  #startWorker(id: number, slot: number): void {
    const life = this.#life;
    const { time, workload, random } = this.#world;
    const alive = (): boolean => life === this.#life && this.isAlive;
    const worker: SimWorker = new SimWorker(
      { id, slot, time, workload, started: this.#world.started },
      {
        ended: (slice, at, busyMs) => {
          if (!alive()) return;
          this.#see(worker);
          this.tell({ kind: "sliceEnded", worker: id, slice, ended: at, busyMs, cpuMs: busyMs });
        },
        died: () => {
          if (!alive()) return;
          this.#see(worker);
          const { phase, sights } = worker;
          this.tell({ kind: "workerDied", worker: id, phase, sights, detail: { signal: "SIGKILL" } });
        },
      },
    );
    this.#workers.set(id, worker);
    time.after(random.int(20, 60), () => {
      if (!alive() || worker.isDead) return;
      this.tell({ kind: "workerReady", worker: id });
      worker.becomeReady();
    });
  }

  #sendSlice(effect: Extract<Effect, { kind: "sendSlice" }>): void {
    const job = this.#state.jobs.get(effect.job);
    const grant = job?.leases.get(effect.lease)?.grant;
    if (job === undefined || grant === undefined) return;
    const { slice, start, end, attempts } = effect;
    const head = {
      job: job.id,
      epoch: job.epoch,
      grant: grant as LeaseGrant,
      attempts,
      retries: job.task.retries,
    };
    this.#workers.get(effect.worker)?.give({ slice, start, end, head });
  }

  #hello(effect: Extract<Effect, { kind: "hello" }>): void {
    const report = {
      node: this.id,
      host: this.id,
      machine: this.id,
      slots: this.#slots,
      runtimes: ["js"],
      incarnation: String(this.#life),
      epochSeen: effect.epoch,
      leases: effect.leases,
      accepted: effect.accepted,
      filesRecovered: this.#filesRecovered,
      acknowledged: new Map<JobId, number>(effect.acknowledged),
    };
    this.#toLeader((leader) => {
      leader.report(report);
      this.fromLeader(leader, {
        kind: "welcomed",
        epoch: leader.state.epoch,
        nodes: this.#world.workload.nodes,
        drop: [],
      });
    });
  }

  /** A random worker of this node dies by itself. */
  killSome(): void {
    const running = [...this.#workers.values()].filter((worker) => worker.isRunning);
    if (running.length > 0) this.#world.random.pick(running).die(0);
  }

  get hasOutcomes(): readonly OutcomeRun[] {
    return [...this.#workers.values()].flatMap((worker) => worker.kept);
  }
}
