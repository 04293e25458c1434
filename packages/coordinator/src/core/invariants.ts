/** What must hold after every step (named in model.ts). For tests and simulator: it walks the whole state. */
import { IntervalSet, isEnded, limits } from "@everycore/protocol/pure";
import type { ClusterState, Job } from "./model.ts";
import { heldUp } from "./quarantine.ts";
import { holderOf, leaseOf } from "./queues.ts";

/** Sentences about what is broken; empty when all is well. */
export function checkInvariants(state: ClusterState): string[] {
  const broken: string[] = [];
  for (const job of state.jobs.values()) {
    if (job.phase !== "folding") checkJob(state, job, broken);
  }
  for (const job of state.jobs.values()) {
    if (isEnded(job.state) === state.active.has(job))
      broken.push(`C5 job ${job.id}: active does not fit ${job.state}`);
  }
  for (const job of state.active) {
    const [held] = heldUp(state, job);
    if (held !== undefined) broken.push(`C7 job ${job.id} waits for node ${held.id}, which is in quarantine`);
  }
  for (const [id, { state: of, quarantine, crashes }] of state.standings) {
    const is = of === "quarantined";
    if (is !== (quarantine !== undefined) || is !== state.quarantined.has(id))
      broken.push(`C7 node ${id} is ${of} and has ${quarantine === undefined ? "no" : "a"} quarantine`);
    if (crashes.length > limits.standingCrashesMax)
      broken.push(`P7 node ${id} remembers ${crashes.length} crashes`);
  }
  for (const node of state.nodes.values()) {
    for (const [lease, job] of node.leases) {
      if (leaseOf(state.jobs.get(job), lease) === undefined)
        broken.push(`C4 node ${node.id} lists unknown lease ${lease}`);
    }
    for (const job of node.asked.keys()) {
      if (!state.jobs.has(job)) broken.push(`P7 node ${node.id} remembers job ${job}, which is gone`);
    }
  }
  return broken;
}

function checkJob(state: ClusterState, job: Job, broken: string[]): void {
  const seen = new IntervalSet();
  const put = (where: string, start: number, end: number): void => {
    if (seen.intersects(start, end))
      broken.push(`C1 job ${job.id}: [${start}, ${end}) in ${where} and elsewhere`);
    if (where !== "covered" && job.fold.covered.intersects(start, end)) {
      broken.push(`C1 job ${job.id}: [${start}, ${end}) is covered and in ${where}`);
    }
    seen.add(start, end);
  };
  for (const range of job.fold.covered) put("covered", range.start, range.end);
  const { normal, announced, alone, awaiting, crashed, delayed, due } = job.queues;
  for (const [name, set] of Object.entries({ normal, announced, alone, awaiting, delayed })) {
    for (const range of set) put(name, range.start, range.end);
  }
  for (const index of crashed.keys()) put("crashed", index, index + 1);
  const dueItems = [...due.values()].reduce((sum, items) => sum + items.size, 0);
  if (dueItems !== delayed.size)
    broken.push(`C1 job ${job.id}: ${delayed.size} items are delayed, ${dueItems} have a time`);
  checkHeld(job, broken);
  for (const lease of job.leases.values()) {
    for (const range of lease.open) put(`lease ${lease.grant.n}`, range.start, range.end);
    checkLease(state, job, lease.grant.id, broken);
  }
  checkDoubles(state, job, broken);
  for (const range of job.sealing) put("sealing", range.start, range.end);
  // A reduction item that was opened again waits for the others: it is in no queue before they are covered.
  const end = job.reducing ? job.known : Math.min(job.known, job.fold.total ?? job.known);
  const missing = seen.missingIn(0, end);
  const active = job.state === "running" || job.state === "paused" || job.state === "accepting";
  if (active && job.stored && missing.length > 0 && job.openedRound >= job.round) {
    broken.push(`C1 job ${job.id}: [${missing[0]!.start}, ${missing[0]!.end}) is nowhere`);
  }
  if (
    isEnded(job.state) &&
    job.leases.size + normal.size + announced.size + alone.size + crashed.size + delayed.size > 0
  ) {
    broken.push(`C5 job ${job.id} is ${job.state} and has work`);
  }
}

function checkHeld(job: Job, broken: string[]): void {
  const sums = new Map<string, number>();
  let total = 0;
  for (const { grant, open } of job.leases.values()) {
    sums.set(grant.node, (sums.get(grant.node) ?? 0) + open.size);
    total += open.size;
  }
  const { held } = job;
  const isSame = [...sums].every(([node, items]) => held.byNode.get(node as never) === items);
  if (!isSame || sums.size !== held.byNode.size || total !== held.total)
    broken.push(`C6 job ${job.id}: its leases hold ${total} items, counted were ${held.total}`);
}

function checkDoubles(state: ClusterState, job: Job, broken: string[]): void {
  for (const { grant, open, isDouble } of job.doubles.values()) {
    const item = open.first()?.start ?? -1;
    const check = job.checks?.items.get(item);
    const node = check?.lease?.id === grant.id ? check.first.node : holderOf(job, item)?.grant.node;
    if (open.size !== 1 || !isDouble || node === undefined || node === grant.node)
      broken.push(
        `C8 job ${job.id}: lease ${grant.n} doubles item ${item}, which is with ${node ?? "nobody"}`,
      );
    if (!state.nodes.get(grant.node)?.leases.has(grant.id))
      broken.push(`C4 job ${job.id}: node ${grant.node} does not list double ${grant.n}`);
  }
  for (const { grant, isDouble } of job.leases.values())
    if (isDouble) broken.push(`C8 job ${job.id}: lease ${grant.n} is a place and a double`);
}

function checkLease(state: ClusterState, job: Job, id: string, broken: string[]): void {
  const lease = job.leases.get(id as never)!;
  const { grant, open } = lease;
  if (open.isEmpty) broken.push(`C4 job ${job.id}: lease ${grant.n} is empty and listed`);
  for (const range of open) {
    const run = job.fold.roundRun(range.start, range.end);
    if (run.round !== grant.round || run.end < range.end) {
      broken.push(`C2 job ${job.id}: lease ${grant.n} holds items of another round`);
    }
  }
  if (grant.end > job.reserved)
    broken.push(`C3 job ${job.id}: lease ${grant.n} reaches beyond ${job.reserved}`);
  if (!state.nodes.get(grant.node)?.leases.has(grant.id)) {
    broken.push(`C4 job ${job.id}: node ${grant.node} does not list lease ${grant.n}`);
  }
}
