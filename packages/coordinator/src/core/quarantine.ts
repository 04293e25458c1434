/**
 * Which nodes get no new work because items die on them that end well elsewhere (P4), and when that is over. A
 * quarantined node finishes what it runs, and what it commits counts. It is let out by time, by `node undrain`, or
 * when a job has no other node left: so a quarantine may slow a cluster down, and never stops it (P5, C7).
 */
import type { CountedCrash, JobId, NodeId } from "@everycore/protocol/pure";
import { limits, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Job, Node, Standing } from "./model.ts";
import { queuedItems } from "./queues.ts";
import { fits } from "./runtimes.ts";
import { countedCrashes, jobsToBlame, saveNode, tickStanding } from "./standing.ts";
import { move, standingTransitions } from "./transitions.ts";

export const isQuarantined = (node: Node): boolean => node.standing.state === "quarantined";

function moveStanding(state: ClusterState, id: NodeId, standing: Standing, event: string): void {
  standing.state = move(standingTransitions, {
    machine: "standing of node",
    id,
    from: standing.state,
    event,
  });
  if (standing.state === "quarantined") state.quarantined.add(id);
  else state.quarantined.delete(id);
}

/** Something new counts against these nodes. */
export function judgeNodes(state: ClusterState, ids: Iterable<NodeId>, effects: Effect[]): void {
  // Of all nodes, and only when it matters.
  let blamedJobs: ReadonlySet<JobId> | undefined;
  for (const id of ids) {
    const node = state.nodes.get(id);
    if (node === undefined || node.state !== "connected" || node.draining || isQuarantined(node)) continue;
    if (node.standing.crashes.length < limits.quarantineItems) continue;
    blamedJobs ??= jobsToBlame(state);
    judge(state, node, countedCrashes(state, node.standing, blamedJobs), effects);
  }
}

/** Enough counts against the node, and others can do its work: it gets no more. */
function judge(state: ClusterState, node: Node, crashes: readonly CountedCrash[], effects: Effect[]): void {
  const isEnough =
    crashes.length >= limits.quarantineItems &&
    new Set(crashes.map(({ job }) => job)).size >= limits.quarantineJobs;
  if (isEnough && !isLastUsable(state, node)) begin(state, node, crashes, effects);
}

function begin(state: ClusterState, node: Node, crashes: readonly CountedCrash[], effects: Effect[]): void {
  const { standing } = node;
  moveStanding(state, node.id, standing, "blame");
  const forMs = Math.min(times.quarantineMs * 2 ** Math.min(standing.times, 16), times.quarantineMsMax);
  standing.times += 1;
  standing.quarantine = {
    since: state.now,
    until: state.now + forMs,
    crashes: crashes.map(({ job, index }) => ({ job, index })),
  };
  state.totals.quarantines += 1;
  // What it has not begun is safer elsewhere.
  for (const job of new Set(node.leases.values()))
    effects.push({ kind: "sendGiveBack", node: node.id, job, wantMs: 1e12, isAll: true });
  changed(state, node.id, quarantineText(state, standing), effects);
}

function end(
  state: ClusterState,
  id: NodeId,
  standing: Standing,
  how: { readonly event: "expire" | "undrain" | "need"; readonly reason: string },
  effects: Effect[],
): void {
  moveStanding(state, id, standing, how.event);
  standing.quarantine = undefined;
  // What it did before is paid for.
  standing.countsFrom = state.now;
  if (how.event === "undrain") standing.times = 0;
  state.dirty = true;
  changed(state, id, how.reason, effects);
}

function changed(state: ClusterState, id: NodeId, reason: string, effects: Effect[]): void {
  saveNode(state, id, effects);
  const isNow = state.standings.get(id)?.state === "quarantined";
  effects.push({ kind: "standingChanged", node: id, isQuarantined: isNow, reason });
  effects.push({ kind: "nodeChanged", node: id });
}

/** An operator says that the node is well; true if it was in quarantine. */
export function forgive(state: ClusterState, id: NodeId, effects: Effect[]): boolean {
  const standing = state.standings.get(id);
  if (standing === undefined || standing.state !== "quarantined") return false;
  end(state, id, standing, { event: "undrain", reason: "an operator has lifted it" }, effects);
  return true;
}

export function tickQuarantines(state: ClusterState, effects: Effect[]): void {
  for (const [id, standing] of [...state.standings]) {
    if (standing.quarantine !== undefined && state.now >= standing.quarantine.until)
      end(state, id, standing, { event: "expire", reason: "its time is over" }, effects);
    tickStanding(state, id, standing, effects);
  }
  // Who was away, drained, or needed when it was judged last may not be so any more.
  judgeNodes(state, state.standings.keys(), effects);
}

/** Gets leases, or will get some as soon as it is heard again. */
const serves = (node: Node): boolean =>
  (node.state === "connected" || node.state === "suspected") &&
  !node.draining &&
  !node.diskFull &&
  !isQuarantined(node);

/** The node is the last one that takes work at all, or the last one that can run a job which has not ended. */
function isLastUsable(state: ClusterState, node: Node): boolean {
  const others = [...state.nodes.values()].filter(
    (other) => other !== node && other.state === "connected" && serves(other),
  );
  if (others.length === 0) return true;
  for (const job of state.active) {
    if (job.state === "cancelling" || !fits(node, job)) continue;
    if (!others.some((other) => fits(other, job))) return true;
  }
  return false;
}

/** C7: lets nodes out that a job cannot do without, the first to be let out anyway first. */
export function letOutNeeded(state: ClusterState, effects: Effect[]): void {
  if (!state.dirty || state.quarantined.size === 0) return;
  for (const job of state.active) {
    const candidates = heldUp(state, job);
    if (candidates.length === 0) continue;
    const until = ({ standing }: Node): number => standing.quarantine?.until ?? 0;
    const first = candidates.reduce((a, b) => (until(b) < until(a) ? b : a));
    const reason = `job ${job.id.slice(0, 8)} has no other node`;
    end(state, first.id, first.standing, { event: "need", reason }, effects);
  }
}

/** Quarantined nodes that the job waits for while no other can run it; none where it does not wait for one. */
export function heldUp(state: ClusterState, job: Job): Node[] {
  if (state.quarantined.size === 0) return [];
  const runs = (job.state === "accepting" || job.state === "running") && job.stored;
  if (!runs || job.phase === "folding" || queuedItems(job) === 0) return [];
  // Others may report in a moment.
  if (state.takingOver || state.awaited.size > 0) return [];
  const fitting = [...state.nodes.values()].filter((node) => fits(node, job));
  if (fitting.some(serves)) return [];
  return fitting.filter(
    (node) => node.state === "connected" && !node.draining && !node.diskFull && isQuarantined(node),
  );
}

/** For people; "" for a node that is not in quarantine. */
export function quarantineText(state: ClusterState, { quarantine }: Standing): string {
  if (quarantine === undefined) return "";
  const byJob = new Map<JobId, number[]>();
  for (const { job, index } of quarantine.crashes) byJob.set(job, [...(byJob.get(job) ?? []), index]);
  const items = [...byJob].map(
    ([job, indices]) =>
      `${indices.length === 1 ? "item" : "items"} ${indices.toSorted((a, b) => a - b).join(", ")} of job ${job.slice(0, 8)}`,
  );
  const minutes = Math.max(1, Math.ceil((quarantine.until - state.now) / 60_000));
  return `quarantined for ${minutes} min more: workers died here on ${items.join(" and ")}, which ended well elsewhere`;
}
