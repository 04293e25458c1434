/**
 * A coordinator around the real core: campaigns for the leader's key, takes over from records, follows the log,
 * performs effects on the simulated store and links. It crashes, comes back with nothing in memory, and stands
 * still, as a process does. Its shell's rules are those of packages/coordinator (J1-J3, W1, W2, L1, L2, L6, K1, O1).
 */
import type { ClusterState, Effect, Event, NodeReport } from "@everycore/coordinator/core";
import { EventClock, newCluster, step } from "@everycore/coordinator/core";
import type { JobId, JobRecord, NodeId } from "@everycore/protocol";
import { times } from "@everycore/protocol";
import type { CoordinatorWorld, Peer, WorldEvent } from "./coordinator-world.ts";
import type { Link } from "./link.ts";
import type { FoundLogs } from "./log-tails.ts";
import { findLogs, saveCheckpoint, SimTails } from "./log-tails.ts";
import { SimNodeWriter } from "./node-writer.ts";
import { nats } from "./partitions.ts";
import { simSegment } from "./store.ts";
import { startsAtMs } from "./timeline.ts";
import { SimWriter } from "./log-writer.ts";

const campaignMs = 250;
const tickMs = 200;
/** So often that most takeovers find checkpoints, of all ages. */
const pace = { records: 20, ms: 300 };
/** A request of a campaign that is sent lands within this time or never. */
const putSlowMs = 900;
/** A put of a job's record may land long after its sender's epoch is over (J3). */
const latePutMs = 8_000;

export class SimCoordinator {
  readonly name: string;
  state: ClusterState = newCluster(pace);
  isAlive = false;
  isLeading = false;
  isPaused = false;
  epoch = 0;
  #term = 0;
  #incarnation = 0;
  #lastRenewal = 0;
  #queue: WorldEvent[] = [];
  #tails: SimTails | undefined;
  #nodes: SimNodeWriter | undefined;
  #stopWatching: () => void = () => {};
  /** What its machine's clock is ahead of ours. */
  #clockMs = 0;
  #clock = new EventClock();
  #isCampaigning = false;
  readonly #revisions = new Map<JobId, number>();
  readonly #writer: SimWriter;
  readonly #asks = new Set<number>();
  readonly links = new Map<
    NodeId,
    { readonly link: Link; readonly peer: Peer; readonly incarnation: string }
  >();
  readonly #world: CoordinatorWorld;

  constructor(name: string, world: CoordinatorWorld) {
    this.name = name;
    this.#world = world;
    this.#writer = new SimWriter(name, world.store);
  }

  start(): void {
    this.isAlive = true;
    this.#isCampaigning = false;
    this.#clock = new EventClock();
    this.#incarnation += 1;
    const incarnation = this.#incarnation;
    this.#world.time.every(campaignMs, () => {
      if (!this.#is(incarnation)) return false;
      if (!this.isLeading && !this.isPaused && !this.#isCampaigning) this.#campaign(incarnation);
      return true;
    });
  }

  #is(incarnation: number): boolean {
    return this.isAlive && this.#incarnation === incarnation;
  }

  crash(): void {
    if (!this.isAlive) return;
    this.#endTerm({ agent: this.#world.breaksSilently() ? 15_000 : 50, leader: 0 });
    this.isAlive = false;
    this.isPaused = false;
  }

  /** Its machine is suspended: the process stands still, and its clock with it. L2 is of no help then. */
  freeze(ms: number): void {
    this.#standStill(ms, ms);
  }

  pause(ms: number): void {
    this.#standStill(ms, 0);
  }

  /** Somebody sets the clock of its machine. */
  setClock(byMs: number): void {
    this.#clockMs += byMs;
  }

  #standStill(ms: number, unnoticedMs: number): void {
    if (!this.isAlive || this.isPaused) return;
    const incarnation = this.#incarnation;
    this.isPaused = true;
    this.#world.time.after(ms, () => {
      if (!this.#is(incarnation)) return;
      this.isPaused = false;
      this.#lastRenewal += unnoticedMs;
      // L2: its timers come first when it goes on.
      if (this.isLeading && this.#isTooOld()) this.stepDown();
      const queue = this.#queue;
      this.#queue = [];
      if (this.isLeading) for (const event of queue) this.feed(event);
    });
  }

  #isTooOld(): boolean {
    return this.#world.time.now - this.#lastRenewal > times.leaderTtlMs - 1_000;
  }

  #campaign(incarnation: number): void {
    const { store, time } = this.#world;
    const sentAt = time.now;
    const goesOn = (): boolean => this.#is(incarnation) && !this.isLeading && !this.isPaused;
    this.#isCampaigning = true;
    const from = this.name;
    store.request({
      from,
      act: () => store.holdLeader(this.#who()),
      answer: (held) => {
        if (!this.#is(incarnation)) return;
        this.#isCampaigning = held === true && goesOn();
        if (held !== true || !goesOn()) return;
        store.request({
          from,
          act: () => store.raiseEpoch(),
          answer: (epoch) => {
            if (this.#is(incarnation)) this.#isCampaigning = false;
            if (epoch === undefined || !goesOn() || time.now - sentAt > times.leaderTtlMs - 1_000) return;
            this.#serve(epoch, sentAt);
          },
          slowMs: putSlowMs,
        });
      },
      slowMs: putSlowMs,
    });
  }

  #who(): string {
    return `${this.name}.${this.#incarnation}`;
  }

  #serve(epoch: number, renewedAt: number): void {
    const { time, store } = this.#world;
    this.isLeading = true;
    this.epoch = epoch;
    this.#term += 1;
    this.#lastRenewal = renewedAt;
    this.state = newCluster(pace);
    const goesOn = this.#inTerm();
    time.every(times.leaderRenewMs, () => {
      if (!goesOn()) return false;
      const sentAt = time.now;
      if (this.isPaused) return true;
      store.request({
        from: this.name,
        act: () => store.renewLeader(this.#who(), epoch),
        answer: (held) => {
          if (!goesOn() || this.isPaused) return;
          if (held === true) this.#lastRenewal = sentAt;
          else if (held === false) this.stepDown();
        },
        slowMs: putSlowMs,
      });
      return true;
    });
    time.every(50, () => {
      if (goesOn() && !this.isPaused && this.#isTooOld()) this.stepDown();
      return goesOn();
    });
    time.every(tickMs, () => {
      if (goesOn() && !this.isPaused && this.state.leading) this.feed({ kind: "tick" });
      return goesOn();
    });
    this.#takeOver(goesOn);
  }

  #inTerm(): () => boolean {
    const term = this.#term;
    return () => this.isAlive && this.isLeading && this.#term === term;
  }

  /** Reads from the store until it is answered. */
  #read<T>(goesOn: () => boolean, act: () => T, then: (result: T) => void): void {
    this.#world.store.request({
      from: this.name,
      act,
      answer: (result) => {
        if (!goesOn()) return;
        if (result === undefined)
          this.#world.time.after(100, () => goesOn() && this.#read(goesOn, act, then));
        else then(result);
      },
      slowMs: putSlowMs,
    });
  }

  #takeOver(goesOn: () => boolean): void {
    const { store, time } = this.#world;
    this.#read(
      goesOn,
      () => new Map(store.nodes),
      (listed) => {
        const knownNodes = [...listed.values()].flatMap(({ record }) => record ?? []);
        const { epoch } = this;
        const stepDown = (): void => this.stepDown();
        this.#nodes = new SimNodeWriter({ from: this.name, store, time, epoch, listed, goesOn, stepDown });
        this.feed({ kind: "elected", epoch, knownNodes });
        this.#read(
          goesOn,
          () => this.#listJobs(goesOn),
          (jobs) => {
            this.#revisions.clear();
            for (const { record, revision } of jobs) this.#revisions.set(record.id, revision);
            const records = jobs.map(({ record }) => record);
            const found = (): FoundLogs => findLogs(store, records);
            this.#read(goesOn, found, ({ all, after }) => {
              for (const one of all) this.feed({ kind: "jobRecovered", ...one });
              if (!goesOn()) return;
              this.#follow(goesOn, after);
              this.feed({ kind: "recovered" });
            });
          },
        );
      },
    );
  }

  /** J3: watched from the moment of the list on. */
  #listJobs(goesOn: () => boolean): { record: JobRecord; revision: number }[] {
    const { store, time, random } = this.#world;
    this.#stopWatching();
    this.#stopWatching = store.watchJobs((record) => {
      if (record.epoch === this.epoch) return;
      const heard = (): void => {
        if (!goesOn()) return;
        if (this.#hears()) this.stepDown();
        else time.after(200, heard);
      };
      time.after(random.between(0.2, 50), heard);
    });
    return [...store.jobs.values()];
  }

  #follow(goesOn: () => boolean, after: number): void {
    const { time, random, store, slowTail } = this.#world;
    this.#tails?.close();
    this.#tails = new SimTails({
      time,
      random,
      store,
      slowTail,
      goesOn,
      hears: () => this.#hears(),
      onRecord: ({ seq, at, record }) => {
        const storedAt = startsAtMs + at;
        this.feed({ kind: "logRecord", job: record.job, segment: simSegment, seq, storedAt, record });
      },
    });
    this.#tails.openSegment(after);
  }

  #readLog(job: JobId, goesOn: () => boolean): void {
    const tails = this.#tails;
    if (tails?.claimJob(job) !== true) return;
    const { store } = this.#world;
    this.#read(
      goesOn,
      () => store.lastSeq(job),
      (lastSeq) => {
        this.feed({ kind: "logOpened", job, lastSeq });
        if (goesOn()) tails.openJob(job);
      },
    );
  }

  #hears(): boolean {
    return this.#world.partitions.passes(nats, this.name);
  }

  stepDown(): void {
    this.#endTerm({ agent: 50, leader: 0 });
  }

  #endTerm(noticedMs: { agent: number; leader: number }): void {
    this.isLeading = false;
    this.#term += 1;
    this.#tails?.close();
    this.#tails = undefined;
    this.#nodes = undefined;
    this.#stopWatching();
    this.#queue = [];
    this.#writer.clear();
    for (const { link } of this.links.values()) link.break(noticedMs);
    this.links.clear();
    this.state = newCluster(pace);
    for (const ask of this.#asks) this.#world.unanswered(ask);
    this.#asks.clear();
  }

  feed(event: WorldEvent): void {
    if (!this.isAlive || !this.isLeading) return;
    if (this.isPaused) return void this.#queue.push(event);
    const { now } = this.#world.time;
    const at = this.#clock.at({ wall: startsAtMs + now + this.#clockMs, steady: now });
    const timed = { at, ...event } as Event;
    const effects = step(this.state, this.#world.keys, timed);
    this.#world.stepped(this, timed, effects);
    const goesOn = this.#inTerm();
    for (const effect of effects) if (goesOn()) this.#perform(effect);
  }

  /** A client's command; answered, or `unanswered` when the term ends before. */
  ask(ask: number, event: WorldEvent): void {
    if (!this.isAlive || !this.isLeading || !this.state.recovered) return this.#world.unanswered(ask);
    this.#asks.add(ask);
    this.feed(event);
  }

  #perform(effect: Effect): void {
    const { store, time, random } = this.#world;
    const goesOn = this.#inTerm();
    switch (effect.kind) {
      case "putJob":
        return this.#put(effect.record, goesOn);
      case "deleteJob":
        store.jobs.delete(effect.job);
        return;
      case "appendRecord":
        return this.#writer.append(effect.record, goesOn);
      case "saveCheckpoint":
        return saveCheckpoint(this.#world, effect.checkpoint);
      case "dropCheckpoint":
        return time.after(random.between(1, 500), () => void store.checkpoints.delete(effect.job));
      case "readLog":
        return this.#readLog(effect.job, goesOn);
      case "sendLease":
        return this.#world.sendLease(this, effect, (reply) => {
          if (goesOn()) this.feed({ kind: "leaseAnswered", job: effect.job, lease: effect.grant.id, reply });
        });
      case "sendGiveBack":
      case "confirmGaveBack":
      case "sendCancel":
      case "sendJobEnded":
      case "dropLeases":
      case "askLease":
      case "mayStart":
      case "sendUndrain":
      case "sendDrain": {
        const linked = this.links.get(effect.node);
        linked?.link.send("agent", () => linked.peer.fromLeader(linked.link, effect));
        return;
      }
      case "closeLink":
        return this.links.get(effect.node)?.link.break({ agent: 20, leader: 5 });
      case "putNode":
        return this.#nodes?.write(effect.record.id, effect.record);
      case "deleteNode":
        return this.#nodes?.write(effect.node, undefined);
      case "answer":
        this.#asks.delete(effect.ask);
        return this.#world.answered(effect.ask, effect.answer);
      case "stepDown":
        return this.stepDown();
      case "compare": {
        const { job, index } = effect;
        // Two messages are read.
        return time.after(random.between(0.5, 20), () => {
          if (goesOn()) this.feed({ kind: "compared", job, index, isEqual: this.#world.areEqual(effect) });
        });
      }
      case "itemDiffers":
      case "jobChanged":
      case "nodeChanged":
      case "standingChanged":
        return;
    }
  }

  /** J1, J2, J3: what stands there of another epoch is not overwritten. */
  #put(record: JobRecord, goesOn: () => boolean): void {
    const { store, time } = this.#world;
    const { id: job } = record;
    const again = (): void => time.after(200, () => goesOn() && this.#put(record, goesOn));
    // What the message carries, whenever it lands.
    const revision = this.#revisions.get(job) ?? 0;
    store.request({
      from: this.name,
      act: () => store.putJob(record, revision),
      answer: (result) => {
        if (!goesOn()) return;
        if (result === undefined) return again();
        this.#revisions.set(job, result.now);
        if (result.stored) return this.feed({ kind: "jobStored", job });
        if (result.theirs !== undefined && result.theirs.epoch !== record.epoch)
          return this.feed({ kind: "jobStoreFailed", job, message: "another leader has written it" });
        again();
      },
      slowMs: latePutMs,
    });
  }

  /** K1. False: refused. */
  admit(peer: Peer, link: Link, report: NodeReport): boolean {
    if (!this.isAlive || !this.isLeading || !this.state.leading) return false;
    const before = this.links.get(report.node);
    if (before !== undefined && before.incarnation !== report.incarnation) return false;
    before?.link.break({ agent: 0, leader: 0 });
    this.links.set(report.node, { link, peer, incarnation: report.incarnation });
    this.feed({ kind: "nodeReported", report });
    return true;
  }

  linkGone(node: NodeId, link: Link): void {
    const linked = this.links.get(node);
    if (linked?.link !== link) return;
    this.links.delete(node);
    this.feed({ kind: "linkBroke", node, incarnation: linked.incarnation });
  }
}
