/**
 * The loop: the world as a queue of events, one step of the core at a time, its effects performed afterwards in
 * order. Callbacks of the world only enqueue.
 *
 *  O1  heartbeats that came before a tick are taken before it, also after this thread has stalled: nobody is
 *      suspected for the leader's own pause.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ClusterState, Effect, Event, Keys } from "./core/index.ts";
import { EventClock, newCluster, step } from "./core/index.ts";

/** Events in one go, before sockets get their turn again. */
const eventsPerTurn = 500;
const tickMs = { active: 200, idle: 1_000 };
/** A timer later than this says that the thread stood still. */
const stallMs = 500;

type WithoutTime<T> = T extends unknown ? Omit<T, "at"> : never;
/** An event as the world tells it; the loop adds the time. */
export type WorldEvent = WithoutTime<Event>;

export class Loop {
  readonly state: ClusterState = newCluster();
  readonly #clock = new EventClock();
  readonly #keys: Keys;
  readonly #perform: (effect: Effect) => void;
  readonly #onBug: (error: unknown, event: Event) => void;
  #queue: Event[] = [];
  #isScheduled = false;
  #drained = Promise.withResolvers<void>();

  /** `onBug` gets what a step threw: a state that cannot be trusted any more. */
  constructor(options: {
    keys: Keys;
    perform: (effect: Effect) => void;
    onBug: (error: unknown, event: Event) => void;
  }) {
    this.#keys = options.keys;
    this.#perform = options.perform;
    this.#onBug = options.onBug;
  }

  enqueue(event: WorldEvent): void {
    const at = this.#clock.at({ wall: Date.now(), steady: performance.now() });
    this.#queue.push({ at, ...event });
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => this.#turn());
  }

  /** Resolves when all that was enqueued has been taken: what reads a log holds back by it. */
  get drained(): Promise<void> {
    return this.#isScheduled ? this.#drained.promise : Promise.resolve();
  }

  get backlog(): number {
    return this.#queue.length;
  }

  #turn(): void {
    const batch = this.#queue.splice(0, eventsPerTurn);
    for (const event of batch) {
      try {
        for (const effect of step(this.state, this.#keys, event)) this.#perform(effect);
      } catch (error) {
        this.#onBug(error, event);
      }
    }
    if (this.#queue.length > 0) {
      setImmediate(() => this.#turn());
      return;
    }
    this.#isScheduled = false;
    this.#drained.resolve();
    this.#drained = Promise.withResolvers();
  }

  /** Ticks until the signal. */
  async tick(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const waitMs = this.state.active.size > 0 || this.state.takingOver ? tickMs.active : tickMs.idle;
      const before = performance.now();
      await delay(waitMs, undefined, { signal }).catch(() => {}); // aborted: the loop's condition ends it
      // O1: sockets are read before timers only on the next turns.
      const late = performance.now() - before - waitMs;
      if (late > stallMs) await delay(stallMs, undefined, { signal }).catch(() => {});
      await new Promise((resolve) => setImmediate(resolve));
      if (!signal.aborted) this.enqueue({ kind: "tick" });
    }
  }
}
