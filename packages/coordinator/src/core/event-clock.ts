/**
 * The time that events carry: the machine's clock as long as it goes forward. When somebody sets it back, time goes on at
 * its own pace until the clock has caught up: else every wait of the leader would be longer by as much (P5). Pure: both
 * clocks are read outside.
 */

/** Both in ms. */
export interface ClockReading {
  /** The machine's time, which is set by people and by NTP. */
  readonly wall: number;
  /** A clock that only ever goes forward, at the pace of time, from any start. */
  readonly steady: number;
}

export class EventClock {
  /** Where the machine's time was furthest ahead. */
  #furthest: ClockReading | undefined;

  at(now: ClockReading): number {
    const furthest = this.#furthest;
    const own = furthest === undefined ? now.wall : furthest.wall + now.steady - furthest.steady;
    if (furthest !== undefined && now.wall < own) return Math.floor(own);
    this.#furthest = now;
    return now.wall;
  }
}
