// The agent's core against a small model of its world: workers that run, stall, crash and are killed in any order.
// Invariants are checked after each step; at the end every item has one outcome, one strike, or was given back.
import {
  IntervalSet,
  type JobId,
  type LeaseId,
  type NodeId,
  type Phase,
  type SegmentId,
} from "@everycore/protocol";
import fc from "fast-check";
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
const segment = "s1" as SegmentId;
const node = "1".repeat(16) as NodeId;

interface ModelSlice {
  readonly id: number;
  readonly lease: LeaseId;
  readonly start: number;
  readonly end: number;
  limit: number;
  at: number;
  begun: boolean;
  /** It has read the limit and is inside item `at`: a limit lowered now comes too late for it. */
  claimed: boolean;
  readonly runs: { start: number; end: number }[];
}

class World {
  readonly state: AgentState = newAgent({ slots: 2, runtimes: ["js"] });
  now = 0;
  readonly workers = new Map<number, { slices: ModelSlice[]; killed: boolean; tasked: boolean }>();
  readonly outcomes = new Map<number, number>();
  readonly strikes = new Map<number, number>();
  readonly given = new IntervalSet();
  readonly timeouts = new Set<number>();
  readonly ran = new Map<number, number>();
  readonly cuts: number[] = [];
  readonly unacked: { kind: "commitAcked" | "strikeAcked"; id: number }[] = [];
  drained = false;
  seq = 0;

  feed(event: AgentEvent): void {
    const effects = step(this.state, event);
    checkInvariants(this.state);
    for (const effect of effects) this.perform(effect);
  }

  perform(effect: Effect): void {
    if (effect.kind === "startWorker")
      this.workers.set(effect.worker, { slices: [], killed: false, tasked: false });
    if (effect.kind === "sendTask") this.workers.get(effect.worker)!.tasked = true;
    if (effect.kind === "sendSlice") {
      const worker = this.workers.get(effect.worker)!;
      expect(worker.tasked).toBe(true);
      expect(worker.killed).toBe(false);
      worker.slices.push({
        id: effect.slice,
        lease: effect.lease,
        start: effect.start,
        end: effect.end,
        limit: effect.end,
        at: effect.start,
        begun: false,
        claimed: false,
        runs: [],
      });
    }
    if (effect.kind === "setLimit") {
      const slice = this.workers.get(effect.worker)?.slices.find(({ id }) => id === effect.slice);
      if (slice !== undefined) slice.limit = effect.limit;
    }
    if (effect.kind === "readCursor" && effect.cut) this.cuts.push(effect.worker);
    if (effect.kind === "killGroup") this.workers.get(effect.worker)!.killed = true;
    if (effect.kind === "publishCommit") {
      for (const part of effect.record.parts)
        for (let at = part.start; at < part.end; at += 1)
          this.outcomes.set(at, (this.outcomes.get(at) ?? 0) + 1);
      this.unacked.push({ kind: "commitAcked", id: effect.commit });
    }
    if (effect.kind === "publishStrike") {
      const item = effect.record.ranges[0]!.start;
      this.strikes.set(item, (this.strikes.get(item) ?? 0) + 1);
      this.unacked.push({ kind: "strikeAcked", id: effect.strike });
    }
    if (effect.kind === "gaveBack")
      for (const range of effect.ranges)
        expect(this.given.add(range.start, range.end)).toBe(range.end - range.start);
    if (effect.kind === "appendTimeout") {
      this.timeouts.add(effect.item);
      const runs = [
        { file: 1, from: 0, to: 20, start: effect.item, end: effect.item + 1, status: 2, missing: undefined },
      ];
      this.feed({
        kind: "outcomesSeen",
        at: this.now,
        worker: effect.worker,
        seen: [{ slice: effect.slice, job, lease: effect.lease, runs }],
      });
    }
    if (effect.kind === "drained") this.drained = true;
  }

  look(id: number): void {
    const worker = this.workers.get(id)!;
    for (const slice of worker.slices) {
      if (slice.runs.length === 0) continue;
      const runs = slice.runs.splice(0).map((run) => ({
        file: 1,
        from: 0,
        to: 20 * (run.end - run.start),
        status: 0,
        missing: undefined,
        ...run,
      }));
      this.feed({
        kind: "outcomesSeen",
        at: this.now,
        worker: id,
        seen: [{ slice: slice.id, job, lease: slice.lease, runs }],
      });
    }
  }

  sights(id: number): { slice: number; cursor: number | undefined }[] {
    return this.workers
      .get(id)!
      .slices.flatMap((slice) => (slice.begun ? [{ slice: slice.id, cursor: slice.at }] : []));
  }

  /** Runs up to `items` items of the first slice, as a worker does. */
  run(id: number, items: number): void {
    const worker = this.workers.get(id);
    const [slice] = worker?.slices ?? [];
    if (worker === undefined || slice === undefined || worker.killed) return;
    slice.begun = true;
    for (let n = 0; n < items && (slice.claimed || slice.at < Math.min(slice.limit, slice.end)); n += 1) {
      slice.claimed = false;
      this.ran.set(slice.at, (this.ran.get(slice.at) ?? 0) + 1);
      slice.runs.push({ start: slice.at, end: slice.at + 1 });
      slice.at += 1;
    }
    slice.claimed ||= slice.at < Math.min(slice.limit, slice.end);
    if (slice.claimed) return;
    this.look(id);
    worker.slices.shift();
    this.feed({
      kind: "sliceEnded",
      at: this.now,
      worker: id,
      slice: slice.id,
      ended: slice.at,
      busyMs: slice.at - slice.start,
      cpuMs: 1,
    });
  }

  die(id: number): void {
    const worker = this.workers.get(id);
    if (worker === undefined) return;
    this.look(id);
    const [slice] = worker.slices;
    const phase: Phase = slice?.begun === true ? "item" : "idle";
    this.feed({ kind: "workerDied", at: this.now, worker: id, phase, sights: this.sights(id), detail: {} });
    this.workers.delete(id);
  }

  cutRead(): void {
    const id = this.cuts.shift();
    if (id === undefined || !this.workers.has(id)) return;
    this.look(id);
    const phase: Phase = this.sights(id).length > 0 ? "item" : "idle";
    this.feed({ kind: "cursorRead", at: this.now, worker: id, phase, sights: this.sights(id), cut: true });
  }

  ack(): void {
    const next = this.unacked.shift();
    if (next === undefined) return;
    this.seq += 1;
    if (next.kind === "commitAcked")
      this.feed({ kind: "commitAcked", at: this.now, commit: next.id, seq: this.seq });
    else this.feed({ kind: "strikeAcked", at: this.now, strike: next.id, seq: this.seq });
  }
}

const actions = fc.array(
  fc.record({
    act: fc.constantFrom(
      "run",
      "run",
      "run",
      "die",
      "giveBack",
      "cut",
      "cut",
      "tick",
      "ack",
      "ready",
      "timeoutLook",
      "linkBreak",
    ),
    pick: fc.nat(5),
    amount: fc.integer({ min: 1, max: 12 }),
  }),
  { maxLength: 80 },
);

const act = (world: World, action: { act: string; pick: number; amount: number }): void => {
  world.now += action.amount * 7;
  const ids = [...world.workers.keys()];
  const id = ids[action.pick % Math.max(1, ids.length)]!;
  switch (action.act) {
    case "run":
      return world.run(id, Math.ceil(action.amount / 4));
    case "die":
      return world.die(id);
    case "giveBack":
      return world.feed({ kind: "giveBackAsked", at: world.now, job, wantMs: action.amount, isAll: false });
    case "cut":
      return world.cutRead();
    case "tick":
      return world.feed({ kind: "tick", at: world.now });
    case "ack":
      return world.ack();
    case "ready":
      world.feed({ kind: "workerReady", at: world.now, worker: id });
      return world.feed({ kind: "workerLoaded", at: world.now, worker: id });
    case "timeoutLook":
      if (!world.workers.has(id)) return;
      world.look(id);
      return world.feed({
        kind: "cursorRead",
        at: world.now,
        worker: id,
        phase: world.sights(id).length > 0 ? "item" : "idle",
        sights: world.sights(id),
        cut: false,
      });
    default:
      return world.feed({ kind: "linkUp", at: world.now });
  }
};

/** Lets everything come to its end. */
function finish(world: World): void {
  for (let round = 0; round < 2_000; round += 1) {
    world.now += 10;
    for (const id of [...world.workers.keys()]) {
      if (world.workers.get(id)?.killed) world.die(id);
      else {
        world.feed({ kind: "workerReady", at: world.now, worker: id });
        world.feed({ kind: "workerLoaded", at: world.now, worker: id });
        world.run(id, 50);
      }
    }
    while (world.cuts.length > 0) world.cutRead();
    world.feed({ kind: "tick", at: world.now });
    while (world.unacked.length > 0) world.ack();
    const idle = [...world.state.workers.values()].every((worker) => worker.slices.length === 0);
    const held = [...(world.state.jobs.get(job)?.leases.values() ?? [])];
    if (idle && held.every((lease) => lease.queue.isEmpty && lease.done.isEmpty)) return;
  }
  throw new Error("it never came to an end");
}

test("whatever workers and leader do, each item ends once or is given back, and none is run past a cut", () => {
  fc.assert(
    fc.property(actions, fc.integer({ min: 1, max: 120 }), fc.boolean(), (list, items, timed) => {
      const world = new World();
      const grant = { id: "a".repeat(32) as LeaseId, start: 0, end: items, node, round: 0, n: 1 };
      const task = { runtime: "js", reduced: false, retries: 0, itemTimeoutMs: timed ? 60 : undefined };
      world.feed({
        kind: "leaseArrived",
        at: 0,
        ask: 1,
        ready: true,
        lease: {
          epoch: 1,
          job,
          segment,
          task,
          grant,
          attempts: [],
          mode: "normal",
          itemMs: 3,
          priority: 0,
          tag: 0,
          partials: false,
        },
      });
      for (const action of list) {
        // Most workers are up at once; "ready" alone would leave most sequences at their start.
        for (const [id, worker] of world.workers) {
          if (worker.killed || id % 5 === 4) continue;
          world.feed({ kind: "workerReady", at: world.now, worker: id });
          world.feed({ kind: "workerLoaded", at: world.now, worker: id });
        }
        act(world, action);
      }
      finish(world);
      for (let item = 0; item < items; item += 1) {
        const ended =
          (world.outcomes.get(item) ?? 0) + (world.strikes.get(item) ?? 0) + (world.given.has(item) ? 1 : 0);
        expect(ended, `item ${item}`).toBe(1);
        if (world.given.has(item))
          expect(world.ran.has(item), `item ${item} was given back and run`).toBe(false);
        if (world.strikes.has(item))
          expect(world.ran.has(item), `item ${item} had ended and was struck`).toBe(false);
        expect(world.ran.get(item) ?? 1).toBe(1);
      }
    }),
    { numRuns: 400 },
  );
});

test("a lease of an older epoch is refused, a resend is answered and not run again", () => {
  const state = newAgent({ slots: 1, runtimes: ["js"] });
  const task = { runtime: "js", reduced: false, retries: 0, itemTimeoutMs: undefined };
  const lease = {
    epoch: 5,
    job,
    segment,
    task,
    grant: { id: "b".repeat(32) as LeaseId, start: 0, end: 4, node, round: 0, n: 1 },
    attempts: [],
    mode: "normal" as const,
    itemMs: 0,
    priority: 0,
    tag: 0,
    partials: false,
  };
  const replies = (effects: Effect[]) =>
    effects.flatMap((effect) => (effect.kind === "answerLease" ? [effect.reply] : []));
  expect(replies(step(state, { kind: "leaseArrived", at: 0, ask: 1, ready: true, lease }))).toEqual([
    { ok: true, accepted: 1 },
  ]);
  expect(replies(step(state, { kind: "leaseArrived", at: 1, ask: 2, ready: true, lease }))).toEqual([
    { ok: true, accepted: 1 },
  ]);
  const old = { ...lease, epoch: 4, grant: { ...lease.grant, id: "c".repeat(32) as LeaseId } };
  expect(
    replies(step(state, { kind: "leaseArrived", at: 2, ask: 3, ready: true, lease: old })),
  ).toMatchObject([{ ok: false, reason: "epoch" }]);
  expect(state.accepted).toBe(1);
});

test("a suspect runs alone: nothing beside it, and only after the leader's word", () => {
  const state = newAgent({ slots: 2, runtimes: ["js"] });
  const task = { runtime: "js", reduced: false, retries: 0, itemTimeoutMs: undefined };
  const facts = {
    epoch: 1,
    job,
    segment,
    task,
    attempts: [],
    itemMs: 0,
    priority: 0,
    tag: 0,
    partials: false,
  };
  const grant = (id: string, start: number) => ({
    id: id.repeat(32) as LeaseId,
    start,
    end: start + 4,
    node,
    round: 0,
    n: start + 1,
  });
  const first = step(state, {
    kind: "leaseArrived",
    at: 0,
    ask: 1,
    ready: true,
    lease: { ...facts, mode: "alone", grant: grant("d", 0) },
  });
  const asked = first.flatMap((effect) => (effect.kind === "sliceStarting" ? [effect] : []));
  expect(asked).toHaveLength(1);
  expect(asked[0]!.range).toEqual({ start: 0, end: 1 });
  const second = step(state, {
    kind: "leaseArrived",
    at: 1,
    ask: 2,
    ready: true,
    lease: { ...facts, mode: "normal", grant: grant("e", 10) },
  });
  expect(second.some((effect) => effect.kind === "sendSlice")).toBe(false);
  const allowed = step(state, { kind: "mayStart", at: 2, ask: asked[0]!.ask });
  expect(allowed.filter((effect) => effect.kind === "sendSlice")).toHaveLength(1);
});
