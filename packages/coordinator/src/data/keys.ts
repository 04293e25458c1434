/**
 * The cluster's key: 32 random bytes, created once and never replaced, so that every later leader recognises the
 * leases of its predecessors. Agents and clients never have it.
 */
import { createHmac, randomBytes } from "node:crypto";
import { EverycoreError, jobKeysOf, leaseIdOf, leaseVerifier } from "@everycore/protocol";
import type { KV } from "@nats-io/kv";
import type { Keys } from "../core/index.ts";

const keyName = "key.1";
const keyBytes = 32;

export async function clusterKey(meta: KV): Promise<Uint8Array> {
  const known = await meta.get(keyName);
  if (known?.operation === "PUT") return checked(known.value);
  try {
    const fresh = randomBytes(keyBytes);
    await meta.create(keyName, fresh);
    return fresh;
  } catch (error) {
    // Another coordinator was first.
    const theirs = await meta.get(keyName);
    if (theirs?.operation === "PUT") return checked(theirs.value);
    throw error;
  }
}

function checked(value: Uint8Array): Uint8Array {
  if (value.length === keyBytes) return Uint8Array.from(value);
  throw new EverycoreError(
    "internal",
    `the cluster key in EC_META has ${value.length} bytes instead of ${keyBytes}`,
  );
}

export function keysOf(key: Uint8Array): Keys {
  const jobKey = jobKeysOf(key);
  return {
    leaseId: (job, grant) => leaseIdOf(jobKey(job), grant),
    verify: leaseVerifier(key, jobKey),
    sampleSeed: (job) => {
      const seed = createHmac("sha256", jobKey(job)).update("sample").digest();
      return [seed.readUInt32LE(0), seed.readUInt32LE(4), seed.readUInt32LE(8), seed.readUInt32LE(12)];
    },
  };
}
