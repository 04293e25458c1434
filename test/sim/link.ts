/** One stream between an agent and a coordinator: in order, lost as a whole when it breaks, noticed late or early. */
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

export type Side = "agent" | "leader";

/** How long a link's break may go unnoticed when nothing says so: keepalive. */
export const silentBreakMs = 15_000;
/** What could not be delivered is sent again. */
const resendMs = 200;

export class Link {
  isOpen = true;
  readonly #time: Timeline;
  readonly #random: Random;
  readonly #lastAt: Record<Side, number> = { agent: 0, leader: 0 };
  /** Sent, and stuck before a cut: it arrives when that heals in time, else the link breaks. */
  readonly #stuck: Record<Side, (() => void)[]> = { agent: [], leader: [] };
  readonly #onBreak: Record<Side, () => void>;
  readonly #passes: (to: Side) => boolean;

  constructor(options: {
    time: Timeline;
    random: Random;
    onBreak: Record<Side, () => void>;
    passes: (to: Side) => boolean;
  }) {
    this.#time = options.time;
    this.#random = options.random;
    this.#onBreak = options.onBreak;
    this.#passes = options.passes;
  }

  /** Performs `act` at the other end, after everything sent there before. */
  send(to: Side, act: () => void): void {
    if (!this.isOpen) return;
    const at = Math.max(this.#lastAt[to], this.#time.now + this.#random.between(0.2, 3));
    this.#lastAt[to] = at;
    this.#time.at(at, () => {
      if (!this.isOpen) return;
      if (this.#stuck[to].length === 0 && this.#passes(to)) return act();
      if (this.#stuck[to].push(act) === 1) this.#resend(to, this.#time.now);
    });
  }

  #resend(to: Side, since: number): void {
    this.#time.after(resendMs, () => {
      if (!this.isOpen) return;
      if (this.#passes(to)) {
        for (const act of this.#stuck[to].splice(0)) if (this.isOpen) act();
      } else if (this.#time.now - since > silentBreakMs) {
        this.break({ agent: 1_000, leader: 1_000 });
      } else {
        this.#resend(to, since);
      }
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
