/**
 * Why a job is where it is, in lines for people (`job get --explain`): what it waits for and how long that may take,
 * what is ahead of it, where its items are. Reads the state and decides nothing; times are estimates by learned costs.
 */
import type { JobId, NodeId, Range } from "@everycore/protocol/pure";
import { isEnded, times } from "@everycore/protocol/pure";
import type { ClusterState, Job, Node, StrikeNote } from "./model.ts";
import { usableFor } from "./nodes.ts";
import { isHeldBack } from "./pause.ts";
import { servedFirst } from "./place.ts";
import { isQuarantined, quarantineText } from "./quarantine.ts";
import { queuedItems, waitingItems } from "./queues.ts";
import { canRun, hasRuntime, lackedLabels } from "./runtimes.ts";
import { stragglersOf } from "./speculation.ts";
import { howItDied } from "./strikes.ts";
import { jobView } from "./views.ts";

export interface ExplainLine {
  readonly about: string;
  readonly text: string;
}

/** Nodes, jobs or items named one by one in an explanation (P7). */
const namedMax = 10;
/** Runs of uncovered items that are looked at for retries: the leader has other work (P7). */
const runsMax = 10_000;
/** What a first result may take beside items' own times (DESIGN 9, "A small job on a full cluster"). */
const firstResultMs = 250;

export function explainJob(state: ClusterState, id: JobId): ExplainLine[] | undefined {
  const job = state.jobs.get(id);
  const view = jobView(state, id);
  if (job === undefined || view === undefined) return undefined;
  const lines: ExplainLine[] = [];
  const say = (about: string, texts: string | readonly string[]): void => {
    for (const text of typeof texts === "string" ? [texts] : texts) {
      if (text !== "") lines.push({ about, text });
    }
  };
  say("state", view.reason === "" ? job.state : `${job.state}: ${view.reason}`);
  if (isEnded(job.state)) {
    say("waits for", endedText(state, job));
    say("late", lateOf(state, job));
    say("struck", strikesOf(state, job));
    return lines;
  }
  say("waits for", waitsOf(state, job));
  say("first result", firstResultText(state, job));
  say("ahead", aheadText(state, job));
  say("input", inputText(state, job));
  say("queue", queueText(state, job));
  say("leases", leasesOf(state, job));
  say("late", lateOf(state, job));
  say("nodes", nodesOf(state, job));
  say("struck", strikesOf(state, job));
  say("retries", retriesText(job));
  say("cost", costText(state, job));
  say("storage", storageText(state));
  return lines;
}

function endedText(state: ClusterState, job: Job): string {
  const { endedAt, spec } = job;
  if (endedAt === undefined) return "nothing: it has ended";
  const ended = `nothing: it ended ${span(state.now - endedAt)} ago`;
  if (spec.ttlMs === 0) return `${ended} and is kept until it is deleted`;
  return `${ended} and is deleted in ${span(endedAt + spec.ttlMs - state.now)}`;
}

/** All that keeps items from starting or ending, the widest cause first. */
function waitsOf(state: ClusterState, job: Job): string[] {
  if (!job.stored) return ["its record to be stored in NATS"];
  if (job.phase === "folding") {
    return [`a new leader to read its log (at record ${count(job.fold.seq)} of ${count(job.foldTo)})`];
  }
  if (job.state === "cancelling") return [cancellingText(job)];
  const waits: string[] = [];
  if (job.state === "paused") {
    waits.push(`its user: paused, nothing of it is leased before everycore job resume ${job.id.slice(0, 8)}`);
    if (job.held.total > 0) waits.push(`${items(job.held.total)} still run or are on their way back`);
  }
  if (state.storage !== "ok") waits.push("room in the cluster's storage: nothing new is leased before that");
  waits.push(...takeoverWaits(state, job), ...suspectedWaits(state, job), ...crashedWaits(state, job));
  if (queuedItems(job) > 0 && job.state !== "paused") {
    const able = [...state.nodes.values()].filter((node) => usableFor(node, job));
    if (able.length === 0) waits.push(nodeWait(state, job));
    else if (isBeyondReserve(job)) waits.push("its record in NATS, which says how far it may be leased");
    else if (job.held.total === 0) waits.push("room in the queue of a node");
  }
  if (job.held.total === 0 && queuedItems(job) === 0 && !job.queues.delayed.isEmpty)
    waits.push(`the next try of ${items(job.queues.delayed.size)} that failed`);
  if (!job.sealing.isEmpty) waits.push(`${items(job.sealing.size)} whose end is being written to its log`);
  if (job.reducing) waits.push("the last step of its reduction: all other items have ended");
  if (waits.length > 0) return waits;
  if (job.held.total > 0) return [heldText(state, job)];
  return job.fold.total === undefined ? ["more input"] : ["its end to be recorded"];
}

function nodeWait(state: ClusterState, job: Job): string {
  const isThere = [...state.nodes.values()].some(
    (node) => node.state === "connected" && isQuarantined(node) && canRun(node, job.spec.task),
  );
  if (!isThere) return "a node that can run it";
  return "a node that can run it: those that are here are in quarantine, and one is let out if the others are lost";
}

/** A node runs leases of several jobs by turns: an item of this one may not have begun. */
function heldText(state: ClusterState, job: Job): string {
  const nodes = [...job.held.byNode.keys()];
  const sharers = [...state.active].filter(
    (other) => other !== job && nodes.some((node) => other.held.byNode.has(node)),
  );
  const held = `${items(job.held.total)} on ${many(nodes.length, "node")} to end`;
  if (sharers.length === 0) return held;
  return `${held}; the slots there have work of ${many(sharers.length, "other job")} too`;
}

function isBeyondReserve(job: Job): boolean {
  const first = job.queues.normal.first();
  return first !== undefined && first.start >= job.reserved;
}

function cancellingText(job: Job): string {
  if (!job.intentActed) return "its end to be stored in NATS; its workers are stopped then";
  return `its end to be written to its log: ${items(job.sealing.size)} to go`;
}

function takeoverWaits(state: ClusterState, job: Job): string[] {
  const { size } = job.queues.awaiting;
  if (size === 0) return [];
  const nodes = [...state.awaited].map((id) => nodeName(state, id));
  const whose = nodes.length === 0 ? "all nodes" : named(nodes);
  const left = span(state.awaitUntil - state.now);
  return [
    `reports after a takeover: ${items(size)} may be running; they wait for ${whose}, at most ${left} more`,
  ];
}

/** Leases on nodes that are silent, until these are held for lost. */
function suspectedWaits(state: ClusterState, job: Job): string[] {
  const waits: string[] = [];
  for (const [id, held] of job.held.byNode) {
    const node = state.nodes.get(id);
    if (node?.state !== "suspected") continue;
    const since = state.now - node.suspectedAt;
    const left = span(times.lostMs - since);
    waits.push(
      `${nodeName(state, id)} (${node.reason} for ${span(since)}): ${items(held)} go elsewhere in ${left} unless it is back`,
    );
  }
  return waits.slice(0, namedMax);
}

/** Items whose worker died: another node than that one is waited for, and not for ever. */
function crashedWaits(state: ClusterState, job: Job): string[] {
  return [...job.queues.crashed].slice(0, namedMax).map(([index, since]) => {
    const last = job.fold.mishaps.crashes(index).at(-1);
    const where = last === undefined ? "" : ` than ${nodeName(state, last.node)}`;
    const left = span(times.crashElsewhereMs - (state.now - since));
    return `item ${index}, whose worker died, to find another node${where}, for at most ${left} more`;
  });
}

/** DESIGN 9: item time + 250 ms + the shortest item that runs on a matching slot. */
function firstResultText(state: ClusterState, job: Job): string {
  if (job.fold.covered.size > 0 || queuedItems(job) + job.held.total === 0) return "";
  if (state.storage !== "ok" || job.state === "paused" || job.phase === "folding") return "";
  const able = [...state.nodes.values()].filter((node) => usableFor(node, job));
  if (able.length === 0) return "";
  const shortest = shortestRunning(state, job, able);
  const own = job.itemMs;
  const parts = [
    own === undefined ? "its own item (no cost learned yet)" : `its own item (${span(own)})`,
    `${firstResultMs} ms`,
  ];
  if (shortest === undefined)
    parts.push("what is left of the shortest item on its nodes (no cost learned yet)");
  else if (shortest > 0)
    parts.push(`what is left of the shortest item on its nodes (at most about ${span(shortest)})`);
  const first = aheadOf(state, job).some((other) => other.spec.priority > job.spec.priority);
  return `within ${parts.join(" + ")}${first ? ", once the jobs of higher priority leave a slot" : ""}`;
}

/** Mean time of the quickest items that other jobs have there; 0 where a slot is free, undefined where unknown. */
function shortestRunning(state: ClusterState, job: Job, able: readonly Node[]): number | undefined {
  let shortest: number | undefined;
  for (const node of able) {
    if (node.busy < node.slots) return 0;
    for (const other of state.active) {
      if (other === job || other.itemMs === undefined || !other.held.byNode.has(node.id)) continue;
      shortest = Math.min(shortest ?? Number.POSITIVE_INFINITY, other.itemMs * node.speed);
    }
  }
  return shortest;
}

/** Jobs with work that are served before this one, in their order. */
function aheadOf(state: ClusterState, job: Job): Job[] {
  return [...state.active]
    .filter((other) => other !== job && (other.state === "running" || other.state === "accepting"))
    .filter((other) => queuedItems(other) + other.held.total > 0 && servedFirst(other, job) < 0)
    .toSorted(servedFirst);
}

function aheadText(state: ClusterState, job: Job): string {
  const ahead = aheadOf(state, job);
  if (ahead.length === 0) return "no other job";
  const higher = ahead.filter((other) => other.spec.priority > job.spec.priority).length;
  const why: string[] = [];
  if (higher > 0) why.push(`${higher} of higher priority`);
  if (higher < ahead.length) why.push(`${ahead.length - higher} by fair share (served less so far)`);
  return `${many(ahead.length, "job")}: ${why.join(", ")}: ${named(ahead.map(({ id }) => id.slice(0, 8)))}`;
}

function inputText(state: ClusterState, job: Job): string {
  if (job.fold.total !== undefined) return `complete: ${items(job.fold.total)}`;
  const held = isHeldBack(job) ? `; much of it came since the pause, more waits for the resume` : "";
  const soFar = `open: ${items(job.spec.rangeItems ?? job.fold.appended)} so far${held}`;
  const { orphan } = job;
  if (orphan === undefined) return soFar;
  const left = span(times.acceptingOrphanMs - (state.now - orphan.at));
  const then = orphan.detached ? "it is closed with what has come" : "the job is cancelled";
  return `${soFar}; its client is gone for ${span(state.now - orphan.at)}: in ${left} ${then} unless it is back`;
}

function queueText(state: ClusterState, job: Job): string {
  const { normal, announced, alone, crashed, awaiting, delayed, due } = job.queues;
  const next = span(Math.max(0, Math.min(...due.keys()) - state.now));
  const kinds: [number, string][] = [
    [normal.size, "ready"],
    [announced.size, "that lost their node once: each slice is announced before it starts"],
    [alone.size, "that lost their node twice: one at a time, alone on a node"],
    [crashed.size, "that killed a worker: one at a time, on another node"],
    [delayed.size, `that failed and wait before they are tried again, the next for ${next}`],
    [awaiting.size, "that wait for reports after a takeover"],
  ];
  const parts = kinds.filter(([size]) => size > 0).map(([size, what]) => `${count(size)} ${what}`);
  return parts.length === 0 ? "empty" : parts.join("; ");
}

function leasesOf(state: ClusterState, job: Job): string[] {
  const byNode = new Map<NodeId, { leases: number; unanswered: number; alone: number; oldest: number }>();
  for (const { grant, since, state: of, mode } of job.leases.values()) {
    let sums = byNode.get(grant.node);
    if (sums === undefined)
      byNode.set(grant.node, (sums = { leases: 0, unanswered: 0, alone: 0, oldest: since }));
    sums.leases += 1;
    if (of === "sending") sums.unanswered += 1;
    if (mode === "alone") sums.alone += 1;
    sums.oldest = Math.min(sums.oldest, since);
  }
  const texts = [...byNode].map(([id, { leases, unanswered, alone, oldest }]) => {
    const notes = [`the oldest ${span(state.now - oldest)} old`];
    if (alone > 0) notes.push(`${alone} run alone`);
    if (unanswered > 0) notes.push(`${unanswered} not yet answered`);
    const held = items(job.held.byNode.get(id) ?? 0);
    return `${nodeName(state, id)}: ${held} in ${many(leases, "lease")}, ${notes.join(", ")}`;
  });
  return shortened(texts, "nodes");
}

/** Items that run far longer than the others did. */
function lateOf(state: ClusterState, job: Job): string[] {
  const texts = stragglersOf(state, job).map(({ item, lease, double }) => {
    const where = nodeName(state, lease.grant.node);
    const long = `item ${item} runs for ${span(state.now - lease.movedAt)} on ${where}`;
    if (double !== undefined) {
      const second = nodeName(state, double.grant.node);
      return `${long}, and for ${span(state.now - double.since)} on ${second} as well: the first outcome counts`;
    }
    const could =
      job.spec.speculate === true ? "a slot that has nothing to do" : "not asked for (--speculate)";
    return `${long}, others took ${span(job.itemMs ?? 0)}; a second try elsewhere: ${could}`;
  });
  const { given, won } = job.doubled;
  if (given > 0) texts.push(`so far ${items(given)} had a second try; ${won} of these tries ended first`);
  return shortened(texts, "items");
}

/** How many nodes can run it, and why each of the others cannot. */
function nodesOf(state: ClusterState, job: Job): string[] {
  const nodes = [...state.nodes.values()].filter((node) => node.state !== "drained");
  const able = nodes.filter((node) => usableFor(node, job));
  const slots = able.reduce((sum, node) => sum + node.slots, 0);
  const unfit = nodes.filter((node) => !usableFor(node, job));
  return [
    `${able.length} of ${nodes.length} can run it now, with ${many(slots, "slot")}`,
    ...shortened(
      unfit.map((node) => `not ${nodeName(state, node.id)}: ${unfitText(state, node, job)}`),
      "nodes",
    ),
  ];
}

function unfitText(state: ClusterState, node: Node, job: Job): string {
  const failed = job.failedOn.get(node.id);
  if (failed !== undefined) return `it cannot load the task: ${failed.slice(0, 200)}`;
  if (node.state === "lost") return node.reason;
  if (node.state !== "connected") return `${node.state}: ${node.reason}`;
  if (node.draining) return "it is draining";
  if (isQuarantined(node)) return quarantineText(state, node.standing);
  if (node.diskFull) return node.reason === "" ? "its disk is full" : node.reason;
  if (!hasRuntime(node, job.spec.task))
    return `it has no ${job.spec.task.runtime}${job.spec.task.python ?? ""}`;
  const lacked = lackedLabels(node, job.spec.task);
  if (lacked.length > 0) return `it has no label ${lacked.join(", ")}`;
  return "its report waits until its jobs' logs are read";
}

function strikesOf(state: ClusterState, job: Job): string[] {
  return job.strikes.map(
    (note) => `${rangeText(note)}: ${causeText(state, job, note)}; ${fateText(job, note)}`,
  );
}

function causeText(state: ClusterState, job: Job, { start, cause, node }: StrikeNote): string {
  if (cause === "lost") return `lost with ${nodeName(state, node)}`;
  const crash = job.fold.mishaps.crashes(start).findLast((other) => other.node === node);
  const how = howItDied(crash?.detail);
  return `killed its worker on ${nodeName(state, node)}${how === "" ? "" : ` (${how})`}`;
}

function fateText(job: Job, { start, end }: Range): string {
  const open = job.fold.covered
    .missingIn(start, end)
    .reduce((sum, range) => sum + range.end - range.start, 0);
  if (open === 0) return end - start === 1 ? `ended as ${job.fold.statusOf(start) ?? ""}` : "all have ended";
  return open === 1 && end - start === 1 ? "to be tried again" : `${count(open)} of them to be tried again`;
}

function retriesText(job: Job): string {
  const { fold } = job;
  if (fold.retries === 0) return "";
  let again = 0;
  const gaps = fold.covered.missingIn(0, job.known + 1);
  for (const gap of gaps.slice(0, runsMax)) {
    for (const { start, end } of fold.mishaps.attemptsWithin(gap.start, gap.end)) again += end - start;
  }
  const least = gaps.length > runsMax ? "at least " : "";
  return `${least}${items(again)} under way that failed before; ${fold.retries === 1 ? "1 retry" : `${count(fold.retries)} retries`} in all, at most ${job.spec.task.retries} an item`;
}

function costText(state: ClusterState, job: Job): string {
  const open = waitingItems(job) + job.queues.awaiting.size + job.held.total;
  if (job.itemMs === undefined) return `not learned yet: no commit has come; ${items(open)} open`;
  const workMs = open * job.itemMs;
  const text = `${span(job.itemMs)} an item, ${items(open)} open: ${span(workMs)} of one core`;
  const slots = [...state.nodes.values()]
    .filter((node) => usableFor(node, job))
    .reduce((sum, node) => sum + node.slots, 0);
  if (slots === 0 || open === 0) return text;
  const users = state.active.size > 1 ? " if it had them alone" : "";
  // Work on fewer items than slots ends no sooner than one item.
  return `${text}, ${span(Math.max(job.itemMs, workMs / slots))} on ${many(slots, "slot")}${users}`;
}

const storageText = ({ storage }: ClusterState): string =>
  storage === "ok"
    ? "has room"
    : `nearly full: nothing new is leased${storage === "refuse" ? ", new jobs are refused" : ""}`;

/** As people know it, with its id: one host may have several agents. */
const nodeName = (state: ClusterState, id: NodeId): string =>
  `${state.nodes.get(id)?.host ?? "node"} ${id.slice(0, 8)}`;

const rangeText = ({ start, end }: Range): string =>
  end - start === 1 ? `item ${start}` : `items ${start}-${end - 1}`;

const named = (names: readonly string[]): string => shortened(names, "more").join(", ");

function shortened(texts: readonly string[], what: string): string[] {
  if (texts.length <= namedMax) return [...texts];
  const more = what === "more" ? "more" : `more ${what}`;
  return [...texts.slice(0, namedMax), `and ${texts.length - namedMax} ${more}`];
}

const count = (value: number): string => String(value).replaceAll(/\B(?=(\d{3})+$)/g, ",");
const many = (value: number, what: string): string => `${count(value)} ${what}${value === 1 ? "" : "s"}`;
const items = (value: number): string => many(value, "item");

/** A time span; one that is over counts as none. */
function span(ms: number): string {
  if (ms <= 0) return "0 s";
  if (ms < 10) return `${Number(ms.toPrecision(2))} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.round(ms / 60_000);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
