/** What people see of jobs and nodes: read-only summaries of the state, for RPCs and status pages. */
import type {
  AuditResult,
  JobId,
  JobSpec,
  JobState,
  NodeId,
  OutcomeCounts,
  Repair,
} from "@everycore/protocol/pure";
import { isEnded } from "@everycore/protocol/pure";
import type { ClusterState, Job, Node } from "./model.ts";
import { isQuarantined, quarantineText } from "./quarantine.ts";
import { leasesOn, waitingItems } from "./queues.ts";
import { countsOfItems, missingItems } from "./reduced.ts";
import { canRun, missingOf } from "./runtimes.ts";
import { auditResultOf, isChecking } from "./spot-checks.ts";

export interface UsageView {
  readonly node: NodeId;
  readonly host: string;
  readonly leases: number;
  readonly slots: {
    readonly slot: number;
    readonly items: number;
    readonly slices: number;
    readonly splits: number;
    readonly busyMs: number;
    readonly cpuMs: number;
  }[];
}

export interface JobView {
  readonly id: JobId;
  readonly user: string;
  readonly spec: JobSpec;
  readonly state: JobState;
  readonly reason: string;
  /** undefined while the input is open. */
  readonly total: number | undefined;
  readonly appended: number;
  readonly counts: OutcomeCounts;
  readonly leased: number;
  readonly queued: number;
  readonly missing: number;
  readonly createdAt: number;
  readonly startedAt: number | undefined;
  readonly endedAt: number | undefined;
  /** In this round, of a job with a time limit. */
  readonly ranMs: number;
  readonly round: number;
  readonly repairs: readonly Repair[];
  readonly retries: number;
  readonly strikes: number;
  readonly duplicates: number;
  readonly itemMs: number | undefined;
  readonly usage: UsageView[];
  readonly leasesSent: number;
  readonly outcomeBytes: number;
  /** Of a job with `audit`; `open`: items that wait for it or are at it. */
  readonly audit: (AuditResult & { readonly share: number; readonly open: number }) | undefined;
}

export interface NodeView {
  readonly id: NodeId;
  readonly host: string;
  readonly state: string;
  readonly reason: string;
  readonly slots: number;
  readonly busy: number;
  readonly leased: number;
  readonly lastSeenAt: number;
}

/** Items of the job's own: the reduction item is not counted. */
function ownCounts(job: Job): OutcomeCounts {
  if (isEnded(job.state) && job.finalCounts !== undefined && !isFolded(job)) return job.finalCounts;
  return countsOfItems(job);
}

/** Where the job's log ends, as far as this leader knows: after a takeover its fold has yet to get there. */
export const logEndOf = (job: Job): number => Math.max(job.fold.seq, job.foldTo);

const isFolded = (job: Job): boolean => job.fold.seq > 0 && job.fold.seq >= job.foldTo;

export function jobView(state: ClusterState, id: JobId): JobView | undefined {
  const job = state.jobs.get(id);
  if (job === undefined) return undefined;
  const { fold } = job;
  const leased = job.held.total;
  const queued = waitingItems(job);
  const usage = [...fold.usage].map(([node, used]) => ({
    node,
    host: state.nodes.get(node)?.host ?? "",
    leases: job.leasesByNode.get(node) ?? 0,
    slots: [...used.slots].sort((a, b) => a[0] - b[0]).map(([slot, sums]) => ({ slot, ...sums })),
  }));
  return {
    id,
    user: job.user,
    spec: job.spec,
    state: job.state,
    reason: job.reason !== "" ? job.reason : waitsFor(state, job, queued, leased),
    total: fold.total ?? job.finalTotal,
    appended: fold.total ?? job.finalTotal ?? fold.appended,
    counts: ownCounts(job),
    leased,
    queued,
    missing: isEnded(job.state) && !isFolded(job) ? job.finalMissing : missingItems(job),
    createdAt: job.createdAt,
    startedAt: job.startedAt,
    endedAt: job.endedAt,
    ranMs: job.clock.ranMs,
    round: job.round,
    repairs: job.repairs,
    retries: fold.retries,
    strikes: fold.strikeCount,
    duplicates: fold.dropped.duplicate,
    itemMs: job.itemMs,
    usage,
    leasesSent: job.leasesSent,
    outcomeBytes: fold.outcomeBytes,
    audit: auditView(job),
  };
}

function auditView(job: Job): JobView["audit"] {
  const found = auditResultOf(job);
  if (found === undefined) return undefined;
  return { ...found, share: job.spec.audit ?? 0, open: job.checks?.open ?? 0 };
}

export const jobViews = (state: ClusterState): JobView[] =>
  [...state.jobs.keys()].map((id) => jobView(state, id)!).sort((a, b) => b.createdAt - a.createdAt);

/** Why a job with waiting items has nothing running: `blocked: storage | disk | no-node | quarantine`, or "". */
function waitsFor(state: ClusterState, job: Job, queued: number, leased: number): string {
  if (job.state === "paused") return leased > 0 ? `${leased} items still run or are on their way back` : "";
  if (isEnded(job.state)) return "";
  if (queued + leased === 0) return auditWaits(job);
  // What nodes with full disks hold waits for them as well.
  const holders = [...job.leases.values()].map((lease) => state.nodes.get(lease.grant.node));
  if (leased > 0 && !holders.every((node) => node?.diskFull === true)) return "";
  if (state.storage !== "ok") return "blocked: storage";
  const connected = [...state.nodes.values()].filter((node) => node.state === "connected");
  if (connected.length === 0) return "blocked: no-node (no agent is connected)";
  const able = connected.filter((node) => canRun(node, job.spec.task));
  if (able.length === 0) return `blocked: no-node (${missingOf(connected, job.spec.task)})`;
  if (able.every((node) => node.diskFull)) return "blocked: disk";
  if (able.every((node) => node.draining)) return "blocked: no-node (all agents are draining)";
  if (able.every(isQuarantined)) return `blocked: quarantine (${quarantinedNames(able)})`;
  if (job.phase !== "open") return "waiting for the agents' reports after a takeover";
  return "";
}

/** All items have ended, and some are to be compared. */
function auditWaits(job: Job): string {
  const total = job.fold.total ?? 0;
  if (!isChecking(job) || !job.fold.covered.covers(0, total)) return "";
  const { items, open } = job.checks!;
  const stranded =
    job.checks!.strandedSince === undefined ? "" : "; no other node can run them at the moment";
  return `audit: ${items.size - open} of ${items.size} items are compared${stranded}`;
}

/** Whom a job waits for that nobody else can run. */
function quarantinedNames(nodes: readonly Node[]): string {
  const names = nodes.slice(0, 3).map((node) => `${node.host} ${node.id.slice(0, 8)}`);
  if (nodes.length > names.length) names.push("...");
  return names.join(", ");
}

export function nodeView(state: ClusterState, id: NodeId): NodeView | undefined {
  const node = state.nodes.get(id);
  return node === undefined ? undefined : viewOf(state, node);
}

export const nodeViews = (state: ClusterState): NodeView[] =>
  [...state.nodes.values()].map((node) => viewOf(state, node));

/** A node that drains or is in quarantine is connected to the core, and something else to people. */
export function shownState(node: Node): string {
  if (node.state !== "connected") return node.state;
  if (node.draining) return "draining";
  return isQuarantined(node) ? "quarantined" : node.state;
}

function viewOf(state: ClusterState, node: Node): NodeView {
  let leased = 0;
  for (const { lease } of leasesOn(state, node)) leased += lease.open.size;
  return {
    id: node.id,
    host: node.host,
    state: shownState(node),
    reason: [node.reason, quarantineText(state, node.standing)].filter((text) => text !== "").join("; "),
    slots: node.slots,
    busy: node.busy,
    leased,
    lastSeenAt: node.lastSeenAt,
  };
}

/** What the cluster waits for, one sentence each. */
export function waitingReasons(state: ClusterState): string[] {
  const reasons: string[] = [];
  if (state.storage !== "ok") reasons.push("storage is nearly full: new leases pause until jobs are deleted");
  if (state.awaited.size > 0) reasons.push(`reports of ${state.awaited.size} known agents after a takeover`);
  for (const view of jobViews(state)) {
    if (view.reason !== "" && !isEnded(view.state))
      reasons.push(`job ${view.id.slice(0, 8)}: ${view.reason}`);
  }
  return reasons;
}

/** Whether a job that is still known has code of that name: `<user>/<digest>`. */
export function isBundleUsed(state: ClusterState, name: string): boolean {
  for (const { user, spec, repairs } of state.jobs.values()) {
    if ([spec.task, ...repairs].some(({ bundle }) => `${user}/${bundle ?? ""}` === name)) return true;
  }
  return false;
}
