/**
 * Outcomes on their way to the log: seen in the files, gathered per job, cut into commits, kept until the log has
 * acknowledged them (P1). Published again they are harmless: the fold takes the first.
 */
import type { CommitPart, LeaseGrant } from "@everycore/protocol/pure";
import { levelOf, limits, recordStatus } from "@everycore/protocol/pure";
import type { AgentEvent, Effect, SeenRuns } from "./events.ts";
import { queuedItems, settle, slicesOf } from "./jobs.ts";
import type { AgentState, Job, Lease, WaitingRun } from "./model.ts";

/** Commits of one job that may be unacknowledged at once; more only wait in the socket. */
const inFlightPerJobMax = 4;
/** Usage entries are per slot: far below the header's bound. */
const recordTable = { value: 0, error: 1, timeout: 2 } as const;

type Of<Kind extends AgentEvent["kind"]> = Extract<AgentEvent, { kind: Kind }>;

export function outcomesSeen(state: AgentState, event: Of<"outcomesSeen">, effects: Effect[]): void {
  for (const seen of event.seen) {
    const job = state.jobs.get(seen.job);
    const lease = job?.leases.get(seen.lease);
    if (job === undefined || lease === undefined || lease.dropped) {
      // Cancelled, dropped or ended meanwhile: nobody waits for them.
      if (seen.runs.length > 0) effects.push({ kind: "freeOutcomes", runs: seen.runs });
      continue;
    }
    gather(state, job, lease, seen);
  }
}

function gather(state: AgentState, job: Job, lease: Lease, seen: SeenRuns): void {
  for (const run of seen.runs) {
    if (job.waiting.length === 0) job.waitingSince = state.now;
    lease.done.add(run.start, run.end);
    lease.queue.remove(run.start, run.end);
    for (const waiting of verdicts(job, lease, run)) job.waiting.push(waiting);
    job.waitingBytes += run.to - run.from;
    state.spoolBytes += run.to - run.from;
  }
}

/** Errors and timeouts with retries left are tried again: whether one is left differs by item. */
function verdicts(job: Job, lease: Lease, run: SeenRuns["runs"][number]): WaitingRun[] {
  if (run.status === recordTable.value || run.status === recordStatus.partial) {
    return [{ ...run, lease: lease.grant, verdict: "value" }];
  }
  const verdict = run.status === recordTable.timeout ? "timeout" : "error";
  const tried = levelOf(lease.attempts, run.start); // the same for the whole run: outcome-scan.ts
  // Within a reduced span errors were retried in place; here they are only timeouts.
  return [{ ...run, lease: lease.grant, verdict: tried < job.task.retries ? "again" : verdict }];
}

/** Commits what is due: 256 KB, nothing more of that job here, or the first outcome is commitMs old. */
export function commitDue(state: AgentState, effects: Effect[]): void {
  for (const job of state.jobs.values()) {
    while (job.waiting.length > 0 && job.inFlight < inFlightPerJobMax && isDue(state, job))
      commit(state, job, effects);
  }
}

export const commitMsOf = (state: AgentState): number => Math.max(limits.commitMs, state.nodes / 3);

function isDue(state: AgentState, job: Job): boolean {
  if (job.waitingBytes >= limits.commitBytesMax) return true;
  if (state.now - job.waitingSince >= commitMsOf(state)) return true;
  return queuedItems(job) === 0 && slicesOf(state, job.id).length === 0;
}

function commit(state: AgentState, job: Job, effects: Effect[]): void {
  const leases: LeaseGrant[] = [];
  const parts: CommitPart[] = [];
  const runs: WaitingRun[] = [];
  let bytes = 0;
  for (const run of job.waiting) {
    const size = run.to - run.from;
    if (runs.length > 0 && bytes + size > limits.messageBytesMax) break;
    let lease = leases.findIndex((known) => known.id === run.lease.id);
    if (lease < 0 && leases.length >= limits.commitLeasesMax) break;
    if (lease < 0) lease = leases.push(run.lease) - 1;
    const last = parts.at(-1);
    const joins =
      last !== undefined && last.lease === lease && last.end === run.start && last.status === run.verdict;
    if (joins && last.missing === undefined && run.missing === undefined)
      parts[parts.length - 1] = { ...last, end: run.end };
    else if (parts.length >= limits.commitPartsMax) break;
    else parts.push(partOf(run, lease));
    runs.push(run);
    bytes += size;
  }
  job.waiting = job.waiting.slice(runs.length);
  job.waitingBytes -= bytes;
  job.waitingSince = state.now;
  job.inFlight += 1;
  const id = (state.nextCommit += 1);
  state.commits.set(id, { id, job: job.id, runs, bytes });
  const usage = [...job.usage.values()];
  job.usage.clear();
  const record = { kind: "commit", job: job.id, epoch: job.epoch, leases, parts, usage, bytes } as const;
  effects.push({ kind: "publishCommit", commit: id, segment: job.segment, record, runs });
}

function partOf(run: WaitingRun, lease: number): CommitPart {
  const part = { lease, start: run.start, end: run.end, status: run.verdict };
  return run.missing === undefined ? part : { ...part, missing: run.missing };
}

export function commitAcked(state: AgentState, event: Of<"commitAcked">, effects: Effect[]): void {
  const commit = state.commits.get(event.commit);
  if (commit === undefined) return;
  state.commits.delete(commit.id);
  state.spoolBytes -= commit.bytes;
  effects.push({ kind: "freeOutcomes", runs: commit.runs });
  const job = state.jobs.get(commit.job);
  if (job === undefined) return;
  job.inFlight -= 1;
  job.ackedSeq = Math.max(job.ackedSeq, event.seq);
  const touched = new Set<Lease>();
  for (const run of commit.runs) {
    const lease = job.leases.get(run.lease.id);
    lease?.done.remove(run.start, run.end);
    if (lease !== undefined) touched.add(lease);
  }
  for (const lease of touched) settle(state, job, lease, effects);
}

export function strikeAcked(state: AgentState, event: Of<"strikeAcked">, effects: Effect[]): void {
  const strike = state.strikes.get(event.strike);
  if (strike === undefined) return;
  state.strikes.delete(strike.id);
  const job = state.jobs.get(strike.job);
  if (job === undefined) return;
  job.ackedSeq = Math.max(job.ackedSeq, event.seq);
  const lease = job.leases.get(strike.lease);
  lease?.done.remove(strike.item, strike.item + 1);
  settle(state, job, lease, effects);
}
