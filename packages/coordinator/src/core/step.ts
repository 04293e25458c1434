/**
 * The leader's decisions: `step(state, event) -> effects`, the only writer of the state. Equal state and event
 * give equal effects, so a seed reproduces a failure and a simulator runs thousands of nodes. Handlers stand in
 * the files named after what they own; this one dispatches, then places work.
 */
import { tickDelayed } from "./backoff.ts";
import { placeChecks, tickChecks } from "./check-leases.ts";
import type { CheckpointPace } from "./checkpoint.ts";
import { checkpointPace } from "./checkpoint.ts";
import { tickTimeout } from "./deadlines.ts";
import { drain, drained, undrain } from "./drains.ts";
import type { Effect, Event } from "./events.ts";
import { applyRecord } from "./log.ts";
import { cancel, fail, noSuchJob, remove, retry, stored, submit, takesInput, tickJob } from "./jobs.ts";
import { answered, sliceStarting, tickAskedLeases } from "./leases.ts";
import type { ClusterState, Job, Keys } from "./model.ts";
import { gaveBack, heartbeat, linkBroke, report, taskFailed, tickNode } from "./nodes.ts";
import { pause, resume, tickPaused } from "./pause.ts";
import { place } from "./place.ts";
import { letOutNeeded, tickQuarantines } from "./quarantine.ts";
import { elected, logOpened, progress, recover, wantLog } from "./takeover.ts";
import { compared } from "./spot-checks.ts";
import { newTotals } from "./totals.ts";

export function newCluster(checkpoints: CheckpointPace = checkpointPace): ClusterState {
  return {
    epoch: 0,
    leading: false,
    now: 0,
    counter: 0,
    jobs: new Map(),
    active: new Set(),
    checking: new Set(),
    nodes: new Map(),
    standings: new Map(),
    quarantined: new Set(),
    folding: new Set(),
    checkpoints,
    takingOver: false,
    recovered: false,
    storage: "ok",
    awaited: new Set(),
    someLost: false,
    awaitUntil: 0,
    dirty: false,
    touched: new Set(),
    committed: new Map(),
    placed: { slots: 0, isHungry: false, at: 0 },
    servedTag: 0,
    askedLeases: new Map(),
    totals: newTotals(),
  };
}

/** What `event` changes, and what it wants done, in order. */
export function step(state: ClusterState, keys: Keys, event: Event): Effect[] {
  const effects: Effect[] = [];
  // Time never runs backwards inside the core, whatever the clock does.
  state.now = Math.max(state.now, event.at);
  handle(state, keys, event, effects);
  if (!state.leading) return effects;
  if (state.takingOver || state.folding.size > 0) progress(state, keys, effects);
  letOutNeeded(state, effects);
  // A node, room in storage: what allows a lease allows one of a spot check.
  if (state.dirty) for (const { checks } of state.checking) if (checks !== undefined) checks.isDirty = true;
  place(state, keys, effects);
  if (state.checking.size > 0) placeChecks(state, keys, effects);
  return effects;
}

function handle(state: ClusterState, keys: Keys, event: Event, effects: Effect[]): void {
  switch (event.kind) {
    case "elected":
    case "leadershipLost":
    case "jobRecovered":
    case "recovered":
      return term(state, keys, event, effects);
    case "logWanted":
      return withJob(state, event, (job) => wantLog(job, effects));
    case "logOpened":
      return withJob(state, event, (job) => logOpened(state, job, event.lastSeq));
    case "jobSubmitted":
      return submit(state, keys, event, effects);
    case "submitBroke":
    case "submitResumed":
      return attached(state, event);
    case "jobStored":
      return withJob(state, event, (job) => stored(state, job, effects));
    case "jobStoreFailed":
      effects.push({
        kind: "stepDown",
        reason: `the record of job ${event.job} was not stored: ${event.message}`,
        job: event.job,
      });
      return;
    case "logRecord":
      // From another segment: of a former life of an id that was used again; job and segment name a life.
      if (state.jobs.get(event.job)?.segment !== event.segment) return;
      return applyRecord(state, event, effects);
    case "cancelAsked":
    case "pauseAsked":
    case "resumeAsked":
    case "retryAsked":
    case "deleteAsked":
      return command(state, event, effects);
    case "nodeReported":
      return report(state, keys, event.report, effects);
    case "nodeHeartbeat":
      return heartbeat(state, event, effects);
    case "linkBroke":
      return linkBroke(state, event, effects);
    case "gaveBack":
      return gaveBack(state, event, effects);
    case "taskFailed":
      return taskFailed(state, event, effects);
    case "reductionRefused":
      return withJob(state, event, (job) => fail(state, job, event.message, effects));
    case "starving":
      return starving(state, event);
    case "sliceStarting":
      return sliceStarting(state, event, effects);
    case "drainAsked":
      return drain(state, event.node, event.ask, effects);
    case "undrainAsked":
      return undrain(state, event.node, event.ask, effects);
    case "drained":
      return drained(state, event, effects);
    case "leaseAnswered":
      return answered(state, event, effects);
    case "compared":
      return withJob(state, event, (job) => compared({ state, job, effects }, event));
    case "storageLevel":
      state.dirty ||= state.storage !== event.level;
      state.storage = event.level;
      return;
    case "tick":
      return tick(state, effects);
  }
}

function term(
  state: ClusterState,
  keys: Keys,
  event: Extract<Event, { kind: "elected" | "leadershipLost" | "jobRecovered" | "recovered" }>,
  effects: Effect[],
): void {
  switch (event.kind) {
    case "elected":
      return elected(state, event);
    case "leadershipLost":
      return stepDown(state);
    case "jobRecovered":
      return recover(state, keys, event, effects);
    case "recovered":
      state.recovered = true;
      state.dirty = true;
  }
}

/** Another leads now: everything is forgotten, so that nothing can be decided from it. */
function stepDown(state: ClusterState): void {
  state.leading = false;
  state.jobs.clear();
  state.active.clear();
  state.folding.clear();
  state.checking.clear();
  state.recovered = false;
  state.nodes.clear();
  state.standings.clear();
  state.quarantined.clear();
  state.awaited.clear();
  state.touched.clear();
  state.committed.clear();
  state.askedLeases.clear();
}

function withJob(state: ClusterState, event: { job: Job["id"] }, then: (job: Job) => void): void {
  const job = state.jobs.get(event.job);
  if (job !== undefined) then(job);
}

function attached(
  state: ClusterState,
  event:
    | { kind: "submitBroke"; job: Job["id"]; detached: boolean }
    | { kind: "submitResumed"; job: Job["id"] },
): void {
  withJob(state, event, (job) => {
    if (!takesInput(job)) return;
    job.orphan = event.kind === "submitBroke" ? { at: state.now, detached: event.detached } : undefined;
  });
}

function command(
  state: ClusterState,
  event: Extract<
    Event,
    { kind: "cancelAsked" | "pauseAsked" | "resumeAsked" | "retryAsked" | "deleteAsked" }
  >,
  effects: Effect[],
): void {
  const job = state.jobs.get(event.job);
  if (job === undefined) {
    effects.push({ kind: "answer", ask: event.ask, answer: noSuchJob(event.job) });
    return;
  }
  switch (event.kind) {
    case "cancelAsked":
      return cancel(state, job, { message: event.message, ask: event.ask, status: "cancelled" }, effects);
    case "pauseAsked":
      return pause(state, job, event.ask, effects);
    case "resumeAsked":
      return resume(state, job, event.ask, effects);
    case "retryAsked":
      return retry(state, job, { ask: event.ask, code: event.code }, effects);
    case "deleteAsked":
      return remove(state, job, event.ask, effects);
  }
}

function starving(state: ClusterState, event: { node: Job["id"] | string; slots: number }): void {
  const node = state.nodes.get(event.node as never);
  if (node === undefined) return;
  node.starving = event.slots;
  state.touched.add(node.id);
}

function tick(state: ClusterState, effects: Effect[]): void {
  for (const node of state.nodes.values()) tickNode(state, node, effects);
  tickAskedLeases(state, effects);
  tickQuarantines(state, effects);
  for (const job of [...state.jobs.values()]) tickJob(state, job, effects);
  for (const job of state.active) {
    tickPaused(state, job, effects);
    tickDelayed(state, job);
    tickTimeout(state, job, effects);
  }
  tickChecks(state, effects);
  state.dirty = true;
}
