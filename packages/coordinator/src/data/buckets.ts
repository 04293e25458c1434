/** The streams that every cluster has: KV buckets and the object store, each with max_bytes (DESIGN 4, P7). */
import { buckets, EverycoreError, times } from "@everycore/protocol";
import type { KV } from "@nats-io/kv";
import { Kvm } from "@nats-io/kv";
import type { ObjectStore } from "@nats-io/obj";
import { Objm, setSha256Backend, StorageType } from "@nats-io/obj";
import type { Data } from "./connection.ts";

const MB = 1024 * 1024;

/** Bytes reserved for each. Job records are a few KB; bundles share what their bucket has (bundles.ts). */
export const bucketBytes = {
  jobs: 128 * MB,
  nodes: 8 * MB,
  meta: 8 * MB,
  leader: MB,
  blobs: 256 * MB,
} as const;

export interface Buckets {
  readonly jobs: KV;
  readonly nodes: KV;
  readonly meta: KV;
  readonly leader: KV;
  readonly blobs: ObjectStore;
}

export async function openBuckets(data: Data): Promise<Buckets> {
  try {
    return await createBuckets(data);
  } catch (error) {
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

async function createBuckets(data: Data): Promise<Buckets> {
  // The library's own SHA-256 is JavaScript: five times slower.
  setSha256Backend("native");
  const kvm = new Kvm(data.nats);
  const file = { history: 1, storage: StorageType.File } as const;
  const [jobs, nodes, meta, leader] = await Promise.all([
    kvm.create(buckets.jobs, { ...file, max_bytes: bucketBytes.jobs }),
    kvm.create(buckets.nodes, { ...file, max_bytes: bucketBytes.nodes }),
    kvm.create(buckets.meta, { ...file, max_bytes: bucketBytes.meta }),
    openLeaderBucket(data),
  ]);
  const blobs = await new Objm(data.nats).create(buckets.blobs, {
    storage: StorageType.File,
    max_bytes: bucketBytes.blobs,
  });
  return { jobs, nodes, meta, leader, blobs };
}

/** The only bucket in memory: made anew after each restart of nats-server. */
export function openLeaderBucket(data: Data): Promise<KV> {
  const memory = { history: 1, storage: StorageType.Memory, ttl: times.leaderTtlMs } as const;
  return new Kvm(data.nats).create(buckets.leader, { ...memory, max_bytes: bucketBytes.leader });
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
  apiCode(error) === storeFailed || apiCode(error) === 10_047 || apiCode(error) === 10_023;
export const isMissing = (error: unknown): boolean => apiCode(error) === 10_059;
