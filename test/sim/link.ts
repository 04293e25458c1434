/** One stream between an agent and a coordinator: in order, lost as a whole when it breaks, noticed late or early. */
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

export type Side = "agent" | "leader";

export class Link {
  isOpen = true;
  readonly #time: Timeline;
  readonly #random: Random;
  readonly #lastAt: Record<Side, number> = { agent: 0, leader: 0 };
  readonly #onBreak: Record<Side, () => void>;

  constructor(options: { time: Timeline; random: Random; onBreak: Record<Side, () => void> }) {
    this.#time = options.time;
    this.#random = options.random;
    this.#onBreak = options.onBreak;
  }

  /** Performs `act` at the other end, after everything sent there before. */
  send(to: Side, act: () => void): void {
    if (!this.isOpen) return;
    const at = Math.max(this.#lastAt[to], this.#time.now + this.#random.between(0.2, 3));
    this.#lastAt[to] = at;
    this.#time.at(at, () => {
      if (this.isOpen) act();
    });
  }

  /** Each side notices within so many ms. */
  break(noticedMs: Record<Side, number>): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    for (const side of ["agent", "leader"] as const)
      this.#time.after(this.#random.between(0, noticedMs[side]), this.#onBreak[side]);
  }
}
