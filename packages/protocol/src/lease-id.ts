/**
 * Lease ids (DESIGN 5): the first 16 bytes of HMAC-SHA256(job key, start, end, node, round, n), so that any
 * later leader recognises its predecessors' leases without a table and an agent cannot cover items that it
 * was never given. Job key = HMAC-SHA256(cluster key, job id): agents never have it.
 *
 * Message: start, end as big-endian u64; node as u32 big-endian length + UTF-8; round, n as big-endian u64.
 * The golden vector `proto/vectors/lease-id.json` fixes it.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { VerifyLease } from "./fold.ts";
import type { JobId, LeaseId } from "./ids.ts";
import { limits } from "./limits.ts";
import type { LeaseGrant } from "./records.ts";

const idBytes = 16;

export const jobKeyOf = (clusterKey: Uint8Array, job: JobId): Uint8Array =>
  createHmac("sha256", clusterKey).update(job).digest();

export function leaseIdOf(jobKey: Uint8Array, grant: Omit<LeaseGrant, "id">): LeaseId {
  const node = Buffer.from(grant.node, "utf8");
  const message = Buffer.allocUnsafe(36 + node.length);
  message.writeBigUInt64BE(BigInt(grant.start), 0);
  message.writeBigUInt64BE(BigInt(grant.end), 8);
  message.writeUInt32BE(node.length, 16);
  node.copy(message, 20);
  message.writeBigUInt64BE(BigInt(grant.round), 20 + node.length);
  message.writeBigUInt64BE(BigInt(grant.n), 28 + node.length);
  return createHmac("sha256", jobKey)
    .update(message)
    .digest("hex")
    .slice(0, idBytes * 2) as LeaseId;
}

/** Keys of one cluster's jobs: kept, for each lease and commit of a job needs the same one, but only so many (P7). */
export function jobKeysOf(clusterKey: Uint8Array): (job: JobId) => Uint8Array {
  const kept = new Map<JobId, Uint8Array>();
  return (job) => {
    const known = kept.get(job);
    if (known !== undefined) return known;
    // The oldest goes: one that is needed again costs a hash.
    for (const oldest of kept.keys()) {
      if (kept.size < limits.jobKeysMax) break;
      kept.delete(oldest);
    }
    const key = jobKeyOf(clusterKey, job);
    kept.set(job, key);
    return key;
  };
}

/** A verifier for one cluster. */
export function leaseVerifier(
  clusterKey: Uint8Array,
  jobKey: (job: JobId) => Uint8Array = jobKeysOf(clusterKey),
): VerifyLease {
  return (job, grant) => {
    const right = Buffer.from(leaseIdOf(jobKey(job), grant), "hex");
    const given = Buffer.from(grant.id, "hex");
    return given.length === right.length && timingSafeEqual(given, right);
  };
}
