/** Who cannot hear whom: directions that are cut for a while, between agents, coordinators and NATS. */
import type { Timeline } from "./timeline.ts";

/** A node's id, a coordinator's name, or NATS. */
export type Party = string;

export const nats: Party = "nats";

export class Partitions {
  readonly #time: Timeline;
  readonly #until = new Map<string, number>();

  constructor(time: Timeline) {
    this.#time = time;
  }

  /** What `from` says does not reach `to` for so long. */
  cut(from: Party, to: Party, ms: number): void {
    const way = `${from}>${to}`;
    this.#until.set(way, Math.max(this.#until.get(way) ?? 0, this.#time.now + ms));
  }

  passes(from: Party, to: Party): boolean {
    return (this.#until.get(`${from}>${to}`) ?? 0) <= this.#time.now;
  }

  /** Requests are asked and answered. */
  passesBoth(one: Party, other: Party): boolean {
    return this.passes(one, other) && this.passes(other, one);
  }

  heal(): void {
    this.#until.clear();
  }
}
