/**
 * What a seed means: the cluster, the jobs with the fate of each item, and which faults there are. Plans are data;
 * the world performs them.
 */
import type { JobId, JobSpec } from "@everycore/protocol";
import { Random } from "./random.ts";

/** What happens when an item is run. */
export type Fate =
  | { readonly kind: "value" }
  /** Throws that often, then gives a value. */
  | { readonly kind: "error"; readonly times: number }
  /** Its worker dies. */
  | { readonly kind: "crash" }
  /** Its whole node dies. */
  | { readonly kind: "killsNode" }
  /** It never ends; its job has an item timeout. */
  | { readonly kind: "hang" }
  /** It ends about when its timeout does: both may be first. */
  | { readonly kind: "late"; readonly ms: number };

export interface JobPlan {
  readonly id: JobId;
  readonly spec: JobSpec;
  readonly items: number;
  /** Appended in blocks of so many items; 0: a range. */
  readonly blockItems: number;
  readonly submitAt: number;
  readonly cancelAt: number | undefined;
  /** Paused so long after its submit, and for how long. */
  readonly pause: { readonly at: number; readonly ms: number } | undefined;
  /** Tried again so long after its end. */
  readonly retryAfter: number | undefined;
  /** Code that this retry brings along, under which no item ends in an error. */
  readonly repair?: string;
  readonly fates: ReadonlyMap<number, Fate>;
  readonly costMs: (index: number) => number;
}

export interface NodePlan {
  readonly slots: number;
  readonly machine: number;
  /** Cost on this node / cost of the plan. */
  readonly slowness: number;
  /** A bad machine: each so many items one kills its worker here, and ends well elsewhere. */
  readonly crashEvery?: number;
  /** It gives other values than all others do. */
  readonly lies?: boolean;
  /** Its workers now and then fail to load a task that runs elsewhere. */
  readonly failsToLoad?: boolean;
}

/** Rates are per second of the fault time; chances are per message. */
export interface Faults {
  readonly untilMs: number;
  readonly agentCrashes: number;
  /** Share of crashed agents that come back without their files. */
  readonly filesLost: number;
  readonly agentPauses: number;
  readonly linkBreaks: number;
  readonly coordinatorCrashes: number;
  readonly coordinatorPauses: number;
  /** A coordinator's machine is suspended, its clock too. */
  readonly coordinatorFreezes: number;
  readonly outages: number;
  readonly workerKills: number;
  readonly leaseLoss: number;
  readonly leaseRepeat: number;
  readonly answerLoss: number;
  /** Chance that a message takes up to 3 s. */
  readonly slow: number;
  readonly inputFailures: number;
  readonly diskFull: number;
  readonly storagePauses: number;
  readonly drains: number;
  /** Two that talk cannot hear each other, or one of them not the other, for a while. */
  readonly partitions: number;
  /** A coordinator's clock is set: forward or back, by up to an hour. */
  readonly clockJumps: number;
  /** Share of dead agents that never come back. */
  readonly gone: number;
  /** Chance that a leader reads the next records of the log up to 2 s late. */
  readonly slowTail: number;
}

export interface Plan {
  readonly seed: number;
  readonly coordinators: number;
  readonly nodes: readonly NodePlan[];
  readonly jobs: readonly JobPlan[];
  readonly faults: Faults;
}

export const noFaults: Faults = {
  untilMs: 0,
  agentCrashes: 0,
  filesLost: 0,
  agentPauses: 0,
  linkBreaks: 0,
  coordinatorCrashes: 0,
  coordinatorPauses: 0,
  coordinatorFreezes: 0,
  outages: 0,
  workerKills: 0,
  leaseLoss: 0,
  leaseRepeat: 0,
  answerLoss: 0,
  slow: 0,
  inputFailures: 0,
  diskFull: 0,
  storagePauses: 0,
  drains: 0,
  partitions: 0,
  clockJumps: 0,
  gone: 0,
  slowTail: 0,
};

/**
 * A seed divisible by 5 has no fault but takeovers (a full one late readers and broken links too, noticed at once; a wide
 * one agents that end in order): then nothing that runs may be started again (P3).
 */
export const isGentle = (seed: number): boolean => seed % 5 === 0;

/** By the seed alone; never where nothing may be started again. */
export const hasBadNode = (seed: number): boolean => seed % 6 === 2 && !isGentle(seed);

function faultsOf(random: Random, seed: number): Faults {
  const untilMs = random.int(5_000, 60_000);
  if (isGentle(seed)) return { ...noFaults, untilMs, coordinatorCrashes: random.pick([0.05, 0.15, 0.3]) };
  const some = (rates: readonly number[], share = 0.5): number =>
    random.chance(share) ? random.pick(rates) : 0;
  return {
    untilMs,
    agentCrashes: some([0.02, 0.1, 0.3]),
    filesLost: random.pick([0, 0.3, 1]),
    agentPauses: some([0.02, 0.1], 0.3),
    linkBreaks: some([0.05, 0.3, 1]),
    coordinatorCrashes: some([0.03, 0.1, 0.3]),
    coordinatorPauses: some([0.05, 0.2], 0.3),
    // By the seed alone: a draw more would make every other seed another history.
    coordinatorFreezes: seed % 4 === 3 ? 0.2 : 0,
    outages: some([0.03, 0.1], 0.3),
    workerKills: some([0.05, 0.3], 0.3),
    leaseLoss: some([0.02, 0.2]),
    leaseRepeat: some([0.05, 0.3]),
    answerLoss: some([0.02, 0.2]),
    slow: some([0.01, 0.1]),
    inputFailures: some([0.02, 0.2], 0.3),
    diskFull: some([0.03], 0.2),
    storagePauses: some([0.05], 0.2),
    drains: some([0.02], 0.2),
    partitions: 0,
    clockJumps: 0,
    gone: 0,
    slowTail: 0,
  };
}

function fatesOf(
  random: Random,
  items: number,
  options: { retries: number; timeout: boolean },
): Map<number, Fate> {
  const fates = new Map<number, Fate>();
  const some = (count: number, fate: () => Fate): void => {
    for (let n = 0; n < count; n += 1) fates.set(random.int(0, items - 1), fate());
  };
  if (random.chance(0.5))
    some(random.int(1, 12), () => ({ kind: "error", times: random.int(1, options.retries + 2) }));
  if (random.chance(0.4)) some(random.int(1, 4), () => ({ kind: "crash" }));
  if (random.chance(0.15)) some(1, () => ({ kind: "killsNode" }));
  if (options.timeout) some(random.int(1, 3), () => ({ kind: "hang" }));
  return fates;
}

function jobOf(random: Random, at: number, isLast: boolean): JobPlan {
  const meanMs = random.pick([0.5, 2, 10, 60, 400]);
  const most = meanMs >= 60 ? 200 : meanMs >= 10 ? 600 : 2_000;
  const items = random.chance(0.1) ? random.int(1, 8) : random.int(20, most);
  const reduced = random.chance(0.2);
  const retries = random.pick([0, 0, 1, 3]);
  const timeout = random.chance(0.15);
  const isRange = random.chance(0.5);
  const fates = fatesOf(random, items, { retries, timeout });
  const skewed = random.chance(0.3);
  const salt = random.int(1, 1e9);
  return {
    id: random.hex(20) as JobId,
    spec: {
      name: `job ${at}`,
      task: {
        runtime: "js",
        seed: "0123456789abcdef",
        rangeStart: 0,
        retries,
        ...(reduced ? { reduce: "combine" } : {}),
        ...(timeout ? { itemTimeoutMs: Math.max(300, meanMs * 30) } : {}),
      },
      codec: isRange ? "range" : "json",
      ...(isRange ? { rangeItems: items } : {}),
      priority: random.int(0, 2),
      strict: false,
      ttlMs: 0,
    },
    items,
    blockItems: isRange ? 0 : random.int(1, Math.max(1, Math.ceil(items / 3))),
    submitAt: random.int(0, 5_000),
    cancelAt: random.chance(0.15) && !isLast ? random.int(500, 30_000) : undefined,
    pause: undefined,
    retryAfter: random.chance(0.3) ? random.int(10, 5_000) : undefined,
    fates,
    costMs: (index) => {
      const noise = (Math.imul(index + 1, salt) >>> 8) / 2 ** 24;
      return meanMs * (skewed ? 0.1 + 12 * noise ** 12 : 0.5 + noise);
    },
  };
}

export function planOf(seed: number, random: Random): Plan {
  const nodes: NodePlan[] = Array.from({ length: random.int(3, 8) }, (_, at) => ({
    slots: random.int(1, 4),
    machine: random.chance(0.3) ? 0 : at,
    slowness: random.pick([0.7, 1, 1, 2]),
  }));
  const jobs = Array.from({ length: random.int(1, 3) }, (_, at) => jobOf(random, at, at === 0));
  // By the seed alone: a draw more would make every other seed another history.
  if (seed % 3 === 1)
    jobs[0] = { ...jobs[0]!, pause: { at: 300 + (seed % 37) * 100, ms: 200 + (seed % 41) * 300 } };
  if (hasBadNode(seed)) {
    const at = seed % nodes.length;
    nodes[at] = { ...nodes[at]!, crashEvery: 2 + (seed % 7) };
  }
  const plan = { seed, coordinators: random.int(1, 3), nodes, jobs, faults: faultsOf(random, seed) };
  return isFull(seed) ? full(plan, new Random(seed ^ 0x0f0f_0f0f)) : plan;
}

/** Seeds from here on are full histories: `itemsMin` items and `faultsMin` faults at least, and all kinds of faults. */
export const fullFrom = 1_000_000;
export const itemsMin = 2_000;
export const faultsMin = 5;

/** Below stand the seeds that were remembered before there were full ones: they keep their plans. */
export const isFull = (seed: number): boolean => seed >= fullFrom;

/** The first of the seeds of a day: after some decades they come again. */
export const freshSeeds = (day: number, count: number): number => fullFrom + (day % 10_000) * count + 1;

/** What is drawn here is drawn from a stream of its own. */
function full(plan: Plan, random: Random): Plan {
  const { seed, faults } = plan;
  const items = plan.jobs.reduce((sum, job) => sum + job.items, 0);
  const bulk = bulkJob(random, plan.jobs.length, Math.max(itemsMin - items, 500));
  const drawn = [...plan.jobs, bulk];
  const jobs = isWide(seed) ? wide(seed, drawn, new Random(seed ^ 0x5555_5555)) : drawn;
  const some = (rates: readonly number[], share: number): number =>
    random.chance(share) ? random.pick(rates) : 0;
  const nodes = plan.nodes.map((node, at) => ({
    ...node,
    ...(at === 1 && hasLiar(seed) ? { lies: true } : {}),
    ...(at === 2 && hasBadLoader(seed) ? { failsToLoad: true } : {}),
  }));
  if (isGentle(seed)) {
    const coordinatorCrashes = Math.max(faults.coordinatorCrashes, 0.15);
    const slowTail = some([0.02, 0.1], 0.5);
    // By the seed alone, as above. An agent that ends in order takes nothing with it.
    const drains = isWide(seed) && seed % 2 === 1 ? 0.1 : 0;
    return {
      ...plan,
      nodes,
      jobs,
      faults: { ...faults, coordinatorCrashes, slowTail, drains, linkBreaks: some([0.1, 1], 0.5) },
    };
  }
  const coordinatorFreezes = some([0.05, 0.2], 0.3);
  return {
    ...plan,
    // Two that lead take two.
    coordinators: Math.max(plan.coordinators, coordinatorFreezes > 0 ? 2 : 1),
    nodes,
    jobs,
    faults: {
      ...faults,
      coordinatorFreezes,
      partitions: some([0.05, 0.2, 0.5], 0.5),
      clockJumps: some([0.03, 0.2], 0.4),
      gone: some([0.1, 0.5], 0.4),
      slowTail: some([0.02, 0.1], 0.3),
      // A seed without any luck at all would be one without faults.
      linkBreaks: Math.max(faults.linkBreaks, 0.05),
    },
  };
}

/** From here on jobs have second tries, audits, limits that end them, and retries with other code; below are those remembered before. */
export const wideFrom = 1_100_000;
const isWide = (seed: number): boolean => seed >= wideFrom;

/** Which options the jobs of a seed have is a matter of its number, so that each of them is in any dozen. */
function wide(seed: number, jobs: readonly JobPlan[], random: Random): JobPlan[] {
  return jobs.map((job, at) => {
    const turn = seed + at;
    let of = job;
    if (turn % 4 === 1) of = withStragglers(of);
    if (turn % 3 === 0) of = withRepair(of, random.int(10, 2_000));
    if (turn % 7 === 3) of = withSpec(of, { maxFailures: { most: random.int(0, 4), isShare: false } });
    if (turn % 7 === 5) of = withSpec(of, { jobTimeoutMs: random.int(2_000, 30_000) });
    if (turn % 4 >= 2) of = withAudit(of, at === 0 ? 0.3 : 0.05);
    if (turn % 5 === 2) of = withSpec(of, { retryDelayMs: random.pick([0, 100, 3_000]) });
    return of;
  });
}

const withSpec = (job: JobPlan, spec: Partial<JobSpec>): JobPlan => ({
  ...job,
  spec: { ...job.spec, ...spec },
});

/** By the seed alone: one of its nodes lies. */
const hasLiar = (seed: number): boolean => isWide(seed) && seed % 4 === 3;

/** By the seed alone: one of its nodes fails to load what it has loaded before. */
const hasBadLoader = (seed: number): boolean => isWide(seed) && seed % 3 === 1;

function withAudit(job: JobPlan, audit: number): JobPlan {
  return job.spec.task.reduce === undefined ? { ...job, spec: { ...job.spec, audit } } : job;
}

/** The last items of it take seconds, whatever the others do. */
function withStragglers(job: JobPlan): JobPlan {
  const costMs = (index: number): number =>
    index >= job.items - 2 ? 2_500 + (index % 7) * 500 : job.costMs(index);
  const asked = withSpec(job, { speculate: true });
  return job.spec.task.itemTimeoutMs === undefined ? { ...asked, costMs } : asked;
}

/** A reduction takes no other code. */
const withRepair = (job: JobPlan, retryAfter: number): JobPlan =>
  job.spec.task.reduce === undefined ? { ...job, retryAfter, repair: "repaired" } : job;

/** Many cheap items: a job as it was drawn, at another size. */
function bulkJob(random: Random, at: number, itemsLeast: number): JobPlan {
  const job = jobOf(random, at, false);
  const items = itemsLeast + random.int(0, 1_500);
  const meanMs = random.pick([0.5, 1, 3]);
  const { retries, itemTimeoutMs } = job.spec.task;
  const isRange = job.blockItems === 0;
  const salt = random.int(1, 1e9);
  const fates = fatesOf(random, items, { retries, timeout: itemTimeoutMs !== undefined });
  if (itemTimeoutMs !== undefined) {
    for (let n = random.int(1, 6); n > 0; n -= 1)
      fates.set(random.int(0, items - 1), { kind: "late", ms: itemTimeoutMs + random.between(-50, 200) });
  }
  return {
    ...job,
    items,
    spec: { ...job.spec, ...(isRange ? { rangeItems: items } : {}) },
    blockItems: isRange ? 0 : random.int(Math.ceil(items / 20), Math.ceil(items / 3)),
    fates,
    costMs: (index) => meanMs * (0.5 + (Math.imul(index + 1, salt) >>> 8) / 2 ** 24),
  };
}
