/** The streams that every cluster has: KV buckets and the object store, each with max_bytes (DESIGN 4, P7). */
import { setTimeout as delay } from "node:timers/promises";
import { buckets, EverycoreError, times } from "@everycore/protocol";
import type { KV } from "@nats-io/kv";
import { Kvm } from "@nats-io/kv";
import type { ObjectStore } from "@nats-io/obj";
import { Objm, setSha256Backend, StorageType } from "@nats-io/obj";
import type { Data } from "./connection.ts";
import { isClustered, isTooFewServers, setBucketReplicas, tooFewServers, whileElecting } from "./replicas.ts";

const MB = 1024 * 1024;

/** Bytes reserved for each. Job records are a few KB; bundles share what their bucket has (bundles.ts). */
export const bucketBytes = {
  jobs: 128 * MB,
  nodes: 8 * MB,
  meta: 8 * MB,
  leader: MB,
  blobs: 256 * MB,
} as const;

/** Q2: what was written is what is read, whichever server answers. */
const fromLeader = { allow_direct: false } as const;

export interface Buckets {
  readonly jobs: KV;
  readonly nodes: KV;
  readonly meta: KV;
  readonly leader: KV;
  readonly blobs: ObjectStore;
}

const fullAgainMs = 500;
const fullTries = 10;

export async function openBuckets(data: Data, replicas: number, patience = fullTries): Promise<Buckets> {
  try {
    return await whileElecting(async () => {
      const opened = await createBuckets(data, replicas);
      await setBucketReplicas(data.jsm, replicas);
      return opened;
    });
  } catch (error) {
    if (isTooFewServers(error)) throw tooFewServers(replicas, error);
    // What a former leader tried out (room.ts) is counted for a moment after it is gone.
    if (isFull(error) && isClustered(data) && patience > 0) {
      await delay(fullAgainMs);
      return openBuckets(data, replicas, patience - 1);
    }
    if (!isFull(error)) throw error;
    const needed = (bucketBytes.jobs + bucketBytes.nodes + bucketBytes.meta + bucketBytes.blobs) / MB;
    throw new EverycoreError(
      "storage-full",
      `the NATS server has no room for everycore's ${needed} MB of records`,
      {
        hint: "give nats-server a jetstream max_file_store of 1 GB or more",
        cause: error,
      },
    );
  }
}

async function createBuckets(data: Data, replicas: number): Promise<Buckets> {
  // The library's own SHA-256 is JavaScript: five times slower.
  setSha256Backend("native");
  const kvm = new Kvm(data.js);
  const file = { history: 1, storage: StorageType.File, replicas, ...fromLeader } as const;
  const [jobs, nodes, meta, leader] = await Promise.all([
    kvm.create(buckets.jobs, { ...file, max_bytes: bucketBytes.jobs }),
    kvm.create(buckets.nodes, { ...file, max_bytes: bucketBytes.nodes }),
    kvm.create(buckets.meta, { ...file, max_bytes: bucketBytes.meta }),
    openLeaderBucket(data, replicas),
  ]);
  const blobs = await new Objm(data.js).create(buckets.blobs, {
    storage: StorageType.File,
    replicas,
    max_bytes: bucketBytes.blobs,
  });
  return { jobs, nodes, meta, leader, blobs };
}

/** The only bucket in memory: made anew after each restart of a nats-server that is alone. */
export function openLeaderBucket(data: Data, replicas: number): Promise<KV> {
  return new Kvm(data.js).create(buckets.leader, {
    history: 1,
    storage: StorageType.Memory,
    ttl: times.leaderTtlMs,
    max_bytes: bucketBytes.leader,
    replicas,
    ...fromLeader,
  });
}

/** Error code of JetStream for a compare-and-set that came too late. */
const wrongLastSequence = 10_071;
/** "Store failed": for us, that a stream is full. */
const storeFailed = 10_077;

const apiCode = (error: unknown): number | undefined => {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "number" ? code : undefined;
};

export const isWrongSequence = (error: unknown): boolean => apiCode(error) === wrongLastSequence;
export const isFull = (error: unknown): boolean =>
  apiCode(error) === storeFailed ||
  apiCode(error) === 10_047 ||
  apiCode(error) === 10_023 ||
  (apiCode(error) === 10_005 && !isTooFewServers(error));
/** A deletion of a message that is not there; its code stands for any failed one. */
export const isNoMessage = (error: unknown): boolean =>
  apiCode(error) === 10_057 && (error as Error).message.includes("no message found");
export const isMissing = (error: unknown): boolean => apiCode(error) === 10_059;
