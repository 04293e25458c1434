/** Workers that have grown, or have run very many items, are replaced between slices: no item is touched. */
import type { JobId, LeaseId, NodeId, SegmentId } from "@everycore/protocol";
import { expect, test } from "vitest";
import {
  type AgentEvent,
  type AgentState,
  checkInvariants,
  type Effect,
  newAgent,
  step,
} from "../src/core/index.ts";

const job = "0".repeat(20) as JobId;
const lease = "1".repeat(32) as LeaseId;
const grant = { id: lease, start: 0, end: 100, node: "2".repeat(16) as NodeId, round: 0, n: 1 };

/** One slot that serves one job of a hundred items; its worker has loaded the task and runs a slice. */
function running(): {
  state: AgentState;
  feed: (event: AgentEvent) => Effect[];
  slice: Effect & { kind: "sendSlice" };
} {
  const state = newAgent({ slots: 1, runtimes: ["js"] });
  const feed = (event: AgentEvent): Effect[] => {
    const effects = step(state, event);
    checkInvariants(state);
    return effects;
  };
  const task = { runtime: "js", reduced: false, retries: 0, itemTimeoutMs: undefined };
  const facts = {
    epoch: 1,
    job,
    segment: "s1" as SegmentId,
    task,
    grant,
    attempts: [],
    mode: "normal" as const,
  };
  const first = feed({
    kind: "leaseArrived",
    at: 0,
    ask: 1,
    ready: true,
    lease: { ...facts, itemMs: 10, priority: 0, tag: 0, partials: false },
  });
  const slice = first.find((effect) => effect.kind === "sendSlice")!;
  feed({ kind: "workerReady", at: 1, worker: slice.worker });
  feed({ kind: "workerLoaded", at: 2, worker: slice.worker });
  return { state, feed, slice };
}

const ended = (slice: Effect & { kind: "sendSlice" }, at: number): AgentEvent => ({
  kind: "sliceEnded",
  at,
  worker: slice.worker,
  slice: slice.slice,
  ended: slice.end,
  busyMs: 30,
  cpuMs: 30,
});

test("a worker that grew finishes its slice, then another takes its place", () => {
  const { feed, slice } = running();
  expect(feed({ kind: "workerGrew", at: 10, worker: slice.worker })).not.toContainEqual(
    expect.objectContaining({ kind: "killGroup" }),
  );
  const effects = feed(ended(slice, 30));
  expect(effects).toContainEqual({ kind: "killGroup", worker: slice.worker, reason: { kind: "stop" } });
  const next = effects.find((effect) => effect.kind === "sendSlice");
  expect(next).toMatchObject({ start: slice.end });
  expect(next?.worker).not.toBe(slice.worker);
});

test("a worker that did not grow goes on", () => {
  const { feed, slice } = running();
  const effects = feed(ended(slice, 30));
  expect(effects.find((effect) => effect.kind === "sendSlice")?.worker).toBe(slice.worker);
});

test("a slot that has become idle lets its last outcomes go before it starts a spare", () => {
  const state = newAgent({ slots: 1, runtimes: ["js"] });
  const started = (effects: readonly Effect[]): boolean =>
    effects.some((effect) => effect.kind === "startWorker");
  const { feed, slice, state: busy } = running();
  // All hundred items are one slice after the other; the last one leaves the slot idle.
  let last = slice;
  let effects: Effect[] = [];
  let at = 30;
  for (;;) {
    effects = feed(ended(last, at));
    const next = effects.find((effect) => effect.kind === "sendSlice");
    if (next === undefined) break;
    last = next;
    at += 1;
  }
  expect(started(effects)).toBe(false);
  expect(busy.spareAt).toBeGreaterThan(at);
  expect(started(feed({ kind: "tick", at: busy.spareAt! - 1 }))).toBe(false);
  expect(started(feed({ kind: "tick", at: busy.spareAt! }))).toBe(true);
  expect(busy.spareAt).toBeUndefined();
  // One that has run nothing yet waits for nobody.
  expect(started(step(state, { kind: "tick", at: 0 }))).toBe(true);
});
