/**
 * Who computes the values of spot checks again (spot-checks.ts): once nothing of the job is queued, single items go as
 * second leases to other nodes than the first, on another machine where there is one, a few at a time. What no node can
 * take stays unchecked, and says so: a job never waits for its audit for ever (P5).
 */
import type { LeaseMode, NodeId } from "@everycore/protocol/pure";
import { isEnded, limits, times } from "@everycore/protocol/pure";
import { maybeFinish } from "./jobs.ts";
import { lendDouble } from "./leases.ts";
import type { ClusterState, Job, Keys, Node, SpotCheck, SpotChecks } from "./model.ts";
import type { Effect } from "./events.ts";
import { usableFor } from "./nodes.ts";
import { queuedItems } from "./queues.ts";
import { canRun } from "./runtimes.ts";
import { weightsOf } from "./shares.ts";
import type { Act } from "./spot-checks.ts";
import { cameToNoEnd, conclude, countLeased, forgetThinned } from "./spot-checks.ts";

/** Work of spot checks that a slot has ahead, ms: it hides the way of a lease and of its commit. */
const aheadMs = 250;

/** After every event: cheap where no job has a spot check open. */
export function placeChecks(state: ClusterState, keys: Keys, effects: Effect[]): void {
  for (const job of state.checking) {
    const { checks } = job;
    if (checks !== undefined && checks.open > 0 && checks.isDirty) {
      checks.isDirty = false;
      look({ state, job, effects }, checks, keys);
    }
    // Whatever has concluded the last of them: the job may have waited for nothing else (P5).
    if (checks === undefined || checks.open === 0 || isEnded(job.state)) {
      state.checking.delete(job);
      maybeFinish(state, job, effects);
    }
  }
}

/** Time's work: tries whose lease has ended and no record says how (refused, given back, lost), or that do not end. */
export function tickChecks(state: ClusterState, effects: Effect[]): void {
  for (const job of state.checking) {
    const checks = job.checks!;
    checks.isDirty = true;
    const mostMs = Math.max(times.spotCheckMs, times.spotCheckFactor * (job.itemMs ?? 0));
    for (const check of [...checks.leased]) {
      const act = { state, job, effects };
      const lease = job.doubles.get(check.lease!.id);
      if (lease === undefined) cameToNoEnd(act, check, check.lease!);
      else if (state.now - lease.since > mostMs) conclude(act, check, "unchecked");
    }
  }
}

/** The sample is known once the input is: before that it may still be thinned. */
function look(act: Act, checks: SpotChecks, keys: Keys): void {
  const { job, effects } = act;
  const { total } = job.fold;
  if (total === undefined || job.phase !== "open" || !job.stored) return;
  checks.sample.within(total, total);
  forgetThinned(checks);
  compareSome(job, checks, effects);
  if (job.state === "running" && queuedItems(job) === 0) {
    lendSome(act, checks, keys);
    if (job.fold.covered.covers(0, total)) giveUpStranded(act, checks);
  } else checks.strandedSince = undefined;
}

function compareSome(job: Job, checks: SpotChecks, effects: Effect[]): void {
  const { id, segment } = job;
  while (checks.comparing < limits.comparisonsMax) {
    const check = checks.toCompare.pop();
    if (check === undefined) return;
    if (check.state !== "comparing" || check.second === undefined) continue;
    checks.comparing += 1;
    const { index, first, second } = check;
    effects.push({ kind: "compare", job: id, segment, index, first, second });
  }
}

function lendSome(act: Act, checks: SpotChecks, keys: Keys): void {
  const { state, job } = act;
  if (state.storage !== "ok") return;
  const usable = usableNodes(state, job);
  const machines = new Set(usable.map(({ machine }) => machine));
  const wanted = Math.ceil(aheadMs / (job.itemMs ?? aheadMs));
  const perSlot = Math.min(limits.spotChecksPerSlotMax, Math.max(limits.spotChecksPerSlot, wanted));
  let weight: number | undefined;
  for (const node of usable) {
    if (state.now < node.refusedUntil) continue;
    for (let room = perSlot * node.slots - (checks.leasedOn.get(node.id) ?? 0); room > 0; room -= 1) {
      const check = takeFor(state, checks, node, machines);
      if (check === undefined) break;
      lend(act, keys, node, check);
      weight ??= weightsOf(state).get(job.user) ?? 1;
      job.tag += (job.itemMs ?? 1) * weight;
    }
  }
}

const usableNodes = (state: ClusterState, job: Job): Node[] =>
  [...state.nodes.values()].filter((node) => usableFor(node, job));

/** One whose value another node gave; another machine first. */
function takeFor(
  state: ClusterState,
  { waiting }: SpotChecks,
  node: Node,
  machines: ReadonlySet<string>,
): SpotCheck | undefined {
  for (const [first, list] of waiting) {
    if (first === node.id) continue;
    const machine = state.nodes.get(first)?.machine;
    const isElsewhere = machine !== node.machine;
    if (!isElsewhere && machines.size > 1) continue;
    for (let at = list.length - 1; at >= 0; at -= 1) {
      const check = list[at]!;
      if (check.state === "waiting" && check.triedBy === node.id && state.now < check.againAt) continue;
      list.splice(at, 1);
      if (list.length === 0) waiting.delete(first);
      if (check.state === "waiting") return check;
    }
  }
  return undefined;
}

function lend({ state, job, effects }: Act, keys: Keys, node: Node, check: SpotCheck): void {
  const to = { item: check.index, node, mode: modeOf(job, check.index) };
  const { grant } = lendDouble(state, keys, job, to, effects);
  check.state = "leased";
  check.lease = grant;
  job.checks!.leased.add(check);
  countLeased(job.checks!, node.id, 1);
}

/** What has lost nodes is run with the same care as before. */
function modeOf(job: Job, index: number): LeaseMode {
  const { level } = job.fold.mishaps.careRun(index, index + 1);
  return level === 0 ? "normal" : level === 1 ? "announced" : "alone";
}

/** Those that no node but the first can take: after a while, or at once where there is no other. */
function giveUpStranded(act: Act, checks: SpotChecks): void {
  const { state, job } = act;
  const usable = state.storage === "ok" ? usableNodes(state, job) : [];
  const stranded = [...checks.waiting].filter(([first]) => !usable.some(({ id }) => id !== first));
  if (stranded.length === 0) {
    checks.strandedSince = undefined;
    return;
  }
  const since = (checks.strandedSince ??= state.now);
  const isOver = state.now - since >= times.spotCheckElsewhereMs;
  for (const [first, list] of stranded) {
    if (!isOver && mayCome(state, job, first)) continue;
    checks.waiting.delete(first);
    for (const check of list) if (check.state === "waiting") conclude(act, check, "unchecked");
  }
}

const mayCome = (state: ClusterState, job: Job, first: NodeId): boolean =>
  state.storage !== "ok" ||
  [...state.nodes.values()].some(
    (node) => node.id !== first && node.state !== "drained" && canRun(node, job.spec.task),
  );
