/**
 * One life of a coordinator: the real core, its effects on the simulated world. A crash forgets all of it; the
 * next life begins from records and the log alone.
 */
import type { JobRecord, LeaseReply, LogRecord, NodeId } from "@everycore/protocol";
import { jobKeyOf, leaseIdOf, leaseVerifier } from "@everycore/protocol";
import type { ClusterState, Effect, Event, Keys, NodeReport } from "@everycore/coordinator/core";
import { checkInvariants, newCluster, step } from "@everycore/coordinator/core";
import type { AgentNode } from "./agent-node.ts";
import type { NatsWorld } from "./nats-world.ts";
import type { Timeline } from "./timeline.ts";

const clusterKey = Buffer.alloc(32, 7);
export const verify = leaseVerifier(clusterKey);
export const keys: Keys = {
  leaseId: (job, grant) => leaseIdOf(jobKeyOf(clusterKey, job), grant),
  verify,
};

type WithoutTime<T> = T extends unknown ? Omit<T, "at"> : never;

/** Steps between two checks of the whole state; cheap runs check each step. */
const checkEvery = 7;

export class LeaderNode {
  readonly state: ClusterState = newCluster();
  isAlive = true;
  steps = 0;
  readonly #time: Timeline;
  readonly #nats: NatsWorld;
  readonly #agents: ReadonlyMap<NodeId, AgentNode>;
  /** Records of the leader keep their order: the next is published when the one before is acknowledged. */
  readonly #appends: LogRecord[] = [];
  #appending = false;
  #revisions = new Map<string, number>();

  constructor(parts: { time: Timeline; nats: NatsWorld; agents: ReadonlyMap<NodeId, AgentNode> }) {
    this.#time = parts.time;
    this.#nats = parts.nats;
    this.#agents = parts.agents;
  }

  start(knownNodes: readonly NodeId[]): void {
    this.#nats.epoch += 1;
    this.tell({ kind: "elected", epoch: this.#nats.epoch, knownNodes });
    for (const [id, { record, revision }] of this.#nats.records) {
      this.#revisions.set(id, revision);
      this.tell({ kind: "jobRecovered", record, lastSeq: this.#nats.lastSeq(id) });
    }
    this.tell({ kind: "recovered" });
    this.#nats.follow(
      ({ seq, record }) => this.tell({ kind: "logRecord", job: record.job, seq, record }),
      () => this.isAlive,
    );
    this.#tick();
  }

  #tick(): void {
    if (!this.isAlive) return;
    this.tell({ kind: "tick" });
    this.#time.after(200, () => this.#tick());
  }

  tell(event: WithoutTime<Event>): void {
    if (!this.isAlive) return;
    const effects = step(this.state, keys, { at: this.#time.now, ...event });
    this.steps += 1;
    if (this.steps % checkEvery === 0) this.check(event.kind);
    for (const effect of effects) this.#perform(effect);
  }

  check(after: string): void {
    const broken = checkInvariants(this.state);
    if (broken.length > 0) throw new Error(`leader, after ${after}: ${broken[0]}`);
  }

  report(report: NodeReport): void {
    this.tell({ kind: "nodeReported", report });
  }

  #perform(effect: Effect): void {
    const node = "node" in effect ? this.#agents.get(effect.node) : undefined;
    switch (effect.kind) {
      case "putJob":
        return this.#put(effect.record);
      case "appendRecord":
        this.#appends.push(effect.record);
        return this.#append();
      case "sendLease":
        return this.#sendLease(effect);
      case "sendGiveBack":
        return node?.fromLeader(this, { kind: "giveBackAsked", job: effect.job, wantMs: effect.wantMs });
      case "confirmGaveBack": {
        const { job, lease, ranges } = effect;
        return node?.fromLeader(this, { kind: "giveBackConfirmed", job, lease, ranges });
      }
      case "sendCancel":
        return node?.fromLeader(this, { kind: "cancelled", job: effect.job });
      case "sendJobEnded":
        return node?.fromLeader(this, { kind: "jobEnded", job: effect.job });
      case "dropLeases":
        return node?.fromLeader(this, { kind: "leasesDropped", leases: effect.leases });
      case "mayStart":
        return node?.fromLeader(this, { kind: "mayStart", ask: effect.ask });
      case "closeLink":
        return node?.breakLink();
      case "stepDown":
        throw new Error(`leader steps down: ${effect.reason}`);
      case "deleteJob":
      case "sendDrain":
      case "putNode":
      case "deleteNode":
      case "answer":
      case "jobChanged":
      case "nodeChanged":
        return;
    }
  }

  #put(record: JobRecord): void {
    const attempt = (): void => {
      if (!this.isAlive) return;
      if (this.#nats.isOut) return this.#time.after(200, attempt);
      const known = this.#nats.records.get(record.id);
      if ((known?.revision ?? 0) !== (this.#revisions.get(record.id) ?? 0)) {
        return this.tell({ kind: "jobStoreFailed", job: record.id, message: "wrong revision" });
      }
      const revision = (known?.revision ?? 0) + 1;
      this.#nats.records.set(record.id, { record, revision });
      this.#revisions.set(record.id, revision);
      this.#time.after(this.#nats.delay(), () => this.tell({ kind: "jobStored", job: record.id }));
    };
    this.#time.after(this.#nats.delay(), attempt);
  }

  #append(): void {
    const [record] = this.#appends;
    if (this.#appending || record === undefined) return;
    this.#appending = true;
    this.#nats.publish(record, {
      isAlive: () => this.isAlive,
      acked: () => {
        this.#appends.shift();
        this.#appending = false;
        this.#append();
      },
    });
  }

  #sendLease(effect: Extract<Effect, { kind: "sendLease" }>): void {
    const { job, grant } = effect;
    const agent = this.#agents.get(effect.node);
    let answered = false;
    const answer = (reply: LeaseReply | undefined): void => {
      if (answered) return;
      answered = true;
      this.tell({ kind: "leaseAnswered", job, lease: grant.id, reply });
    };
    const epoch = this.state.epoch;
    const spec = this.state.jobs.get(job)?.spec;
    if (agent !== undefined && spec !== undefined) {
      this.#nats.send(() => {
        agent.lease({ effect, epoch, spec }, (reply) => this.#nats.send(() => answer(reply)));
      });
    }
    this.#time.after(1_000, () => answer(undefined));
  }
}
