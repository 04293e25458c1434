/**
 * The agent's decisions: `step(state, event) -> effects`, the only writer of the state. After each event idle
 * slots are filled and what is due is committed, so that no timer stands between a lease and its result.
 */
import type { AgentEvent, Effect } from "./events.ts";
import { commitAcked, commitDue, outcomesSeen, strikeAcked } from "./commits.ts";
import { leaseArrived, leaseAsked } from "./jobs.ts";
import {
  confirmed,
  drain,
  drainOn,
  dropLeases,
  giveIdleBack,
  jobOver,
  giveBack,
  linkUp,
  replaceCode,
  undrain,
  welcomed,
} from "./leader.ts";
import type { AgentState } from "./model.ts";
import { busyWorker, cursorRead, dispatch, giveAway, mayStart, sliceEnded, watchSlices } from "./slices.ts";
import {
  failTask,
  freeScratch,
  initFailed,
  keepSpares,
  kill,
  workerDied,
  workerLoaded,
  workerReady,
} from "./workers.ts";

export function newAgent(options: { slots: number; runtimes: Iterable<string> }): AgentState {
  const runtimes = new Set(options.runtimes);
  return {
    now: 0,
    epoch: 0,
    nodes: 1,
    connected: false,
    drain: "working",
    drainBy: Number.POSITIVE_INFINITY,
    idleSince: undefined,
    disk: "ok",
    accepted: 0,
    seen: new Map(),
    declined: new Set(),
    jobs: new Map(),
    slots: Array.from({ length: options.slots }, (_, id) => ({
      id,
      nextSlice: 0,
      startAfter: 0,
      startFailures: 0,
      quietUntil: 0,
    })),
    workers: new Map(),
    nextWorker: 0,
    nextCommit: 0,
    nextAsk: 0,
    commits: new Map(),
    strikes: new Map(),
    spoolBytes: 0,
    runtimesUsed: new Map(runtimes.has("js") ? [["js", 0]] : []),
    runtimes,
    starvingTold: 0,
    spareAt: undefined,
    ackedSeqs: new Map(),
  };
}

export function step(state: AgentState, event: AgentEvent): Effect[] {
  const effects: Effect[] = [];
  state.now = Math.max(state.now, event.at);
  handle(state, event, effects);
  giveIdleBack(state, effects);
  dispatch(state, effects);
  commitDue(state, effects);
  keepSpares(state, effects);
  freeScratch(state, effects);
  drainOn(state, effects);
  tellStarving(state, effects);
  return effects;
}

function handle(state: AgentState, event: AgentEvent, effects: Effect[]): void {
  switch (event.kind) {
    case "leaseArrived":
      replaceCode(state, event.lease, effects);
      return leaseArrived(state, event, effects);
    case "inputReady": {
      const lease = state.jobs.get(event.job)?.leases.get(event.lease);
      if (lease !== undefined) lease.ready = true;
      return;
    }
    case "inputFailed":
      return inputFailed(state, event, effects);
    case "workerReady":
      return workerReady(state, event);
    case "workerLoaded":
      return workerLoaded(state, event);
    case "initFailed":
      return initFailed(state, event, effects);
    case "outcomesSeen":
      return outcomesSeen(state, event, effects);
    case "sliceEnded":
      return sliceEnded(state, event, effects);
    case "cursorRead":
      return cursorRead(state, event, effects);
    case "workerGrew": {
      const worker = state.workers.get(event.worker);
      if (worker !== undefined) worker.worn = true;
      return;
    }
    case "memoryOver": {
      const worker = state.workers.get(event.worker);
      if (worker !== undefined) kill(worker, { kind: "memory" }, effects);
      return;
    }
    case "workerDied":
      return workerDied(state, event, effects);
    case "commitAcked":
      return commitAcked(state, event, effects);
    case "strikeAcked":
      return strikeAcked(state, event, effects);
    case "diskLevel":
      state.disk = event.level;
      return;
    case "tick":
      return watchSlices(state, effects);
    default:
      return fromLeader(state, event, effects);
  }
}

type LeaderEvent = Extract<
  AgentEvent,
  {
    kind:
      | "linkUp"
      | "linkDown"
      | "welcomed"
      | "giveBackAsked"
      | "giveBackConfirmed"
      | "leasesDropped"
      | "leaseAsked"
      | "mayStart"
      | "cancelled"
      | "jobEnded"
      | "drainAsked"
      | "undrainAsked";
  }
>;

function fromLeader(state: AgentState, event: LeaderEvent, effects: Effect[]): void {
  switch (event.kind) {
    case "linkUp":
      return linkUp(state, effects);
    case "linkDown":
      state.connected = false;
      return;
    case "welcomed":
      return welcomed(state, event, effects);
    case "giveBackAsked":
      return giveBack(state, event, effects);
    case "giveBackConfirmed":
      return confirmed(state, event, effects);
    case "leasesDropped":
      return dropLeases(state, event.leases, effects);
    case "leaseAsked":
      return leaseAsked(state, event, effects);
    case "mayStart":
      return mayStart(state, event, effects);
    case "cancelled":
    case "jobEnded":
      return jobOver(state, event, effects);
    case "drainAsked":
      return drain(state, event);
    case "undrainAsked":
      return undrain(state);
  }
}

/** A bundle that cannot be had is a failure of the job here; an input that cannot be had returns to the leader. */
function inputFailed(
  state: AgentState,
  event: Extract<AgentEvent, { kind: "inputFailed" }>,
  effects: Effect[],
): void {
  const job = state.jobs.get(event.job);
  const lease = job?.leases.get(event.lease);
  if (job === undefined || lease === undefined) return;
  if (event.bundle) return failTask(job, { error: event.message, died: false }, effects);
  const ranges = lease.queue.toRanges();
  lease.queue.clear();
  if (ranges.length > 0) giveAway(lease, ranges, effects);
}

/** Slots without work while nothing waits here: told when their number grows, for the leader splits others' work. */
function tellStarving(state: AgentState, effects: Effect[]): void {
  if (!state.connected || state.drain !== "working" || state.disk !== "ok") return;
  const waits = [...state.jobs.values()].some((job) =>
    [...job.leases.values()].some((lease) => !lease.queue.isEmpty),
  );
  const idle = waits ? 0 : state.slots.filter((slot) => busyWorker(state, slot) === undefined).length;
  if (idle > state.starvingTold) effects.push({ kind: "starving", slots: idle });
  state.starvingTold = idle;
}
