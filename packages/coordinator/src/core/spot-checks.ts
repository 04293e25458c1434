/**
 * Spot checks (`--audit`): a sample of a job's values is computed again on other nodes and compared, because a token
 * does not keep a node from lying about its own items (DESIGN 5). All of it is derived from the log, so that it needs no
 * record of its own and any later leader finds the same: the first is the part that counts, the second any duplicate
 * under a valid lease of another node. Who gets the leases stands in check-leases.ts.
 *
 * A second try that ends without a value is tried once more: one worker may be killed by chance, two differ.
 */
import type {
  AuditResult,
  CommitPart,
  CommitRecord,
  Difference,
  DifferingItem,
  FoldDelta,
  LeaseGrant,
  LeaseId,
  LogRecord,
  NodeId,
  StrikeRecord,
} from "@everycore/protocol/pure";
import { emptyAuditResult, isEnded, limits, times } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Job, Keys, OutcomePlace, SpotCheck, SpotChecks } from "./model.ts";
import { takeFromLease } from "./queues.ts";
import { Sample } from "./sample.ts";

/** Second tries that end without a value before the item differs. */
const failuresMax = 2;

export function newChecks(keys: Keys, job: Pick<Job, "id" | "spec">): SpotChecks | undefined {
  if (job.spec.audit === undefined) return undefined;
  return {
    sample: sampleOf(keys, job, job.spec.audit),
    found: emptyAuditResult,
    ...emptyRound(),
  };
}

const emptyRound = (): Omit<SpotChecks, "sample" | "found"> => ({
  thinnings: 0,
  items: new Map(),
  open: 0,
  waiting: new Map(),
  leased: new Set(),
  toCompare: [],
  comparing: 0,
  strandedSince: undefined,
  leasedOn: new Map(),
  isDirty: true,
});

/** Of which job, and what comes of it. */
export interface Act {
  readonly state: ClusterState;
  readonly job: Job;
  readonly effects: Effect[];
}

const sampleOf = (keys: Keys, { id, spec }: Pick<Job, "id" | "spec">, share: number): Sample =>
  new Sample(keys.sampleSeed(id), share, spec.rangeItems);

/** The next record of the job's log, as the fold has taken it. */
export function noteForChecks(
  act: Act,
  event: { readonly seq: number; readonly record: LogRecord },
  delta: FoldDelta,
): void {
  const { state, job } = act;
  const { checks } = job;
  if (checks === undefined || isEnded(job.state)) return;
  const { seq, record } = event;
  for (const part of delta.accepted) {
    const { node } = part;
    if (part.status !== "value" || node === undefined || job.fold.roundOf(part.start) !== job.round) continue;
    for (const index of checks.sample.within(part.start, part.end))
      add(checks, index, { node, seq, entry: part.entry + index - part.start });
  }
  forgetThinned(checks);
  if (record.kind === "commit") triedAgain(act, { seq, record }, delta);
  if (record.kind === "strike" && !delta.ignored) struck(act, record);
  if (checks.open > 0) state.checking.add(job);
}

/** Of an item that has its outcome the fold takes no notice: the try has ended all the same. */
function struck(act: Act, { cause, lease, ranges }: StrikeRecord): void {
  const checks = act.job.checks!;
  if (cause === "suspected") return;
  for (const { start, end } of ranges) {
    for (const index of checks.sample.within(start, end)) {
      const check = openCheck(act.job, checks, index, lease);
      if (check === undefined) continue;
      if (cause === "crash") failed(act, check, lease, "crash");
      else if (check.lease?.id === lease.id) cameToNoEnd(act, check, lease);
    }
  }
}

function add(checks: SpotChecks, index: number, first: OutcomePlace): void {
  const check: SpotCheck = {
    index,
    first,
    second: undefined,
    state: "waiting",
    lease: undefined,
    tries: 0,
    failedUnder: [],
    triedBy: undefined,
    againAt: 0,
    result: undefined,
  };
  checks.items.set(index, check);
  checks.open += 1;
  wait(checks, check);
}

/** The last of a list is served first: those that were tried already come after all others. */
function wait(checks: SpotChecks, check: SpotCheck): void {
  check.state = "waiting";
  checks.isDirty = true;
  const list = checks.waiting.get(check.first.node);
  if (list === undefined) checks.waiting.set(check.first.node, [check]);
  else if (check.triedBy === undefined) list.push(check);
  else list.unshift(check);
}

export function countLeased({ leasedOn }: SpotChecks, node: NodeId, by: number): void {
  leasedOn.set(node, (leasedOn.get(node) ?? 0) + by);
}

/** What the sample no longer holds: it was drawn before the end of the input was known. */
export function forgetThinned(checks: SpotChecks): void {
  const { sample } = checks;
  if (sample.thinnings === checks.thinnings) return;
  checks.thinnings = sample.thinnings;
  for (const [index, check] of checks.items) {
    if (sample.has(index)) continue;
    checks.items.delete(index);
    if (check.state !== "over") checks.open -= 1;
    check.state = "over"; // lists that hold it pass over it
  }
}

/** Outcomes that do not count, because another one was first. */
function triedAgain(
  act: Act,
  { seq, record }: { readonly seq: number; readonly record: CommitRecord },
  delta: FoldDelta,
): void {
  const checks = act.job.checks!;
  for (const { part, lease, reason } of delta.dropped) {
    const grant = record.leases.find(({ id }) => id === lease);
    if (reason !== "duplicate" || grant === undefined) continue;
    for (const index of checks.sample.within(part.start, part.end)) {
      const check = openCheck(act.job, checks, index, grant);
      const found = check === undefined ? undefined : entryOf(record, lease, index);
      if (check === undefined || found === undefined) continue;
      if (found.status === "value")
        gaveValue(act, check, grant, { node: grant.node, seq, entry: found.entry });
      else failed(act, check, grant, found.status === "timeout" ? "timeout" : "error");
    }
  }
}

function entryOf(
  record: CommitRecord,
  lease: string,
  index: number,
): { status: CommitPart["status"]; entry: number } | undefined {
  let entry = 0;
  for (const part of record.parts) {
    if (index >= part.start && index < part.end && record.leases[part.lease]?.id === lease)
      return { status: part.status, entry: entry + index - part.start };
    entry += part.end - part.start;
  }
  return undefined;
}

/** The item is still to be checked, and this lease is of another node than the value that counts. */
function openCheck(job: Job, { items }: SpotChecks, index: number, lease: LeaseGrant): SpotCheck | undefined {
  const check = items.get(index);
  if (check === undefined || check.state === "over" || check.state === "comparing") return undefined;
  return lease.node === check.first.node || lease.round !== job.fold.roundOf(index) ? undefined : check;
}

function gaveValue(act: Act, check: SpotCheck, lease: LeaseGrant, second: OutcomePlace): void {
  endTry(act, check, lease.id);
  check.second = second;
  check.state = "comparing";
  act.job.checks!.toCompare.push(check);
}

/** Counted once for each lease: a commit may be stored twice. */
function failed(act: Act, check: SpotCheck, lease: LeaseGrant, how: Difference): void {
  if (check.failedUnder.includes(lease.id)) return;
  check.failedUnder.push(lease.id);
  if (check.failedUnder.length >= failuresMax) return conclude(act, check, { second: lease.node, how });
  if (check.lease?.id === lease.id) tryElsewhere(act, check, lease);
}

/** Refused, given back, lost with its node: nothing is known of the item but that. */
export function cameToNoEnd(act: Act, check: SpotCheck, lease: Pick<LeaseGrant, "id" | "node">): void {
  check.tries += 1;
  if (check.tries >= limits.spotCheckTriesMax) conclude(act, check, "unchecked");
  else tryElsewhere(act, check, lease);
}

function tryElsewhere(act: Act, check: SpotCheck, lease: Pick<LeaseGrant, "id" | "node">): void {
  endTry(act, check, lease.id);
  check.triedBy = lease.node;
  check.againAt = act.state.now + times.spotCheckAgainMs;
  wait(act.job.checks!, check);
}

/** Its lease is over. `by`: that of the try which ended; another one that still runs is for nothing. */
function endTry({ state, job, effects }: Act, check: SpotCheck, by: LeaseId | undefined): void {
  const checks = job.checks!;
  if (check.lease === undefined) return;
  const { id, node } = check.lease;
  check.lease = undefined;
  checks.leased.delete(check);
  checks.isDirty = true;
  countLeased(checks, node, -1);
  const lease = job.doubles.get(id);
  if (lease === undefined) return;
  if (id !== by) effects.push({ kind: "dropLeases", node, leases: [id] });
  takeFromLease(state, job, lease, lease.grant);
}

export function conclude(act: Act, check: SpotCheck, result: NonNullable<SpotCheck["result"]>): void {
  const { state, job, effects } = act;
  endTry(act, check, undefined);
  check.state = "over";
  check.result = result;
  job.checks!.open -= 1;
  if (job.phase === "folding") return;
  state.totals.checks[typeof result === "string" ? result : "differing"] += 1;
  if (typeof result === "string") return;
  const { index, first } = check;
  effects.push({ kind: "itemDiffers", job: job.id, item: { index, first: first.node, ...result } });
}

/** The answer to a comparison. */
export function compared(
  act: Act,
  { index, isEqual }: { index: number; isEqual: boolean | undefined },
): void {
  const { checks } = act.job;
  const check = checks?.items.get(index);
  if (checks === undefined || check?.state !== "comparing" || check.second === undefined) return;
  checks.comparing -= 1;
  checks.isDirty = true;
  act.effects.push({ kind: "jobChanged", job: act.job.id });
  if (isEqual === undefined) conclude(act, check, "unchecked");
  else conclude(act, check, isEqual ? "equal" : { second: check.second.node, how: "value" });
}

/** What was found so far, of former rounds as well. */
export function auditResultOf(job: Job): AuditResult | undefined {
  const { checks } = job;
  if (checks === undefined) return undefined;
  const { found } = checks;
  let [checked, unchecked] = [found.checked, found.unchecked];
  const differing: DifferingItem[] = [];
  for (const { index, first, result } of checks.items.values()) {
    if (result === undefined) continue;
    if (result === "unchecked") unchecked += 1;
    else checked += 1;
    if (typeof result !== "string") differing.push({ index, first: first.node, ...result });
  }
  differing.sort((a, b) => a.index - b.index);
  return {
    checked,
    unchecked,
    differing: found.differing + differing.length,
    items: [...found.items, ...differing].slice(0, limits.differingNamedMax),
  };
}

/** The job ends, whether or not all is checked: what was found is kept, and nothing else (P7). */
export function endChecks(act: Act): void {
  const { checks } = act.job;
  if (checks === undefined) return;
  giveUp(act);
  const found = auditResultOf(act.job)!;
  Object.assign(checks, { found, sample: checks.sample.fresh(), ...emptyRound() });
  act.state.checking.delete(act.job);
}

/** What is open stays unchecked. */
export function giveUp(act: Act): void {
  for (const check of act.job.checks?.items.values() ?? [])
    if (check.state !== "over") conclude(act, check, "unchecked");
}

export const isChecking = ({ checks }: Job): boolean => checks !== undefined && checks.open > 0;
