/** What may go wrong in one run, as plain numbers drawn from the seed. Times in simulated ms. */
import type { Random } from "./prng.ts";

export interface Faults {
  /** Delay of a message, [low, high]. */
  readonly delayMs: readonly [number, number];
  /** Lease messages and their answers, commits and their acknowledgements. */
  readonly lossShare: number;
  readonly duplicateShare: number;
  /** Each quarter of a simulated second: */
  readonly leaderCrashShare: number;
  readonly agentCrashShare: number;
  readonly agentFilesLostShare: number;
  readonly linkBreakShare: number;
  readonly workerCrashShare: number;
  readonly natsOutageShare: number;
  /** Agents that die once and never come back, at most this many. */
  readonly agentsGoneMax: number;
  /** The leader dies within so many ms of a cancel or a retry that it was told. */
  readonly leaderDiesAfterCommand: boolean;
  /** Faults stop at this time: from then on everything must come to its end (P5). */
  readonly untilMs: number;
}

export interface Workload {
  readonly items: number;
  readonly nodes: number;
  readonly slotsPerNode: readonly number[];
  /** Cost of an ordinary item, ms. */
  readonly itemMs: number;
  /** Items that kill their worker. */
  readonly poison: ReadonlySet<number>;
  /** Items that raise, whatever the try. */
  readonly failing: ReadonlySet<number>;
  readonly retries: number;
  readonly blocks: boolean;
  readonly cancelAtMs: number | undefined;
  readonly retryAfterEnd: boolean;
}

/**
 * A third of all runs has one kind of fault only, or none: there P3 is strict, every item starts exactly once
 * for each of its tries.
 */
export function drawFaults(random: Random): Faults {
  const calm = random.chance(0.33);
  const only = random.pick(["nothing", "leader", "links", "leader and links"]);
  const share = (max: number): number => (calm || random.chance(0.4) ? 0 : random.float() * max);
  return {
    delayMs: [0.1, random.pick([0.5, 2, 10, 60])],
    lossShare: share(0.1),
    duplicateShare: share(0.1),
    leaderCrashShare: calm ? (only.includes("leader") ? 0.15 : 0) : share(0.15),
    agentCrashShare: share(0.15),
    agentFilesLostShare: random.chance(0.3) ? 0.3 : 0,
    linkBreakShare: calm ? (only.includes("links") ? 0.5 : 0) : share(0.3),
    workerCrashShare: share(0.3),
    natsOutageShare: share(0.1),
    agentsGoneMax: !calm && random.chance(0.3) ? 1 : 0,
    leaderDiesAfterCommand: !calm && random.chance(0.5),
    untilMs: random.int(5_000, 40_000),
  };
}

export function drawWorkload(random: Random): Workload {
  const items = random.int(200, 2_000);
  const nodes = random.int(3, 8);
  const some = (most: number): Set<number> =>
    new Set(Array.from({ length: random.int(0, most) }, () => random.int(0, items - 1)));
  return {
    items,
    nodes,
    slotsPerNode: Array.from({ length: nodes }, () => random.int(1, 4)),
    itemMs: random.pick([5, 20, 100, 300]),
    poison: some(3),
    failing: some(10),
    retries: random.int(0, 2),
    blocks: random.chance(0.4),
    cancelAtMs: random.chance(0.2) ? random.int(100, 8_000) : undefined,
    retryAfterEnd: random.chance(0.3),
  };
}
