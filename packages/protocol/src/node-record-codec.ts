/** The bytes of a node's record in EC_NODES. */
import { bad, count, fieldsOf, flag, list, number, optional, text } from "./checks.ts";
import type { Fields } from "./checks.ts";
import { isJobId } from "./ids.ts";
import type { NodeId } from "./ids.ts";
import { limits } from "./limits.ts";
import type { CountedCrash, CrashedItem, NodeRecord, Quarantine, StandingRecord } from "./node-record.ts";
import { protocolVersion } from "./subjects.ts";
import { decode, encode } from "./wire.ts";

const what = "node record";

/** Its key is the node's id. */
export function encodeNodeRecord({ host, epoch, draining, isGone, standing }: NodeRecord): Buffer {
  return encode({
    v: protocolVersion,
    host,
    epoch,
    draining,
    ...(isGone ? { gone: true } : {}),
    ...(standing === undefined ? {} : { standing }),
  });
}

export function decodeNodeRecord(id: NodeId, data: Uint8Array): NodeRecord {
  const fields = fieldsOf(decode(data), what);
  if (fields["v"] !== protocolVersion) throw bad(what, "v");
  const standing = optional(fields, "standing", what, standingOf);
  return {
    id,
    host: text(fields, "host", what),
    epoch: optional(fields, "epoch", what, count) ?? 0,
    draining: flag(fields, "draining", what),
    isGone: optional(fields, "gone", what, flag) ?? false,
    ...(standing === undefined ? {} : { standing }),
  };
}

function standingOf(fields: Fields, field: string): StandingRecord {
  const standing = fieldsOf(fields[field], `${what}.${field}`);
  const crashes = optional(standing, "crashes", what, countedOf);
  const quarantine = optional(standing, "quarantine", what, quarantineOf);
  return {
    countsFrom: number(standing, "countsFrom", what),
    times: count(standing, "times", what),
    ...(crashes === undefined ? {} : { crashes }),
    ...(quarantine === undefined ? {} : { quarantine }),
  };
}

const countedOf = (fields: Fields, field: string): CountedCrash[] =>
  list(fields, field, what, limits.standingCrashesMax).map((value) => {
    const times = fieldsOf(value, `${what}.crashes`);
    return {
      ...crashedItemOf(value),
      crashedAt: number(times, "crashedAt", what),
      at: number(times, "at", what),
    };
  });

function quarantineOf(fields: Fields, field: string): Quarantine {
  const quarantine = fieldsOf(fields[field], `${what}.${field}`);
  return {
    since: number(quarantine, "since", what),
    until: number(quarantine, "until", what),
    crashes: list(quarantine, "crashes", what, limits.standingCrashesMax).map(crashedItemOf),
  };
}

function crashedItemOf(value: unknown): CrashedItem {
  const fields = fieldsOf(value, `${what}.crashes`);
  const { job } = fields;
  if (!isJobId(job)) throw bad(what, "job");
  return { job, index: count(fields, "index", what) };
}
