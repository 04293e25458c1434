/**
 * The client of one job: submits until it is answered, appends its blocks behind what is durable, closes, cancels,
 * tries again. Coordinators come and go under it; its request id makes each call the same call.
 */
import type { Answer } from "@everycore/coordinator/core";
import { takesInput } from "@everycore/coordinator/core";
import type { BundleDigest, RepairCode } from "@everycore/protocol";
import { isEnded } from "@everycore/protocol";
import type { WorldEvent } from "./coordinator-world.ts";
import type { SimCoordinator } from "./coordinator.ts";
import type { JobPlan } from "./plan.ts";
import type { Random } from "./random.ts";
import type { Store } from "./store.ts";
import { simSegment } from "./store.ts";
import type { Timeline } from "./timeline.ts";

export interface ClientWorld {
  readonly time: Timeline;
  readonly random: Random;
  readonly store: Store;
  leader(): SimCoordinator | undefined;
  /** Asks; undefined: not answered, because the term ended. */
  ask(
    leader: SimCoordinator,
    event: (ask: number) => WorldEvent,
    then: (answer: Answer | undefined) => void,
  ): void;
}

const againMs = 200;

const repairOf = ({ repair }: JobPlan): RepairCode | undefined =>
  repair === undefined ? undefined : { bundle: repair as BundleDigest, entry: "task.js", export: "task" };

export class Client {
  readonly plan: JobPlan;
  /** Its input is durable and closed: from now on P1 holds. */
  isClosed = false;
  isCancelled = false;
  /** The cancel was answered. */
  isCancelAnswered = false;
  /** Retries that were answered with ok. */
  retries = 0;
  retryAsked = false;
  /** Pauses that were answered with ok. */
  pauses = 0;
  /** Those of them that came before its input was complete. */
  openPauses = 0;
  readonly #world: ClientWorld;

  constructor(plan: JobPlan, world: ClientWorld) {
    this.plan = plan;
    this.#world = world;
    const { time } = world;
    time.after(plan.submitAt, () => this.#submit());
    if (plan.cancelAt !== undefined) time.after(plan.submitAt + plan.cancelAt, () => this.#cancel());
    if (plan.pause !== undefined) {
      const { at, ms } = plan.pause;
      time.after(plan.submitAt + at, () => this.#pause(plan.submitAt + at + ms));
    }
    if (plan.retryAfter !== undefined) time.every(500, () => this.#watchEnd(plan.retryAfter!));
  }

  /** Nothing more will come from it. */
  get isOver(): boolean {
    const record = this.#world.store.jobs.get(this.plan.id)?.record;
    if (record === undefined || !isEnded(record.state)) return false;
    return this.plan.retryAfter === undefined || this.retryAsked;
  }

  #again(act: () => void): void {
    this.#world.time.after(againMs, act);
  }

  #submit(): void {
    const { id, spec } = this.plan;
    const leader = this.#world.leader();
    if (leader === undefined) return this.#again(() => this.#submit());
    const isKnown = leader.state.jobs.has(id);
    const submitted = (ask: number): WorldEvent => ({
      kind: "jobSubmitted",
      id,
      user: "local",
      spec,
      segment: simSegment,
      ask,
    });
    this.#world.ask(leader, submitted, (answer) => {
      if (answer?.ok !== true) return this.#again(() => this.#submit());
      if (isKnown) leader.feed({ kind: "submitResumed", job: id });
      this.#load(leader, leader.epoch);
    });
  }

  /** Where the input stands; then it goes on from there. */
  #load(leader: SimCoordinator, epoch: number): void {
    const { store } = this.#world;
    store.request({
      act: () => store.lastInput(this.plan.id),
      answer: (last) => {
        if (last === undefined) return this.#again(() => this.#load(leader, epoch));
        // Closed by another: the leader ends the input of a job that is cancelled.
        if (last.closed) this.isClosed = last.appended === this.plan.items;
        else this.#append(leader, epoch, last);
      },
      slowMs: 900,
    });
  }

  #append(leader: SimCoordinator, epoch: number, last: { seq: number; appended: number }): void {
    const { plan } = this;
    const { store, time, random } = this.#world;
    if (!leader.isLeading || leader.epoch !== epoch) return this.#again(() => this.#submit());
    // Its coordinator refuses more input of a job that is being ended.
    const job = leader.state.jobs.get(plan.id);
    if (job === undefined || !takesInput(job)) return;
    const count = Math.min(plan.blockItems, plan.items - last.appended);
    const isLast = plan.blockItems === 0 || count === 0;
    const record = isLast
      ? ({ kind: "close", job: plan.id, total: plan.items } as const)
      : ({
          kind: "input",
          job: plan.id,
          first: last.appended,
          count,
          codec: "json",
          piece: 0,
          pieces: 1,
          bytes: count * 10,
        } as const);
    store.request({
      act: () => store.appendInput(record, last.seq),
      answer: (seq) => {
        if (!leader.isLeading || leader.epoch !== epoch) return this.#again(() => this.#submit());
        if (seq === undefined || seq === 0) return this.#again(() => this.#load(leader, epoch));
        if (isLast) this.isClosed = true;
        else
          time.after(random.between(0, 20), () =>
            this.#append(leader, epoch, { seq, appended: last.appended + count }),
          );
      },
      slowMs: 900,
    });
  }

  #cancel(): void {
    const job = this.plan.id;
    const leader = this.#world.leader();
    if (leader === undefined) return this.#again(() => this.#cancel());
    this.isCancelled = true;
    this.#world.ask(
      leader,
      (ask) => ({ kind: "cancelAsked", job, message: "asked by its client", ask }),
      (answer) => {
        if (answer === undefined) return this.#again(() => this.#cancel());
        // Not found: its submit was not stored yet; asked again until it is.
        if (answer.ok) this.isCancelAnswered = true;
        else this.#again(() => this.#cancel());
      },
    );
  }

  /** Asked until it is paused, or its time is over: before its submit is stored there is no job. */
  #pause(until: number): void {
    const { time } = this.#world;
    const leader = this.#world.leader();
    if (time.now > until) return;
    const again = (): void => this.#again(() => this.#pause(until));
    if (leader === undefined) return again();
    const job = this.plan.id;
    this.#world.ask(
      leader,
      (ask) => ({ kind: "pauseAsked", job, ask }),
      (answer) => {
        // Not answered: it may be paused all the same.
        if (answer === undefined || answer.ok)
          time.after(Math.max(0, until - time.now), () => this.#resume());
        if (answer?.ok !== true) again();
        else {
          this.pauses += 1;
          if (!this.isClosed) this.openPauses += 1;
        }
      },
    );
  }

  /**
   * Asked until the answer is there: it goes on, or it has ended. A leader that was elected while its predecessor
   * stored the job does not know it, and steps down for that a moment later.
   */
  #resume(): void {
    const leader = this.#world.leader();
    if (leader === undefined) return this.#again(() => this.#resume());
    const job = this.plan.id;
    this.#world.ask(
      leader,
      (ask) => ({ kind: "resumeAsked", job, ask }),
      (answer) => {
        if (answer === undefined || (!answer.ok && answer.code === "not-found"))
          this.#again(() => this.#resume());
      },
    );
  }

  #watchEnd(afterMs: number): boolean {
    const record = this.#world.store.jobs.get(this.plan.id)?.record;
    if (record === undefined || !isEnded(record.state)) return true;
    this.#world.time.after(afterMs, () => this.#retry());
    return false;
  }

  #retry(): void {
    const job = this.plan.id;
    const leader = this.#world.leader();
    if (leader === undefined) return this.#again(() => this.#retry());
    this.#world.ask(
      leader,
      (ask) => ({ kind: "retryAsked", job, ask, code: repairOf(this.plan) }),
      (answer) => {
        if (answer === undefined) return this.#again(() => this.#retry());
        this.retryAsked = true;
        if (answer.ok) this.retries += 1;
      },
    );
  }
}
