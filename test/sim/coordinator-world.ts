/** What is around a coordinator: what it reads and writes, whom it talks to, who watches it. */
import type { Answer, Effect, Event, Keys } from "@everycore/coordinator/core";
import type { LeaseReply, NodeId } from "@everycore/protocol";
import type { SimCoordinator } from "./coordinator.ts";
import type { Link } from "./link.ts";
import type { Partitions } from "./partitions.ts";
import type { Random } from "./random.ts";
import type { Store } from "./store.ts";
import type { Timeline } from "./timeline.ts";

type WithoutTime<T> = T extends unknown ? Omit<T, "at"> : never;
export type WorldEvent = WithoutTime<Event>;
type SendLease = Extract<Effect, { kind: "sendLease" }>;

/** What an agent is to a coordinator. */
export interface Peer {
  readonly node: NodeId;
  fromLeader(link: Link, message: Effect): void;
}

export interface CoordinatorWorld {
  readonly time: Timeline;
  readonly random: Random;
  readonly store: Store;
  readonly partitions: Partitions;
  /** Chance that the next records of the log come late. */
  readonly slowTail: () => number;
  readonly keys: Keys;
  sendLease(from: SimCoordinator, effect: SendLease, answered: (reply: LeaseReply | undefined) => void): void;
  /** After each step, before its effects are performed. */
  stepped(coordinator: SimCoordinator, event: Event, effects: readonly Effect[]): void;
  /** A client's command could not be answered: the term is over. */
  unanswered(ask: number): void;
  answered(ask: number, answer: Answer): void;
  breaksSilently(): boolean;
  /** What the nodes of two outcomes gave. */
  areEqual(compare: Extract<Effect, { kind: "compare" }>): boolean;
}
