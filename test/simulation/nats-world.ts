/**
 * Simulated NATS: the log of one segment in sequence order, job records by compare-and-set, and messages that
 * are delayed, lost or doubled by the seed. While it is out nothing passes; what was stored stays.
 */
import type { JobId, JobRecord, LogRecord } from "@everycore/protocol";
import type { Faults } from "./faults.ts";
import type { Random } from "./prng.ts";
import type { Timeline } from "./timeline.ts";

export interface LogEntry {
  readonly seq: number;
  readonly record: LogRecord;
}

export class NatsWorld {
  readonly log: LogEntry[] = [];
  readonly records = new Map<JobId, { record: JobRecord; revision: number }>();
  epoch = 0;
  isOut = false;
  readonly #tails = new Set<(entry: LogEntry) => void>();
  readonly #time: Timeline;
  readonly #random: Random;
  readonly #faults: Faults;

  constructor(parts: { time: Timeline; random: Random; faults: Faults }) {
    this.#time = parts.time;
    this.#random = parts.random;
    this.#faults = parts.faults;
  }

  get faulty(): boolean {
    return this.#time.now < this.#faults.untilMs;
  }

  delay(): number {
    const [low, high] = this.#faults.delayMs;
    return low + this.#random.float() * ((this.faulty ? high : Math.min(high, 2)) - low);
  }

  /** A core NATS message: may be lost, doubled, late; never while NATS is out. */
  send(deliver: () => void): void {
    if (this.isOut) return;
    const copies = this.faulty && this.#random.chance(this.#faults.duplicateShare) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      if (this.faulty && this.#random.chance(this.#faults.lossShare)) continue;
      this.#time.after(this.delay(), () => {
        if (!this.isOut) deliver();
      });
    }
  }

  /** A publish with acknowledgement, repeated by the publisher until acknowledged: duplicates may enter. */
  publish(record: LogRecord, options: { isAlive: () => boolean; acked: (seq: number) => void }): void {
    let done = false;
    const attempt = (): void => {
      if (done || !options.isAlive()) return;
      this.send(() => {
        const seq = this.append(record);
        this.send(() => {
          if (done || !options.isAlive()) return;
          done = true;
          options.acked(seq);
        });
      });
      this.#time.after(1_000, attempt);
    };
    attempt();
  }

  append(record: LogRecord): number {
    const entry = { seq: this.log.length + 1, record };
    this.log.push(entry);
    for (const tail of this.#tails) tail(entry);
    return entry.seq;
  }

  /** Every entry from the first, then live, in order. */
  follow(deliver: (entry: LogEntry) => void, isAlive: () => boolean): void {
    let next = 0;
    let scheduled = false;
    const pump = (): void => {
      scheduled = false;
      if (!isAlive()) {
        this.#tails.delete(wake);
        return;
      }
      if (this.isOut) return schedule(100);
      while (next < this.log.length) deliver(this.log[next++]!);
    };
    const schedule = (ms: number): void => {
      if (scheduled) return;
      scheduled = true;
      this.#time.after(ms, pump);
    };
    const wake = (): void => schedule(this.delay());
    this.#tails.add(wake);
    schedule(this.delay());
  }

  lastSeq(job: JobId): number {
    for (let at = this.log.length - 1; at >= 0; at -= 1) {
      if (this.log[at]!.record.job === job) return this.log[at]!.seq;
    }
    return 0;
  }
}
