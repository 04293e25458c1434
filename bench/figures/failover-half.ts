/**
 * kill -9 of the leader when half of a job of 1,000,000 items is done, as a range and as JSON lines: from the kill to
 * the next leader's first new lease of that job, which lies behind the fold of its log and the agents' reports; what
 * memory the new leader needs to the job's end; and, from the audit, that no item was run twice.
 */
import { setTimeout as delay } from "node:timers/promises";
import { Connection, newRequestId } from "@everycore/client/internal";
import type { Bundle } from "@everycore/client/internal";
import { decodeLease, subjects } from "@everycore/protocol";
import type { NodeId } from "@everycore/protocol";
import { connect } from "@nats-io/transport-node";
import { freshBundle, specOf } from "../cold-job.ts";
import { atMost, megabytesText, msText, never } from "../figure.ts";
import type { Figure, FigureContext, Row } from "../figure.ts";
import { peakMemoryBytes } from "../process-tree.ts";
import { startStandbyCluster, wholeAudit } from "../standby-cluster.ts";
import type { StandbyCluster } from "../standby-cluster.ts";

const items = 1_000_000;
const turnsMax = 3;
const lookMs = 100;
const leasedWithinMs = 60_000;
/** For JSON, what `brief` takes. */
const rounds = 50_000;
const blockItems = 10_000;

type Kind = "range" | "json";
const inputOf: Readonly<Record<Kind, string>> = { range: "range", json: "JSON lines" };

interface Turn {
  /** From the kill until another said that it leads, and until the lease. */
  readonly ledMs: number;
  readonly leaseMs: number;
  readonly memoryBytes: number;
  /** Outcomes of items that had one, and strikes: what was run more than once. */
  readonly again: number;
  readonly coveredAtKill: number;
}

export const failoverHalf: Figure = {
  name: "failover-half",
  run: async (context) => {
    await using cluster = await startStandbyCluster(context.signal);
    const range = await measure(cluster, "range", context);
    const json = await measure(cluster, "json", context);
    const rows = [...rowsOf("range", range), ...rowsOf("json", json)];
    return { rows, turns: range.length, details: { range, json } };
  },
};

async function measure(cluster: StandbyCluster, kind: Kind, context: FigureContext): Promise<Turn[]> {
  const turns: Turn[] = [];
  const bundle = await freshBundle();
  const count = Math.min(context.repeat, turnsMax);
  for (let turn = 0; turn < count; turn += 1) {
    context.signal.throwIfAborted();
    const done = await measureOne(cluster, { kind, bundle }, context.signal);
    turns.push(done);
    const { ledMs, leaseMs, memoryBytes, again, coveredAtKill } = done;
    context.say(
      `  ${inputOf[kind]} ${turn + 1}/${count}: killed at ${coveredAtKill} items; led after ` +
        `${msText(ledMs)}, lease after ${msText(leaseMs)}, ` +
        `${megabytesText(memoryBytes)}, ${again} run again`,
    );
    await cluster.replace();
  }
  return turns;
}

async function measureOne(
  cluster: StandbyCluster,
  { kind, bundle }: { kind: Kind; bundle: Bundle },
  signal: AbortSignal,
): Promise<Turn> {
  const { leader, others } = await cluster.settled();
  const { secret } = cluster;
  await using client = new Connection({ address: others[0]!.ready.address, secret });
  await client.putBundle(bundle);
  const { epoch } = await client.status({ signal });
  const submission = client.submit({
    requestId: newRequestId(),
    ...(kind === "range"
      ? { spec: specOf(bundle, "brief", items) }
      : { spec: specOf(bundle, "spin", "json"), items: jsonBlocks() }),
  });
  const job = await submission.accepted;
  await submission.closed;
  const coveredAtKill = await halfDone(client, job, signal);
  await using watch = await watchTakeover(cluster, { job, after: epoch, former: leader.ready.address });
  const killedAt = performance.now();
  cluster.kill(leader);
  const leaseMs = (await watch.leased) - killedAt;
  const ledMs = (await watch.led) - killedAt;
  const info = await client.waitJob(job, { signal });
  const { leader: address } = await client.status({ signal });
  const next = others.find(({ ready }) => ready.address === address);
  if (next === undefined) throw new Error(`who leads now, ${address}, is none of those that stood by`);
  const memoryBytes = peakMemoryBytes(next.child.process.pid!);
  const { duplicate, stale, invalid, strikes } = await wholeAudit(client, info, items, signal);
  return { ledMs, leaseMs, memoryBytes, again: duplicate + stale + invalid + strikes, coveredAtKill };
}

/** Gives the items that have ended once they are half of all. */
async function halfDone(client: Connection, job: string, signal: AbortSignal): Promise<number> {
  for (;;) {
    const { counts } = await client.getJob(job, { signal });
    const value = counts?.value ?? 0;
    if (value >= items / 2) return value;
    await delay(lookMs, undefined, { signal });
  }
}

/** Sees what passes through NATS: when another leader tells of itself, and the job's first lease of a later epoch. */
async function watchTakeover(
  cluster: StandbyCluster,
  { job, after, former }: { job: string; after: number; former: string },
): Promise<{ led: Promise<number>; leased: Promise<number> } & AsyncDisposable> {
  const connection = await connect(cluster.nats);
  const led = Promise.withResolvers<number>();
  const leased = Promise.withResolvers<number>();
  const fail = (error: Error): void => {
    led.reject(error);
    leased.reject(error);
  };
  for (const { promise } of [led, leased]) promise.catch(() => {}); // whoever awaits it hears of it
  const late = new Error(`no lease of job ${job} within ${leasedWithinMs / 1_000} s`);
  const timer = setTimeout(fail, leasedWithinMs, late);
  connection.subscribe(subjects.leader, {
    callback: (error, message) => {
      if (error !== null) fail(error);
      else if (message.string() !== former) led.resolve(performance.now());
    },
  });
  connection.subscribe(subjects.lease("*" as NodeId), {
    callback: (error, message) => {
      if (error !== null) return fail(error);
      const lease = decodeLease(message.data);
      if (lease.job === job && lease.epoch > after) leased.resolve(performance.now());
    },
  });
  await connection.flush();
  return {
    led: led.promise,
    leased: leased.promise,
    [Symbol.asyncDispose]: async () => {
      clearTimeout(timer);
      await connection.close();
    },
  };
}

async function* jsonBlocks(): AsyncGenerator<Uint8Array[]> {
  const item = Buffer.from(JSON.stringify(rounds));
  for (let at = 0; at < items; at += blockItems) yield Array.from({ length: blockItems }, () => item);
}

function rowsOf(kind: Kind, turns: readonly Turn[]): Row[] {
  const what = `leader killed at half of 1,000,000 items (${inputOf[kind]})`;
  const again = turns.reduce((sum, turn) => sum + turn.again, 0);
  return [
    atMost({
      what: `${what}: next lease`,
      target: 5_000,
      values: turns.map(({ leaseMs }) => leaseMs),
      text: msText,
    }),
    atMost({
      what: `${what}: new leader's memory`,
      target: 300e6,
      values: turns.map(({ memoryBytes }) => memoryBytes),
      text: megabytesText,
    }),
    never(`${what}: run again`, again),
  ];
}
