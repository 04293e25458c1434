/**
 * How nodes stand: which crashes count against them, and what EC_NODES keeps of that (DESIGN 5, "Strikes"). A crash
 * counts against a node once its item has ended well on another; until then it may as well be the item's fault. All
 * that counts is a fold of the jobs' logs with the times of their messages, so a new leader finds it there again. Jobs
 * are deleted with their logs, so what counts already is in the node's record too, beside what was decided from it
 * (decision 0113).
 */
import type {
  CountedCrash,
  FoldDelta,
  JobCheckpoint,
  JobId,
  LogRecord,
  NodeId,
  NodeRecord,
  Range,
  StandingRecord,
} from "@everycore/protocol/pure";
import { limits, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Job, Standing } from "./model.ts";

const newStanding = (): Standing => ({
  state: "good",
  quarantine: undefined,
  crashes: [],
  countsFrom: 0,
  times: 0,
  isStored: false,
  savedAt: 0,
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
  for (const crash of record.crashes ?? [])
    addCrash(standing, { ...crash, at: Math.min(crash.at, state.now) }); // or a clock ahead of ours would keep it
}

/** Nothing stands against it that a later leader would have to know. */
const isClean = (state: ClusterState, standing: Standing): boolean =>
  standing.quarantine === undefined &&
  standing.times === 0 &&
  state.now - standing.countsFrom > times.crashCountsMs &&
  keptCrashes(state, standing).length === 0;

const keptCrashes = (state: ClusterState, { crashes, countsFrom }: Standing): CountedCrash[] =>
  crashes.filter((crash) => isRecent(state, crash) && crash.crashedAt > countsFrom);

/** Writes or deletes the node's record, as it is now. */
export function saveNode(state: ClusterState, id: NodeId, effects: Effect[]): void {
  const node = state.nodes.get(id);
  const standing = standingOf(state, id);
  const { countsFrom, times: inRow, quarantine } = standing;
  // One that this leader waits for has not reported yet: the next one must wait for it too.
  const isGone = node === undefined ? !state.awaited.has(id) : node.state === "drained";
  if (isGone && isClean(state, standing)) {
    standing.isStored = false;
    effects.push({ kind: "deleteNode", node: id });
    return;
  }
  standing.isStored = true;
  standing.savedAt = state.now;
  const record: NodeRecord = {
    id,
    host: node?.host ?? "",
    epoch: state.epoch,
    draining: node?.draining ?? false,
    isGone,
  };
  const crashes = keptCrashes(state, standing);
  const kept: StandingRecord = {
    countsFrom,
    times: inRow,
    ...(crashes.length === 0 ? {} : { crashes }),
    ...(quarantine === undefined ? {} : { quarantine }),
  };
  effects.push({
    kind: "putNode",
    record: isClean(state, standing) ? record : { ...record, standing: kept },
  });
}

/** What a checkpoint of the job says: a leader that died may not have written it into the nodes' records. */
export function recoverCrashes(state: ClusterState, job: JobId, crashes: JobCheckpoint["crashes"]): void {
  for (const { node, index, crashedAt, at } of crashes)
    addCrash(standingOf(state, node), { job, index, crashedAt, at: Math.min(at, state.now) });
}

/** What counts against nodes by this job at this moment. */
export function crashesOf(state: ClusterState, id: JobId): JobCheckpoint["crashes"] {
  return [...state.standings].flatMap(([node, standing]) =>
    keptCrashes(state, standing)
      .filter(({ job }) => job === id)
      .map(({ index, crashedAt, at }) => ({ node, index, crashedAt, at })),
  );
}

/** What the record says of items whose worker died: the nodes that have one crash more to answer for. */
export function weighCrashes(
  state: ClusterState,
  job: Job,
  event: { readonly record: LogRecord; readonly storedAt: number },
  delta: FoldDelta,
  effects: Effect[],
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
        const standing = standingOf(state, suspicion.node);
        const known = addCrash(standing, { job: job.id, index, crashedAt: suspicion.at, at });
        if (known === "there") continue;
        blamed.add(suspicion.node);
        if (known === "new" || state.now - standing.savedAt >= times.crashesSavedMs)
          saveNode(state, suspicion.node, effects);
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

/** `there`: the node's record had it, and its job's log has it too; `instead`: it pushed out an older one of its job. */
function addCrash({ crashes }: Standing, crash: CountedCrash): "new" | "instead" | "there" {
  const same = crashes.find(({ job, index }) => job === crash.job && index === crash.index);
  // Read again from the log it is no younger. An item of a later round is, and is one item all the same.
  if (same !== undefined && same.at >= crash.at) return "there";
  if (same !== undefined) crashes.splice(crashes.indexOf(same), 1);
  crashes.push(crash);
  crashes.sort((a, b) => a.at - b.at); // logs are read one beside the other
  const ofJob = crashes.filter(({ job }) => job === crash.job);
  const isTooMany = ofJob.length > limits.standingCrashesPerJob;
  if (isTooMany) crashes.splice(crashes.indexOf(ofJob[0]!), 1);
  if (crashes.length > limits.standingCrashesMax) crashes.shift();
  return isTooMany || same !== undefined ? "instead" : "new";
}

const isRecent = (state: ClusterState, { at }: CountedCrash): boolean =>
  state.now - at <= times.crashCountsMs;

/** Crashes that count against the node at this moment. */
export const countedCrashes = (
  state: ClusterState,
  standing: Standing,
  blamedJobs: ReadonlySet<JobId>,
): CountedCrash[] => keptCrashes(state, standing).filter(({ job }) => !blamedJobs.has(job));

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
