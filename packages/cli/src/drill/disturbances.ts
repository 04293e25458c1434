/**
 * What each row does: a job in full flow, one disturbance, and what is seen of it. A disturbance that lasts is over
 * with its row, however that ends. Where items cannot write down their starts, what only starts would tell is unseen.
 */
import { EverycoreError, limits } from "@everycore/protocol";
import { setTimeout as delay } from "node:timers/promises";
import { DrilledJob, endedOf } from "./drilled-job.ts";
import type { ItemSeen, Start } from "./drilled-job.ts";
import { isHere, isWell } from "./ground.ts";
import type { Ground } from "./ground.ts";
import type { Sighting } from "./judge.ts";
import { canSeeProcesses, stopProcess } from "./processes.ts";
import { cutMs, stopMs } from "./rows.ts";
import type { RowId } from "./rows.ts";

const noticeWithinMs = 15_000;
const backWithinMs = 40_000;
const itemMs = 100;
/** Items of each slot: some seconds of work, so that the disturbance is in the middle of it. */
const perSlot = 40;
/** So that there is work left when the disk has room again. */
const diskPerSlot = 80;
/** How long the item holds what it has written: an agent looks each second. */
const fullMs = 3_000;

const queuedItems = 1_000_000;
const printBytes = 1024 * 1024;
const printingNodesMax = 8;

export interface Disturbance {
  /** Why this row cannot be had on this cluster; undefined where it can. */
  readonly refusal: (ground: Ground) => string | undefined;
  /** `onJob` is told of the row's jobs: whoever runs the row disposes of them. */
  readonly run: (ground: Ground, onJob: OnJob) => Promise<Sighting>;
}

const needsOwn =
  (why = "") =>
  (ground: Ground): string | undefined => {
    if (!canSeeProcesses()) return "processes can be told apart on Linux only";
    return ground.isOwned ? undefined : `it is not of this user's everycore up${why}`;
  };

const needsStarter = needsOwn(": nobody is known who would start it again");

const needsShared = (ground: Ground): string | undefined =>
  ground.folder === undefined ? "its nodes are not all on this machine, as this user" : undefined;

function mayPrint(ground: Ground): string | undefined {
  if (ground.kind === "configured") return "what it prints could push out what other jobs printed";
  if (ground.nodeCount > printingNodesMax)
    return `${ground.nodeCount} nodes would print too much; up to ${printingNodesMax} it is done`;
  return undefined;
}

const mayFill = (ground: Ground): string | undefined =>
  ground.fillBytes === undefined
    ? "it would take room that others need; a cluster of the drill's own has it, where the disk has plenty"
    : needsShared(ground);

export const disturbances: Readonly<Record<RowId, Disturbance>> = {
  worker: { refusal: needsShared, run: killWorker },
  crash: { refusal: () => undefined, run: crashTwice },
  agent: { refusal: needsStarter, run: killAgent },
  stop: { refusal: needsShared, run: stopAgent },
  leader: { refusal: needsStarter, run: killLeader },
  nats: { refusal: needsStarter, run: killNats },
  cut: { refusal: needsOwn(), run: cutNats },
  cancel: { refusal: () => undefined, run: cancelQueue },
  quota: { refusal: mayPrint, run: printTooMuch },
  disk: { refusal: mayFill, run: fillDisk },
};

const isOwnIndex = ({ index, value }: ItemSeen): boolean => value === index;

/** ms from the disturbance to a moment, where it came. */
const since = (at: number, moment: number | undefined): number | undefined =>
  moment === undefined ? undefined : Math.max(0, moment - at);

function timesOf(at: number, seen: Readonly<Record<string, number | undefined>>): Sighting["times"] {
  const pairs = Object.entries(seen).map(([name, moment]) => [name, since(at, moment)] as const);
  return Object.fromEntries(pairs.filter(([, ms]) => ms !== undefined));
}

type OnJob = (job: DrilledJob) => void;

/** A job of which some items of each slot have run. */
async function inFlow(
  ground: Ground,
  onJob: OnJob,
  options: { name: RowId } & Partial<Parameters<typeof DrilledJob.submit>[1]>,
): Promise<DrilledJob> {
  const job = await DrilledJob.submit(ground, { perSlot, ms: itemMs, ...options });
  onJob(job);
  await job.isFlowing();
  return job;
}

/** Of a job that has ended: what must be right, and what may have run again. */
async function seenOf(
  job: DrilledJob,
  again: { readonly most: number; readonly why: string } = { most: 0, why: "" },
): Promise<Omit<Sighting, "times">> {
  return { items: job.items, ...(await job.count(isOwnIndex)), againMost: again.most, againWhy: again.why };
}

async function killWorker(ground: Ground, onJob: OnJob): Promise<Sighting> {
  const job = await inFlow(ground, onJob, { name: "worker" });
  const { worker } = await job.nextStart();
  const known = new Set(job.starts().map((start) => start.worker));
  process.kill(worker, "SIGKILL");
  const at = Date.now();
  const noticed = await ground.until(async () => (await job.info()).strikes > 0, noticeWithinMs);
  const ended = await job.end();
  const resumed = job.firstStart((start) => start.at >= at && !known.has(start.worker))?.at;
  return {
    ...(await seenOf(job, { most: 1, why: "its worker was killed" })),
    times: timesOf(at, { noticed, resumed, ended }),
  };
}

async function crashTwice(ground: Ground, onJob: OnJob): Promise<Sighting> {
  const deadly = Math.floor((perSlot * ground.slots) / 4);
  const special = (index: number): object => (index === deadly ? { isDeadly: true } : {});
  const job = await DrilledJob.submit(ground, { name: "crash", perSlot, ms: itemMs / 4, special });
  onJob(job);
  const submittedAt = Date.now();
  const verdict = await ground.until(async () => ((await job.info()).counts?.crash ?? 0) > 0, backWithinMs);
  const ended = await job.end();
  const deaths = job.starts().filter(({ index }) => index === deadly);
  const at = deaths[1]?.at ?? submittedAt;
  let signal: string | undefined;
  const count = await job.count(({ index, value, error }) => {
    if (index !== deadly) return value === index;
    signal = error?.signal;
    return error?.kind === "crash";
  });
  const faults = [...count.faults];
  if (signal !== "SIGSEGV")
    faults.push(`the item that crashes was told with ${signal ?? "no signal"}, not SIGSEGV`);
  if (job.countsStarts && deaths.length !== 2)
    faults.push(`the item that crashes ran ${deaths.length} times, not 2`);
  return {
    items: job.items,
    ...count,
    faults,
    // The log has a strike for each of its two deaths; starts have its second try.
    againMost: job.countsStarts ? 1 : 2,
    againWhy: "it crashed",
    times: timesOf(at, { noticed: verdict, ended }),
    ...(job.countsStarts ? {} : { unseen: ["noticed"] }),
  };
}

async function killAgent(ground: Ground, onJob: OnJob): Promise<Sighting> {
  const job = await inFlow(ground, onJob, { name: "agent" });
  const nodes = await ground.connected();
  const agents = new Set(ground.parts("agent").map(({ pid }) => pid));
  const { agent } = await job.nextStart((start) => agents.has(start.agent));
  const victim = nodes.find(({ pid }) => pid === agent);
  process.kill(agent, "SIGKILL");
  const at = Date.now();
  const noticed = await ground.until(
    async () => (await ground.connected()).every(({ pid }) => pid !== agent),
    noticeWithinMs,
  );
  await ground.until(
    async () => (await ground.connected()).some(({ id, pid }) => id === victim?.id && pid !== agent),
    backWithinMs,
  );
  const ended = await job.end();
  const known = new Set(nodes.map(({ pid }) => pid));
  const resumed = job.firstStart((start) => start.at > at && !known.has(start.agent))?.at;
  return {
    ...(await seenOf(job, { most: victim?.slots ?? 0, why: "they ran there" })),
    times: timesOf(at, { noticed, resumed, ended }),
  };
}

async function stopAgent(ground: Ground, onJob: OnJob): Promise<Sighting> {
  const job = await inFlow(ground, onJob, { name: "stop" });
  const agents = new Set((await ground.connected()).filter(isHere).map(({ pid }) => pid));
  const { agent } = await job.nextStart((start) => agents.has(start.agent));
  const isConnected = async (): Promise<boolean> =>
    (await ground.connected()).some(({ pid }) => pid === agent);
  let noticed: number | undefined;
  const at = Date.now();
  {
    await using _stopped = await stopProcess(agent);
    noticed = await ground.until(async () => !(await isConnected()), stopMs);
    await delay(Math.max(0, at + stopMs - Date.now()), undefined, { signal: ground.signal });
  }
  const continuedAt = Date.now();
  const back = await ground.until(isConnected, backWithinMs);
  const ended = await job.end();
  return {
    ...(await seenOf(job)),
    times: { ...timesOf(at, { noticed, ended }), ...timesOf(continuedAt, { resumed: back }) },
  };
}

async function killLeader(ground: Ground, onJob: OnJob): Promise<Sighting> {
  const job = await inFlow(ground, onJob, { name: "leader", perSlot: 2 * perSlot });
  const epoch = (await ground.cluster.status()).epoch;
  const at = Date.now();
  for (const { pid } of ground.parts("coordinator")) process.kill(pid, "SIGKILL");
  const noticed = await ground.until(async () => (await ground.status()) === undefined, noticeWithinMs);
  const resumed = await ground.until(async () => {
    const status = await ground.status();
    return status !== undefined && isWell(status) && status.epoch > epoch;
  }, backWithinMs);
  const ended = await job.end();
  return {
    ...(await seenOf(job)),
    times: timesOf(at, { noticed, resumed, ended }),
  };
}

/** The cluster works again when it counts outcomes again. */
async function countsAgain(ground: Ground, job: DrilledJob, before: number): Promise<number | undefined> {
  return ground.until(async () => endedOf(await job.info()) > before, backWithinMs);
}

async function killNats(ground: Ground, onJob: OnJob): Promise<Sighting> {
  return withoutNats(ground, "nats", onJob, async () => {
    const [server] = ground.parts("nats-server");
    if (server === undefined) return;
    process.kill(server.pid, "SIGKILL");
    const isBack = (): boolean => ground.parts("nats-server").some(({ pid }) => pid !== server.pid);
    await ground.until(isBack, backWithinMs);
  });
}

async function cutNats(ground: Ground, onJob: OnJob): Promise<Sighting> {
  return withoutNats(ground, "cut", onJob, async () => {
    const [server] = ground.parts("nats-server");
    if (server === undefined) return;
    await using _stopped = await stopProcess(server.pid);
    await delay(cutMs, undefined, { signal: ground.signal });
  });
}

async function withoutNats(
  ground: Ground,
  name: RowId,
  onJob: OnJob,
  takeAway: () => Promise<void>,
): Promise<Sighting> {
  const job = await inFlow(ground, onJob, { name, perSlot: 2 * perSlot });
  const at = Date.now();
  let isBack = false;
  const watching = ground.until(async () => isBack || !isWell(await ground.status()), noticeWithinMs);
  watching.catch(() => {}); // awaited below
  await takeAway().finally(() => (isBack = true));
  const backAt = Date.now();
  const before = endedOf(await ground.cluster.getJob(job.id));
  const seen = await watching;
  const resumed = await countsAgain(ground, job, before);
  const ended = await job.end();
  return {
    ...(await seenOf(job)),
    // A server that is back before anybody missed it was not noticed.
    times: {
      ...timesOf(at, { noticed: seen !== undefined && seen < backAt ? seen : undefined, ended }),
      ...timesOf(backAt, { resumed }),
    },
  };
}

async function cancelQueue(ground: Ground, onJob: OnJob): Promise<Sighting> {
  const queue = await DrilledJob.submitQueue(ground, "cancel", queuedItems);
  onJob(queue);
  const isBusy = async (): Promise<boolean> => {
    const nodes = await ground.connected();
    return (await queue.info()).leased > 0 && nodes.some(({ busy }) => busy > 0);
  };
  if ((await ground.until(isBusy, noticeWithinMs)) === undefined)
    throw new EverycoreError("timeout", "no item of its job began");
  const { cluster, signal } = ground;
  const at = Date.now();
  await cluster.cancelJob(queue.id, "by the drill", { signal });
  // Who waits for a core has one at once.
  const next = await DrilledJob.submit(ground, { name: "after-cancel", perSlot: 1, ms: 10 });
  onJob(next);
  const nextEnded = await next.end();
  const resumed = next.countsStarts ? next.firstStart(() => true)?.at : nextEnded;
  const ended = await queue.end();
  const [cancelled, after] = [await queue.countCancelled(), await next.count(isOwnIndex)];
  return {
    items: queue.items + next.items,
    lost: cancelled.lost + after.lost,
    again: cancelled.again + after.again,
    faults: [...cancelled.faults, ...after.faults],
    againMost: 0,
    againWhy: "",
    times: timesOf(at, { resumed, ended }),
  };
}

async function printTooMuch(ground: Ground, onJob: OnJob): Promise<Sighting> {
  const perNode = (1.5 * limits.outputBytesPerJob) / printBytes;
  const each = Math.ceil((perNode * ground.nodeCount) / ground.slots);
  const job = await DrilledJob.submit(ground, {
    name: "quota",
    perSlot: each,
    ms: itemMs / 2,
    special: () => ({ printBytes }),
  });
  onJob(job);
  const at = Date.now();
  const ended = await job.end();
  const seen = await seenOf(job);
  const faults = [...seen.faults];
  const kept = new Map<string, number>();
  let dropped = 0;
  for await (const chunk of ground.cluster.outputOf(job.id, { signal: ground.signal })) {
    kept.set(chunk.node, (kept.get(chunk.node) ?? 0) + chunk.data.length);
    dropped += chunk.dropped;
  }
  const most = Math.max(0, ...kept.values());
  if (most > limits.outputBytesPerJob)
    faults.push(`a node kept ${most} bytes of prints; ${limits.outputBytesPerJob} is the limit`);
  const total = [...kept.values()].reduce((sum, bytes) => sum + bytes, dropped);
  if (total !== job.items * printBytes)
    faults.push(`${job.items * printBytes} bytes were printed, and ${total} are kept or counted as dropped`);
  return { ...seen, faults, times: timesOf(at, { ended }) };
}

/** By a task, in its worker's folder: the agent knows how to be rid of it, however the drill ends. */
async function fillDisk(ground: Ground, onJob: OnJob): Promise<Sighting> {
  const filling = Math.floor((diskPerSlot * ground.slots) / 4);
  const { fillBytes = 0 } = ground;
  const job = await inFlow(ground, onJob, {
    name: "disk",
    perSlot: diskPerSlot,
    special: (index) => (index === filling ? { fillBytes, ms: fullMs } : {}),
  });
  let start: Start | undefined;
  await ground.until(() => {
    start = job.firstStart(({ index }) => index === filling);
    return start !== undefined;
  }, backWithinMs);
  const { at = Date.now(), agent } = start ?? {};
  const isFull = async (): Promise<boolean> =>
    (await ground.connected()).some(({ pid, reason }) => pid === agent && reason.includes("disk"));
  const noticed = await ground.until(isFull, noticeWithinMs);
  const freed = await ground.until(async () => !(await isFull()), backWithinMs);
  const ended = await job.end();
  const resumed = job.firstStart((seen) => seen.agent === agent && seen.at >= (freed ?? Infinity))?.at;
  return { ...(await seenOf(job)), times: timesOf(at, { noticed, resumed, ended }) };
}
