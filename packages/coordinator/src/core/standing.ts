/**
 * How nodes stand: which crashes count against them, and what EC_NODES keeps of that (DESIGN 5, "Strikes"). A crash
 * counts against a node once its item has ended well on another; until then it may as well be the item's fault. All
 * that counts is a fold of the jobs' logs with the times of their messages, so a new leader finds it there again;
 * what was decided from it is in the node's record.
 */
import type {
  FoldDelta,
  JobId,
  LogRecord,
  NodeId,
  NodeRecord,
  Range,
  StandingRecord,
} from "@everycore/protocol/pure";
import { limits, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Crash, Job, Standing } from "./model.ts";

const newStanding = (): Standing => ({
  state: "good",
  quarantine: undefined,
  crashes: [],
  countsFrom: 0,
  times: 0,
  isStored: false,
});

export function standingOf(state: ClusterState, node: NodeId): Standing {
  let standing = state.standings.get(node);
  if (standing === undefined) state.standings.set(node, (standing = newStanding()));
  return standing;
}

/** As a former leader has left it. */
export function recoverStanding(state: ClusterState, { id, isGone, standing: record }: NodeRecord): void {
  // It is waited for; the record says nothing but that, and goes on saying it to whoever leads next.
  if (record === undefined && !isGone) return;
  const standing = standingOf(state, id);
  standing.isStored = true;
  if (record === undefined) return;
  standing.quarantine = record.quarantine;
  standing.state = record.quarantine === undefined ? "good" : "quarantined";
  if (record.quarantine !== undefined) state.quarantined.add(id);
  standing.countsFrom = record.countsFrom;
  standing.times = record.times;
}

/** Nothing stands against it that a later leader would have to know. */
const isClean = (state: ClusterState, { quarantine, times: inRow, countsFrom }: Standing): boolean =>
  quarantine === undefined && inRow === 0 && state.now - countsFrom > times.crashCountsMs;

/** Writes or deletes the node's record, as it is now. */
export function saveNode(state: ClusterState, id: NodeId, effects: Effect[]): void {
  const node = state.nodes.get(id);
  const standing = standingOf(state, id);
  const { countsFrom, times: inRow, quarantine } = standing;
  const isGone = node === undefined || node.state === "drained";
  if (isGone && isClean(state, standing)) {
    standing.isStored = false;
    effects.push({ kind: "deleteNode", node: id });
    return;
  }
  standing.isStored = true;
  const record: NodeRecord = {
    id,
    host: node?.host ?? "",
    epoch: state.epoch,
    draining: node?.draining ?? false,
    isGone,
  };
  const kept: StandingRecord = {
    countsFrom,
    times: inRow,
    ...(quarantine === undefined ? {} : { quarantine }),
  };
  effects.push({
    kind: "putNode",
    record: isClean(state, standing) ? record : { ...record, standing: kept },
  });
}

/** What the record says of items whose worker died: the nodes that have one crash more to answer for. */
export function weighCrashes(
  state: ClusterState,
  job: Job,
  event: { readonly record: LogRecord; readonly storedAt: number },
  delta: FoldDelta,
): NodeId[] {
  // By the leader's own clock where it can: that of NATS may differ from it.
  const at = job.phase === "folding" ? Math.min(event.storedAt, state.now) : state.now;
  suspect(job, event.record, delta, at);
  if (job.suspicions.size === 0) return [];
  const blamed = new Set<NodeId>();
  for (const { start, end, status, node, missing } of delta.accepted) {
    for (const index of suspectsWithin(job, { start, end })) {
      const suspicions = job.suspicions.get(index)!;
      job.suspicions.delete(index);
      if (status !== "value" || missing > 0 || node === undefined) continue;
      for (const suspicion of suspicions) {
        if (suspicion.node === node) continue;
        addCrash(standingOf(state, suspicion.node), { job: job.id, index, crashedAt: suspicion.at, at });
        blamed.add(suspicion.node);
      }
    }
  }
  return [...blamed];
}

/** Commits have many small parts where items failed, and few suspects, or the other way round. */
function suspectsWithin({ suspicions }: Job, { start, end }: Range): number[] {
  const found: number[] = [];
  if (end - start <= suspicions.size) {
    for (let index = start; index < end; index += 1) if (suspicions.has(index)) found.push(index);
  } else {
    for (const index of suspicions.keys()) if (index >= start && index < end) found.push(index);
  }
  return found;
}

/** A worker that was over its memory limit says nothing: the next try has twice as much. */
function suspect(job: Job, record: LogRecord, { struck, reopened }: FoldDelta, at: number): void {
  for (const { start, end } of reopened) {
    for (const index of job.suspicions.keys())
      if (index >= start && index < end) job.suspicions.delete(index);
  }
  if (record.kind !== "strike" || record.detail?.limitBytes !== undefined) return;
  for (const { start, end, cause, node } of struck) {
    if (cause !== "crash") continue;
    for (let index = start; index < end; index += 1) {
      const before = job.suspicions.get(index) ?? [];
      if (!before.some((one) => one.node === node)) job.suspicions.set(index, [...before, { node, at }]);
    }
  }
}

function addCrash({ crashes }: Standing, crash: Crash): void {
  crashes.push(crash);
  crashes.sort((a, b) => a.at - b.at); // logs are read one beside the other
  const ofJob = crashes.filter(({ job }) => job === crash.job);
  if (ofJob.length > limits.standingCrashesPerJob) crashes.splice(crashes.indexOf(ofJob[0]!), 1);
  if (crashes.length > limits.standingCrashesMax) crashes.shift();
}

const isRecent = (state: ClusterState, { at }: Crash): boolean => state.now - at <= times.crashCountsMs;

/** Crashes that count against the node at this moment. */
export const countedCrashes = (
  state: ClusterState,
  standing: Standing,
  blamedJobs: ReadonlySet<JobId>,
): Crash[] =>
  standing.crashes.filter(
    (crash) => isRecent(state, crash) && crash.crashedAt > standing.countsFrom && !blamedJobs.has(crash.job),
  );

/**
 * Jobs whose items die wherever they run, by chance: the cause is in the job, and its crashes count against no node.
 * Two such jobs would else take out one node after the other (decision 0090).
 */
export function jobsToBlame(state: ClusterState): Set<JobId> {
  const nodesOf = new Map<JobId, number>();
  for (const { crashes } of state.standings.values()) {
    for (const job of new Set(crashes.filter((crash) => isRecent(state, crash)).map(({ job: of }) => of)))
      nodesOf.set(job, (nodesOf.get(job) ?? 0) + 1);
  }
  const here = [...state.nodes.values()].filter((node) => node.state === "connected").length;
  const most = Math.max(Math.min(here, 3), Math.floor(here / 2) + 1);
  return new Set([...nodesOf].filter(([, nodes]) => nodes >= most).map(([job]) => job));
}

/** With each tick: what is too old to count is forgotten. */
export function tickStanding(state: ClusterState, id: NodeId, standing: Standing, effects: Effect[]): void {
  const { crashes } = standing;
  while (crashes.length > 0 && !isRecent(state, crashes[0]!)) crashes.shift();
  if (standing.state === "good" && standing.times > 0) {
    if (state.now - standing.countsFrom <= times.quarantineForgottenMs) return;
    standing.times = 0;
    saveNode(state, id, effects);
    return;
  }
  if (state.nodes.has(id) || crashes.length > 0 || !isClean(state, standing)) return;
  if (standing.isStored) saveNode(state, id, effects);
  else state.standings.delete(id);
}
