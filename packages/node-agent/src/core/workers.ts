/**
 * Workers: which processes there are, which job each serves, and what their deaths mean (P4: one crash costs one
 * item). Nothing is concluded from a death before the cursor was read again.
 */
import type { DeathDetail, JobId } from "@everycore/protocol/pure";
import type { AgentEvent, Effect, SliceSight } from "./events.ts";
import { ownEnd, requeue, settle, taskFailed } from "./jobs.ts";
import type { AgentState, Job, KillReason, Lease, Slice, Slot, TaskFailure, Worker } from "./model.ts";
import { move, workerTransitions } from "./transitions.ts";

/** Processes kept per slot: two jobs that take turns must not restart workers at each turn. */
export const workersPerSlotMax = 4;
/** A runtime that was not used for so long keeps no spare. */
const spareMs = 600_000;
/** A slot that runs a job for so long gets its next spare while it runs; earlier it would disturb short jobs. */
const spareDelayMs = 200;
/**
 * A slot that has just become idle waits so long: starting a process blocks the agent for 3 ms and takes 46 ms of a
 * core, which a job of one item would pay on the way of its result (bench/figures/single-item.ts).
 */
export const spareQuietMs = 25;
/** Starts that fail in a row before the job hears of it. */
const startFailuresMax = 3;

type Of<Kind extends AgentEvent["kind"]> = Extract<AgentEvent, { kind: Kind }>;

export const advance = (worker: Worker, event: string): void => {
  worker.life = move(workerTransitions, { machine: "worker", id: worker.id, from: worker.life, event });
};

export const onSlot = (state: AgentState, slot: number): Worker[] =>
  [...state.workers.values()].filter((worker) => worker.slot === slot);

export const isAlive = (worker: Worker): boolean => worker.life !== "dying";

export function startWorker(
  state: AgentState,
  slot: Slot,
  runtime: string,
  job: JobId | undefined,
  effects: Effect[],
): Worker {
  const id = (state.nextWorker += 1);
  const worker: Worker = {
    id,
    slot: slot.id,
    runtime,
    life: "starting",
    job,
    slices: [],
    kill: undefined,
    usedAt: state.now,
    takenAt: state.now,
    worn: false,
    items: 0,
  };
  state.workers.set(id, worker);
  effects.push({ kind: "startWorker", worker: id, slot: slot.id, runtime, job });
  if (job !== undefined) effects.push({ kind: "sendTask", worker: id, job });
  return worker;
}

export function kill(worker: Worker, reason: KillReason, effects: Effect[]): void {
  // The first cause is the recorded one.
  worker.kill ??= reason;
  if (worker.life === "dying") return;
  advance(worker, "kill");
  effects.push({ kind: "killGroup", worker: worker.id, reason });
}

/** A worker for the lease in this slot: its job's own, a spare, or a new one for which room is made; undefined: later. */
export function workerFor(
  state: AgentState,
  slot: Slot,
  { job, lease }: { job: Job; lease: Lease },
  effects: Effect[],
): Worker | undefined {
  const here = onSlot(state, slot.id);
  const own = here.find((worker) => worker.job === job.id && isAlive(worker));
  // An item tried again for its memory is not blamed for what others have left in a worker.
  if (own !== undefined && !own.worn && lease.memoryBytes === undefined) return own;
  // Between two slices: whatever it has piled up goes with it, no item is touched.
  if (own?.slices.length === 0) kill(own, { kind: "stop" }, effects);
  const { runtime } = job.task;
  const spare = here
    .filter((worker) => worker.runtime === runtime && worker.job === undefined && isAlive(worker))
    .sort((a, b) => Number(b.life === "spare") - Number(a.life === "spare"))[0];
  if (spare !== undefined) {
    take(state, spare, job, effects);
    return spare;
  }
  if (state.now < slot.startAfter) return undefined;
  if (here.length >= workersPerSlotMax) {
    const idle = here
      .filter((worker) => worker.slices.length === 0 && isAlive(worker))
      .sort((a, b) => a.usedAt - b.usedAt)[0];
    if (idle === undefined) return undefined;
    kill(idle, { kind: "stop" }, effects);
  }
  return startWorker(state, slot, runtime, job.id, effects);
}

function take(state: AgentState, worker: Worker, job: Job, effects: Effect[]): void {
  worker.job = job.id;
  worker.takenAt = state.now;
  // One that is still starting reads it from its pipe when it is up: no round trip for slices behind it.
  effects.push({ kind: "sendTask", worker: worker.id, job: job.id });
  if (worker.life === "spare") advance(worker, "task");
}

export function workerReady(state: AgentState, event: Of<"workerReady">): void {
  const worker = state.workers.get(event.worker);
  if (worker === undefined || worker.life !== "starting") return;
  const slot = state.slots[worker.slot];
  if (slot !== undefined) slot.startFailures = 0;
  advance(worker, "ready");
  if (worker.job !== undefined) advance(worker, "task");
}

export function workerLoaded(state: AgentState, event: Of<"workerLoaded">): void {
  const worker = state.workers.get(event.worker);
  if (worker?.life === "loading") advance(worker, "loaded");
}

/** The task cannot be loaded: the job hears of it once; nothing was run and nobody is blamed. */
export function initFailed(state: AgentState, event: Of<"initFailed">, effects: Effect[]): void {
  const worker = state.workers.get(event.worker);
  if (worker === undefined) return;
  const job = worker.job === undefined ? undefined : state.jobs.get(worker.job);
  returnSlices(state, worker);
  kill(worker, { kind: "stop" }, effects);
  if (job !== undefined) failTask(job, { error: event.error, died: false }, effects);
}

export function failTask(job: Job, failure: TaskFailure, effects: Effect[]): void {
  if (job.failure !== undefined) return;
  job.failure = failure;
  effects.push(taskFailed(job, failure));
}

function returnSlices(state: AgentState, worker: Worker): void {
  for (const slice of worker.slices) requeue(state, slice, { start: slice.start, end: ownEnd(slice) });
  worker.slices = [];
}

export function workerDied(state: AgentState, event: Of<"workerDied">, effects: Effect[]): void {
  const worker = state.workers.get(event.worker);
  if (worker === undefined) return;
  state.workers.delete(worker.id);
  const job = worker.job === undefined ? undefined : state.jobs.get(worker.job);
  const diedAlone = worker.kill === undefined;
  if (diedAlone && worker.life === "starting") startFailed(state, worker, job, event.detail, effects);
  if (diedAlone && job !== undefined && (event.phase === "load" || event.phase === "init")) {
    failTask(job, { error: loadDeath(event.detail), died: true }, effects);
  }
  const running = event.phase === "item";
  for (const [at, slice] of worker.slices.entries()) {
    const sight = event.sights.find((seen) => seen.slice === slice.id);
    endSlice(state, worker, { slice, sight, blame: running && at === 0, detail: event.detail }, effects);
  }
  const leases = worker.slices.map((slice) => slice.lease);
  worker.slices = [];
  if (job !== undefined) for (const id of leases) settle(state, job, job.leases.get(id), effects);
}

const loadDeath = (detail: DeathDetail): string =>
  `the worker died while it loaded the task (${detail.signal ?? `exit ${detail.exitCode ?? "?"}`})` +
  (detail.stderrTail ? `: ${detail.stderrTail.trim().slice(-500)}` : "");

/** A process that does not even come up: tried again after a pause, then the job is told. */
function startFailed(
  state: AgentState,
  worker: Worker,
  job: Job | undefined,
  detail: DeathDetail,
  effects: Effect[],
): void {
  const slot = state.slots[worker.slot];
  if (slot === undefined || state.disk !== "ok") return; // there is no room for its files: not its fault
  slot.startFailures += 1;
  slot.startAfter = state.now + Math.min(5_000, 100 * 2 ** slot.startFailures);
  if (slot.startFailures < startFailuresMax || job === undefined) return;
  slot.startFailures = 0;
  failTask(
    job,
    {
      error: `no ${worker.runtime} worker starts on this node: ${detail.stderrTail ?? detail.reason ?? ""}`,
      died: true,
    },
    effects,
  );
}

/** What a death means for a slice: one item ends or is struck, all others return to the queue. */
function endSlice(
  state: AgentState,
  worker: Worker,
  death: { slice: Slice; sight: SliceSight | undefined; blame: boolean; detail: DeathDetail },
  effects: Effect[],
): void {
  const { slice, sight } = death;
  const end = ownEnd(slice);
  const job = state.jobs.get(slice.job);
  const lease = job?.leases.get(slice.lease);
  if (job === undefined || lease === undefined || lease.dropped) return;
  const rest = (from: number): void => requeue(state, slice, { start: from, end });
  const cursor = sight?.cursor;
  if (cursor === undefined) return rest(slice.start);
  // Reduced: items before the cursor are lost with the partial that the worker kept in memory.
  const kept =
    job.task.reduced && !lease.partials ? lease.done.missingIn(slice.start, Math.min(cursor, end)) : [];
  for (const range of kept) requeue(state, slice, range);
  if (cursor >= end || !death.blame) return rest(cursor);
  const { kill: reason } = worker;
  const mine =
    reason === undefined || (reason.kind === "timeout" && reason.item === cursor) || reason.kind === "memory";
  if (!mine) return rest(cursor);
  rest(cursor + 1);
  lease.done.add(cursor, cursor + 1);
  if (reason?.kind === "timeout") {
    effects.push({
      kind: "appendTimeout",
      worker: worker.id,
      slice: slice.id,
      job: job.id,
      lease: lease.grant.id,
      item: cursor,
      timeoutMs: job.task.itemTimeoutMs ?? 0,
    });
    return;
  }
  strike(state, job, { slice, item: cursor, detail: death.detail }, effects);
}

function strike(
  state: AgentState,
  job: Job,
  at: { slice: Slice; item: number; detail: DeathDetail },
  effects: Effect[],
): void {
  const lease = job.leases.get(at.slice.lease);
  if (lease === undefined) return;
  const id = (state.nextCommit += 1);
  state.strikes.set(id, { id, job: job.id, lease: lease.grant.id, item: at.item });
  effects.push({
    kind: "publishStrike",
    strike: id,
    segment: job.segment,
    record: {
      kind: "strike",
      job: job.id,
      epoch: job.epoch,
      cause: "crash",
      lease: lease.grant,
      ranges: [{ start: at.item, end: at.item + 1 }],
      byLeader: false,
      detail: at.detail,
    },
  });
}

/** Started, unspecialised workers for each runtime used lately (DESIGN 10). */
export function keepSpares(state: AgentState, effects: Effect[]): void {
  state.spareAt = undefined;
  // Without room its files could not be made either, and it would be tried again at once.
  if (state.drain !== "working" || state.disk !== "ok") return;
  for (const slot of state.slots) {
    if (state.now < slot.startAfter) continue;
    const here = onSlot(state, slot.id);
    if (here.length >= workersPerSlotMax) continue;
    const busy = here.filter((worker) => worker.slices.length > 0);
    if (busy.some((worker) => state.now - worker.takenAt < spareDelayMs)) continue;
    for (const [runtime, usedAt] of state.runtimesUsed) {
      if (state.now - usedAt > spareMs && runtime !== "js") continue;
      if (here.some((worker) => worker.runtime === runtime && worker.job === undefined && isAlive(worker)))
        continue;
      if (busy.length === 0 && state.now < slot.quietUntil) {
        state.spareAt = Math.min(state.spareAt ?? slot.quietUntil, slot.quietUntil);
        break;
      }
      startWorker(state, slot, runtime, undefined, effects);
      break;
    }
  }
}

/** Without room for files: what idle workers keep in their scratch folders goes with them, or it would stay for ever (P5). */
export function freeScratch(state: AgentState, effects: Effect[]): void {
  if (state.disk === "ok") return;
  for (const worker of state.workers.values()) {
    const isIdle = worker.job !== undefined && worker.slices.length === 0;
    if (isIdle && isAlive(worker)) kill(worker, { kind: "stop" }, effects);
  }
}
