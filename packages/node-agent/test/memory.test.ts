/** A lease with memory of its own runs in a fresh worker, with nothing behind it, and that worker goes with it. */
import type { JobId, LeaseId, NodeId, SegmentId } from "@everycore/protocol";
import { expect, test } from "vitest";
import { type AgentEvent, checkInvariants, type Effect, newAgent, step } from "../src/core/index.ts";

const job = "0".repeat(20) as JobId;
const node = "2".repeat(16) as NodeId;
const lease = (digit: string): LeaseId => digit.repeat(32) as LeaseId;
type Untimed<T> = T extends unknown ? Omit<T, "at"> : never;
type Sent = Extract<Effect, { kind: "sendSlice" }>;

const sent = (effects: readonly Effect[]): Sent[] => effects.filter((effect) => effect.kind === "sendSlice");
const killed = (effects: readonly Effect[]): number[] =>
  effects.flatMap((effect) => (effect.kind === "killGroup" ? [effect.worker] : []));

class Bench {
  readonly state = newAgent({ slots: 1, runtimes: ["js"] });
  #at = 0;

  feed(event: Untimed<AgentEvent>): Effect[] {
    this.#at += 1;
    const effects = step(this.state, { ...event, at: this.#at });
    checkInvariants(this.state);
    return effects;
  }

  lease(
    id: LeaseId,
    [start, end]: readonly [number, number],
    more: { n: number; memoryBytes?: number },
  ): Effect[] {
    const { n, ...memory } = more;
    return this.feed({
      kind: "leaseArrived",
      ask: n,
      ready: true,
      lease: {
        epoch: 1,
        job,
        segment: "s1" as SegmentId,
        task: { runtime: "js", reduced: false, retries: 0, itemTimeoutMs: undefined },
        grant: { id, start, end, node, round: 0, n },
        attempts: [],
        mode: "normal",
        itemMs: 1,
        priority: 0,
        tag: n,
        partials: false,
        ...memory,
      },
    });
  }

  up(worker: number): void {
    this.feed({ kind: "workerReady", worker });
    this.feed({ kind: "workerLoaded", worker });
  }

  end(slice: Sent): Effect[] {
    const { worker, end } = slice;
    const figures = { busyMs: end - slice.start, cpuMs: 1 };
    return this.feed({ kind: "sliceEnded", worker, slice: slice.slice, ended: end, ...figures });
  }
}

test("it is measured by nothing that others have left in a worker, and leaves nothing to others", () => {
  const bench = new Bench();
  const [first] = sent(bench.lease(lease("a"), [0, 1], { n: 1 }));
  bench.up(first!.worker);
  bench.lease(lease("b"), [1, 2], { n: 2, memoryBytes: 512 });
  bench.lease(lease("c"), [2, 90], { n: 3 });
  const second = bench.end(first!);
  // The job's own worker goes; a fresh one has the item alone.
  expect(killed(second)).toContain(first!.worker);
  const [heavy, ...more] = sent(second);
  expect(more).toEqual([]);
  expect(heavy).toMatchObject({ start: 1, end: 2 });
  expect(heavy!.worker).not.toBe(first!.worker);
  bench.up(heavy!.worker);
  expect(sent(bench.feed({ kind: "tick" }))).toEqual([]);
  const third = bench.end(heavy!);
  expect(killed(third)).toEqual([heavy!.worker]);
  const [last] = sent(third);
  expect(last).toMatchObject({ start: 2 });
  expect(last!.worker).not.toBe(heavy!.worker);
});

test("its worker does not outlive it, though nothing else is waiting: what it holds is free again", () => {
  const bench = new Bench();
  const [only] = sent(bench.lease(lease("a"), [0, 1], { n: 1, memoryBytes: 512 }));
  bench.up(only!.worker);
  expect(killed(bench.end(only!))).toEqual([only!.worker]);
});
