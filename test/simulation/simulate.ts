/**
 * One simulated cluster by seed: the real cores of coordinator and agents on simulated time, network, NATS and
 * workers, with faults. Throws with what broke; the seed replays it (replay.ts).
 */
import type { JobId, JobSpec, NodeId } from "@everycore/protocol";
import { isEnded } from "@everycore/protocol";
import { AgentNode } from "./agent-node.ts";
import type { World } from "./agent-node.ts";
import { checkEnd } from "./checker.ts";
import type { Faults, Workload } from "./faults.ts";
import { drawFaults, drawWorkload } from "./faults.ts";
import { LeaderNode } from "./leader-node.ts";
import { NatsWorld } from "./nats-world.ts";
import { Random } from "./prng.ts";
import { Timeline } from "./timeline.ts";

/** After the faults have stopped, everything must end within this and three times the work on one slot (P5). */
const settleMs = 120_000;
const leaderAwayMs = 3_000;
/** The seed decides so often whether something goes wrong. */
const misfortuneMs = 250;

export interface Report {
  readonly steps: number;
  readonly faults: number;
  readonly simulatedMs: number;
  readonly records: number;
  readonly takeovers: number;
}

const job = "5eed5eed5eed5eed5eed" as JobId;

class Simulation {
  readonly random: Random;
  readonly faults: Faults;
  readonly workload: Workload;
  readonly time = new Timeline();
  readonly nats: NatsWorld;
  readonly agents = new Map<NodeId, AgentNode>();
  readonly starts: number[];
  leader: LeaderNode | undefined;
  steps = 0;
  faultCount = 0;
  takeovers = 0;
  #cancelled = false;
  #retried = false;
  /** Only the leader died and links broke: no item has a reason to start twice. */
  #gentle = true;
  #gone = 0;
  #rounds = 1;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.faults = drawFaults(this.random);
    this.workload = drawWorkload(this.random);
    this.starts = Array.from({ length: this.workload.items }, () => 0);
    this.nats = new NatsWorld({ time: this.time, random: this.random, faults: this.faults });
    const world: World = {
      time: this.time,
      nats: this.nats,
      random: this.random,
      workload: this.workload,
      leader: () => this.leader,
      started: (index) => {
        this.starts[index]! += 1;
      },
    };
    for (let at = 0; at < this.workload.nodes; at += 1) {
      const id = `${at}`.padStart(16, "0").replace(/^0/, "a") as NodeId;
      this.agents.set(id, new AgentNode(id, this.workload.slotsPerNode[at]!, world));
    }
  }

  run(): Report {
    this.#lead();
    for (const agent of this.agents.values()) agent.start(true);
    this.#submit();
    this.time.after(misfortuneMs, () => this.#misfortune());
    const { cancelAtMs } = this.workload;
    if (cancelAtMs !== undefined) this.time.after(cancelAtMs, () => this.#cancel());
    const latestMs = this.faults.untilMs + settleMs + 3 * this.workload.items * this.workload.itemMs;
    while (!this.#isOver()) {
      if (!this.time.next()) throw new Error("P5: nothing is left to happen, and the job has not ended");
      if (this.time.now > latestMs) throw new Error(`P5: not ended: ${this.#story()}`);
    }
    const leader = this.leader!;
    leader.check("the end");
    const fold = leader.state.jobs.get(job)!.fold;
    const { lossShare, duplicateShare } = this.faults;
    const gentle =
      this.#gentle && lossShare === 0 && duplicateShare === 0 && this.workload.cancelAtMs === undefined;
    checkEnd(this.nats.log, fold, this.workload, {
      cancelled: this.#cancelled,
      starts: this.starts,
      startsOnce: gentle ? this.#rounds : undefined,
    });
    let steps = this.steps + leader.steps;
    for (const agent of this.agents.values()) steps += agent.steps;
    return {
      steps,
      faults: this.faultCount,
      simulatedMs: this.time.now,
      records: this.nats.log.length,
      takeovers: this.takeovers,
    };
  }

  #lead(): void {
    this.leader = new LeaderNode({ time: this.time, nats: this.nats, agents: this.agents });
    this.leader.start(this.takeovers === 0 ? [] : [...this.agents.keys()]);
  }

  #submit(): void {
    const { workload } = this;
    const spec: JobSpec = {
      name: "simulated",
      task: {
        runtime: "js",
        bundle: "0".repeat(64) as never,
        seed: "0".repeat(16),
        rangeStart: 0,
        retries: workload.retries,
      },
      codec: workload.blocks ? "json" : "range",
      ...(workload.blocks ? {} : { rangeItems: workload.items }),
      priority: 0,
      strict: false,
      ttlMs: 0,
    };
    this.leader!.tell({ kind: "jobSubmitted", id: job, user: "local", spec, segment: "s1" as never, ask: 1 });
    const blockItems = 97;
    let at = 0;
    const input = (): void => {
      // The shell appends blocks once the job's record is there; each is there once, by expected sequence.
      if (!this.nats.records.has(job)) return this.time.after(50, input);
      if (this.nats.isOut) return this.time.after(50, input);
      if (!workload.blocks || at >= workload.items) {
        this.nats.append({ kind: "close", job, total: workload.items });
        return;
      }
      const count = Math.min(blockItems, workload.items - at);
      this.nats.append({
        kind: "input",
        job,
        first: at,
        count,
        codec: "json",
        piece: 0,
        pieces: 1,
        bytes: 1_000,
      });
      at += count;
      this.time.after(this.random.int(1, 200), input);
    };
    this.time.after(this.nats.delay(), input);
  }

  #cancel(): void {
    const state = this.leader?.state.jobs.get(job);
    // A cancel of a job whose input is still coming is another test's subject: here its items would never be.
    if (state === undefined || state.fold.total === undefined || isEnded(state.state)) return;
    this.#cancelled = true;
    this.leader!.tell({ kind: "cancelAsked", job, message: "cancelled", ask: 2 });
    this.#afterCommand();
  }

  /** A leader that dies while an intent is under way leaves it to the next. */
  #afterCommand(): void {
    if (!this.faults.leaderDiesAfterCommand) return;
    this.time.after(this.random.float() * 20, () => {
      if (this.leader !== undefined) this.#crashLeader();
    });
  }

  #misfortune(): void {
    if (this.time.now >= this.faults.untilMs) return this.#calm();
    const { faults, random } = this;
    const happens = (share: number): boolean => {
      const yes = random.chance(share);
      if (yes) this.faultCount += 1;
      return yes;
    };
    if (this.leader !== undefined && happens(faults.leaderCrashShare)) this.#crashLeader();
    for (const agent of this.agents.values()) {
      if (!agent.isAlive) continue;
      if (happens(faults.agentCrashShare / this.agents.size)) this.#crashAgent(agent);
      else if (happens(faults.linkBreakShare / this.agents.size)) agent.breakLink();
      else if (happens(faults.workerCrashShare / this.agents.size)) {
        this.#gentle = false;
        agent.killSome();
      }
    }
    if (!this.nats.isOut && happens(faults.natsOutageShare)) {
      this.#gentle = false;
      this.nats.isOut = true;
      this.time.after(random.int(500, 6_000), () => {
        this.nats.isOut = false;
      });
    }
    this.time.after(misfortuneMs, () => this.#misfortune());
  }

  #crashLeader(): void {
    this.steps += this.leader!.steps;
    this.leader!.isAlive = false;
    this.leader = undefined;
    this.takeovers += 1;
    this.time.after(leaderAwayMs, () => this.#lead());
  }

  #crashAgent(agent: AgentNode): void {
    this.#gentle = false;
    agent.crash();
    if (this.#gone < this.faults.agentsGoneMax) {
      this.#gone += 1;
      return;
    }
    const withFiles = !this.random.chance(this.faults.agentFilesLostShare);
    this.time.after(this.random.pick([500, 3_000, 30_000]), () => agent.start(withFiles));
  }

  #calm(): void {
    this.nats.isOut = false;
  }

  /** The job has ended, once or, when asked for, after a retry too; and faults are over or were never needed. */
  #isOver(): boolean {
    const state = this.leader?.state.jobs.get(job);
    if (state === undefined || state.phase === "folding" || !isEnded(state.state) || state.putting)
      return false;
    if (this.#retried || !this.workload.retryAfterEnd) return true;
    this.#retried = true;
    const counts = state.fold.counts();
    if (counts.value === this.workload.items) return true;
    // Whatever was cancelled runs in the new round: only failures of the items themselves may remain.
    this.#cancelled = false;
    this.leader!.tell({ kind: "retryAsked", job, ask: 3 });
    this.#rounds = 2;
    this.#afterCommand();
    return false;
  }

  #story(): string {
    const state = this.leader?.state.jobs.get(job);
    if (state === undefined) return "no leader";
    const queues = Object.entries(state.queues).map(([name, set]) => `${name} ${set.size}`);
    const leases = [...state.leases.values()].map(
      (lease) => `${lease.grant.node}:${lease.state}:${lease.open.size}`,
    );
    const nodes = [...this.leader!.state.nodes.values()].map(
      (node) => `${node.id}=${node.state}${node.deferred ? "(deferred)" : ""}`,
    );
    return `${state.state}/${state.phase}, covered ${state.fold.covered.size} of ${this.workload.items}, ${queues.join(", ")}, leases ${leases.join(" ")}, reserved ${state.reserved}, nodes ${nodes.join(" ")}, sealing ${state.sealing.size}`;
  }
}

export function simulate(seed: number): Report {
  const simulation = new Simulation(seed);
  try {
    return simulation.run();
  } catch (error) {
    const at = simulation.time.now.toFixed(0);
    throw new Error(
      `seed ${seed} at ${at} ms: ${error instanceof Error ? error.message : String(error)}\n  replay: node test/simulation/replay.ts ${seed}`,
      { cause: error },
    );
  }
}
