/** The agent's core on a bench: one slot, leases of one job, invariants checked after every step. */
import type { JobId, LeaseGrant, LeaseId, NodeId, SegmentId } from "@everycore/protocol";
import { type AgentState, checkInvariants, type Effect, newAgent, step } from "../../src/core/index.ts";

export const job = "a".repeat(20) as JobId;

export const grantOf = (n: number, start: number, end: number): LeaseGrant => ({
  id: `${n}`.padStart(32, "0") as LeaseId,
  start,
  end,
  node: "b".repeat(16) as NodeId,
  round: 0,
  n,
});

type Event = Parameters<typeof step>[1];
type LeaseFacts = Extract<Event, { kind: "leaseArrived" }>["lease"];
type LeaseOptions = Partial<Omit<LeaseFacts, "task">> & { task?: Partial<LeaseFacts["task"]> };
type WithoutTime<T> = T extends unknown ? Omit<T, "at"> : never;

export class AgentBench {
  readonly state: AgentState = newAgent({ slots: 1, runtimes: ["js"] });
  readonly effects: Effect[] = [];
  now = 0;

  feed(event: WithoutTime<Event>): Effect[] {
    this.now += 1;
    const effects = step(this.state, { at: this.now, ...event } as Event);
    checkInvariants(this.state);
    this.effects.push(...effects);
    return effects;
  }

  lease(grant: LeaseGrant, more: LeaseOptions = {}): Effect[] {
    const task = { runtime: "js", reduced: false, retries: 0, itemTimeoutMs: undefined, ...more.task };
    const facts = {
      epoch: 1,
      job,
      segment: "s" as SegmentId,
      grant,
      attempts: [],
      mode: "normal",
      itemMs: 1,
      priority: 0,
      tag: 0,
      partials: false,
      ...more,
      task,
    } as const;
    return this.feed({ kind: "leaseArrived", lease: facts, ask: grant.n, ready: true });
  }

  hello(): Extract<Effect, { kind: "hello" }> {
    return this.feed({ kind: "linkUp" }).find((effect) => effect.kind === "hello")!;
  }
}

export const only = <Kind extends Effect["kind"]>(
  effects: readonly Effect[],
  kind: Kind,
): Extract<Effect, { kind: Kind }>[] =>
  effects.filter((effect): effect is Extract<Effect, { kind: Kind }> => effect.kind === kind);
