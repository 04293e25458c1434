/**
 * Item or host? What strikes lead to (P4, DESIGN 5): after one crash the item is tried alone on another node;
 * two crashes, three losses or four strikes of any kind are a verdict, sealed with all that is known of the
 * last death. Queues by strikes are chosen in queues.ts; this file only pronounces verdicts.
 */
import type { DeathDetail, FoldDelta, NodeId, Range } from "@everycore/protocol/pure";
import { limits } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import { fail } from "./jobs.ts";
import { seal } from "./leader-records.ts";
import type { ClusterState, Job } from "./model.ts";
import { queuedWithin, unqueue } from "./queues.ts";

/** Crashes after which an item is blamed. */
const crashesMax = 2;
/** An item that its worker's memory limit has ended is tried once more with so many times that limit. */
const memoryFactor = 2;

/**
 * Memory of the worker that tries an item again whose last death was its memory limit; undefined: the node's own.
 * A fold of the strikes, so that any later leader grants the same. A crashed item is always leased alone.
 */
export function memoryFor(job: Job, { start, end }: Range): number | undefined {
  if (end - start !== 1) return undefined;
  const limit = job.fold.mishaps.crashes(start).at(-1)?.detail?.limitBytes;
  return limit === undefined ? undefined : Math.min(memoryFactor * limit, Number.MAX_SAFE_INTEGER);
}

/** Deaths that are remembered for people, of each job (P7). */
const notesMax = 8;

export function noteStrikes(job: Job, { struck, reopened }: FoldDelta): void {
  if (reopened.length > 0) job.strikes.length = 0;
  for (const { start, end, cause, node } of struck) {
    const last = job.strikes.at(-1);
    // A node that is lost strikes run after run: one note for what lies side by side.
    const goesOn = last?.cause === cause && last.node === node && last.end === start;
    if (goesOn && cause === "lost") job.strikes.splice(-1, 1, { ...last, end });
    else job.strikes.push({ start, end, cause, node });
  }
  if (job.strikes.length > notesMax) job.strikes.splice(0, job.strikes.length - notesMax);
}

/** Nodes that were lost with the item, for people: as far as they are remembered. */
const lostOn = (job: Job, index: number): NodeId[] =>
  job.strikes
    .filter(({ cause, start, end }) => cause === "lost" && index >= start && index < end)
    .map(({ node }) => node);

/** Seals those items of a struck range whose strikes are enough. */
export function judge(state: ClusterState, job: Job, struck: Range, effects: Effect[]): void {
  for (const open of job.fold.covered.missingIn(struck.start, struck.end)) {
    for (let at = open.start; at < open.end;) {
      const run = job.fold.mishaps.lostRun(at, open.end);
      const crashed = job.fold.mishaps.nextCrashed(at, run.end);
      const end = crashed === undefined ? run.end : crashed === at ? at + 1 : crashed;
      const crashes = job.fold.mishaps.crashes(at).length;
      const verdict = verdictOf(crashed === at ? crashes : 0, run.level);
      if (verdict !== undefined) pronounce(state, job, { start: at, end }, verdict, effects);
      at = end;
    }
  }
}

export function verdictOf(crashes: number, lost: number): "crash" | "lost" | undefined {
  if (crashes >= crashesMax) return "crash";
  if (lost >= limits.lostStrikesMax) return "lost";
  if (crashes + lost >= limits.strikesMax) return "lost";
  return undefined;
}

function pronounce(
  state: ClusterState,
  job: Job,
  range: Range,
  status: "crash" | "lost",
  effects: Effect[],
): void {
  const waiting = queuedWithin(job, range);
  // Items leased a second time meanwhile stay where they are; the fold decides who comes first.
  for (const part of waiting) unqueue(job, part);
  const ranges = waiting.flatMap((part) => job.sealing.missingIn(part.start, part.end));
  if (ranges.length === 0) return;
  if (status === "lost") {
    const nodes = lostOn(job, range.start);
    const names = nodes.map((id) => `${state.nodes.get(id)?.host ?? "node"} ${id.slice(0, 8)}`);
    const where = names.length === 0 ? "" : `: ${names.join(", ")}`;
    const message = `lost its agent or node three times while it ran${where}`;
    const node = nodes.at(-1);
    seal(state, job, { ranges, status, message, ...(node === undefined ? {} : { node }) }, effects);
    return;
  }
  const last = job.fold.mishaps.crashes(range.start).at(-1);
  const detail = last?.detail;
  const how = howItDied(detail);
  const message = `the worker died twice while it ran this item${how === "" ? "" : `: ${how}`}`;
  seal(
    state,
    job,
    {
      ranges,
      status,
      message,
      ...(last === undefined ? {} : { node: last.node }),
      ...(detail === undefined ? {} : { detail }),
    },
    effects,
  );
}

/**
 * Verdicts so many, all of them crashes, and no value: the task is broken, the rest of its input is spared. Counted by
 * the fold, so that a new leader goes on counting where the old one was.
 */
export function failIfAllCrash(state: ClusterState, job: Job, effects: Effect[]): void {
  const { crash, lost, value } = job.fold.counts();
  if (crash < limits.crashVerdictsToFailJob || lost > 0 || value > 0) return;
  fail(state, job, `task crashes: its first ${crash} items all killed their worker twice`, effects);
}

export function howItDied(detail: DeathDetail | undefined): string {
  const { signal, exitCode, limitBytes, peakBytes } = detail ?? {};
  let { reason } = detail ?? {};
  if (reason !== undefined && limitBytes !== undefined) {
    const peak = peakBytes === undefined ? "" : `, peak ${megabytes(peakBytes)}`;
    reason += ` (limit ${megabytes(limitBytes)}${peak})`;
  }
  const end =
    signal === undefined ? (exitCode === undefined ? "" : `exit code ${exitCode}`) : `killed by ${signal}`;
  return reason === undefined || reason === "worker exited"
    ? end
    : [reason, end].filter((part) => part !== "").join(", ");
}

const megabytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MB`;
