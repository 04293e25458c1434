/**
 * In how many servers of a NATS cluster our streams are kept (decision 0103).
 *
 *  Q1  a number that is asked for holds for all streams of everycore, also for those that exist; without one, what
 *      is new follows what is there;
 *  Q2  what must be the newest is asked of the stream's leader: direct reads, and consumers, may be served by a
 *      server that lags behind.
 */
import { setTimeout as delay } from "node:timers/promises";
import { buckets, EverycoreError, streamOfSegment } from "@everycore/protocol";
import type { Replication, SegmentId } from "@everycore/protocol";
import type { JetStreamManager, StreamInfo } from "@nats-io/jetstream";
import { TimeoutError } from "@nats-io/nats-core";
import type { KV, KvEntry } from "@nats-io/kv";
import type { Data } from "./connection.ts";

/** An election in NATS takes up to 9 s. */
const patienceMs = 20_000;
const retryMs = 250;
/** JetStream has no leader at the moment. */
const unavailable = 10_008;
const noPeers = 10_005;
const notClustered = 10_074;

const codeOf = (error: unknown): number | undefined => {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "number" ? code : undefined;
};

/** The cluster has fewer servers than replicas are asked for; not: no room on them. */
export const isTooFewServers = (error: unknown): boolean =>
  codeOf(error) === notClustered || (codeOf(error) === noPeers && !/storage/.test((error as Error).message));

export const tooFewServers = (replicas: number, cause: unknown): EverycoreError =>
  new EverycoreError("refused", `NATS cannot keep ${replicas} replicas: its cluster has fewer servers`, {
    hint: `start ${replicas} nats-servers that form one cluster, or ask for fewer --replicas`,
    cause,
  });

/** A server of the cluster is not heard of at the moment. */
const isOffline = (error: unknown): boolean =>
  codeOf(error) === noPeers && /offline/.test((error as Error).message);

/** Nobody decides in NATS at the moment: it elects, or waits for a server. */
export const isUndecided = (error: unknown): boolean =>
  error instanceof TimeoutError || codeOf(error) === unavailable || codeOf(error) === 503 || isOffline(error);

/** Tries again while NATS elects. Only for what may be done twice. */
export async function whileElecting<T>(act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (!isUndecided(error) || performance.now() > deadline || signal?.aborted === true) throw error;
    }
    await delay(retryMs);
  }
}

/**
 * All entries of a bucket, up to at least what its leader held when asked (Q2). Its newest message is never deleted
 * (job-records.ts, `forgetMarks`), so that it is an entry.
 */
export async function completeHistory(bucket: KV): Promise<KvEntry[]> {
  const { config, state } = (await bucket.status()).streamInfo;
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const entries: KvEntry[] = [];
    for await (const entry of await bucket.history({ key: ">" })) entries.push(entry);
    const upTo = entries.reduce((most, { revision }) => Math.max(most, revision), 0);
    if (state.messages === 0 || upTo >= state.last_seq) return entries;
    if (performance.now() > deadline) {
      throw new EverycoreError("unreachable", `a NATS server that lags behind lists ${config.name} in part`);
    }
    await delay(retryMs);
  }
}

export const isClustered = (data: Pick<Data, "nats">): boolean => data.nats.info?.cluster !== undefined;

const { blobs, ...keyed } = buckets;
const bucketStreams: readonly string[] = [
  ...Object.values(keyed).map((name) => `KV_${name}`),
  `OBJ_${blobs}`,
];
const segmentPrefix = streamOfSegment("" as SegmentId);

/** Q1: what is asked for, or what the records have. */
export async function replicasOf(jsm: JetStreamManager, asked: number | undefined): Promise<number> {
  if (asked !== undefined) return asked;
  try {
    return (await jsm.streams.info(`KV_${buckets.meta}`)).config.num_replicas;
  } catch (error) {
    if (codeOf(error) === 10_059) return 1; // nothing is there yet
    throw error;
  }
}

/** Of all streams of everycore, those of jobs' logs included. */
async function ownStreams(jsm: JetStreamManager): Promise<StreamInfo[]> {
  const found: StreamInfo[] = [];
  for await (const info of jsm.streams.list()) {
    const { name } = info.config;
    if (bucketStreams.includes(name) || name.startsWith(segmentPrefix)) found.push(info);
  }
  return found;
}

/** Q1, of the buckets: segments are the leader's (segments.ts). */
export async function setBucketReplicas(jsm: JetStreamManager, replicas: number): Promise<void> {
  const infos = await Promise.all(bucketStreams.map((name) => jsm.streams.info(name)));
  for (const { config } of infos) {
    if (config.num_replicas !== replicas) await jsm.streams.update(config.name, { num_replicas: replicas });
  }
}

const unknown: Replication = { replicas: 0, streams: 0, behind: 0, servers: [] };

export function replicationOf(streams: readonly StreamInfo[], replicas: number): Replication {
  const servers = new Set<string>();
  let behind = 0;
  for (const { config, cluster } of streams) {
    const missing = (cluster?.replicas ?? []).filter(({ current, offline }) => !current || offline === true);
    for (const { name } of missing) servers.add(name);
    const isLed = !("leader" in (cluster ?? {})) || cluster?.leader !== "";
    if (missing.length > 0 || config.num_replicas < replicas || !isLed) behind += 1;
  }
  return { replicas, streams: streams.length, behind, servers: [...servers].toSorted() };
}

const askedAgainMs = 2_000;
const answerMs = 1_000;

/** Asks when it is asked, and not more often than each 2 s. A cluster in an election does not answer in time. */
export function replicationReader(data: Data, replicas: number): () => Promise<Replication> {
  if (!isClustered(data)) return () => Promise.resolve({ ...unknown, replicas });
  let asked: { readonly at: number; readonly answer: Promise<Replication> } | undefined;
  const ask = async (): Promise<Replication> => {
    const late = new AbortController();
    const streams = ownStreams(data.jsm).catch(() => undefined); // NATS is away, as the status says elsewhere
    const none = delay(answerMs, undefined, { signal: late.signal }).catch(() => undefined); // not needed any more
    const found = await Promise.race([streams, none]);
    late.abort();
    return found === undefined ? unknown : replicationOf(found, replicas);
  };
  return () => {
    const now = performance.now();
    if (asked === undefined || now - asked.at > askedAgainMs) asked = { at: now, answer: ask() };
    return asked.answer;
  };
}
