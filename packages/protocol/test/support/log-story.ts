/**
 * Random logs as a cluster could write them: leases are granted for items of one round, reopens name covered
 * items, everything else may come at any time, twice, under a forged lease or with a bygone epoch.
 */
import fc from "fast-check";
import type { JobId, LeaseGrant, LeaseId, LogRecord, NodeId, Range } from "../../src/index.ts";
import { NaiveFold } from "./naive-fold.ts";

export const job = "0123456789abcdef0123" as JobId;
export const itemsMax = 24;

const right = "0".repeat(31);
/** Ids whose last digit is 0..9 are right, others forged: no HMAC is needed to test the rules. */
export const verify = (_job: JobId, grant: LeaseGrant): boolean => /[0-9]$/.test(grant.id);

export interface Command {
  readonly act: string;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

export const commands = fc.array(
  fc.record({
    act: fc.constantFrom(
      "grant",
      "grant",
      "commit",
      "commit",
      "commit",
      "again",
      "crash",
      "lost",
      "leaderLost",
      "suspected",
      "seal",
      "reopen",
      "fence",
      "span",
      "forged",
      "outside",
      "repeat",
      "noLease",
    ),
    a: fc.nat(itemsMax - 1),
    b: fc.nat(itemsMax - 1),
    c: fc.nat(1_000),
  }),
  { maxLength: 60 },
);

/** Covered ones of `indices`; those in spans that lack values with their whole span, as a retry names them. */
function reopenable(oracle: NaiveFold, indices: readonly number[]): Range[] {
  return indices
    .filter((index) => oracle.item(index).outcome !== undefined)
    .map((index) => {
      for (const span of oracle.gaps.keys()) {
        const [start, end] = span.split("-").map(Number);
        if (index >= start! && index < end!) return { start: start!, end: end! };
      }
      return { start: index, end: index + 1 };
    });
}

/** The records that the commands mean, in order. */
export function logOf(given: readonly Command[]): LogRecord[] {
  const oracle = new NaiveFold((grant) => verify(job, grant));
  const log: LogRecord[] = [];
  const leases: LeaseGrant[] = [];
  let round = 0;
  let epoch = 1;
  const put = (record: LogRecord): void => {
    log.push(record);
    oracle.apply(log.length, record);
  };
  const grant = (a: number, b: number): void => {
    const start = Math.min(a, b);
    let end = start + 1;
    const { round: of } = oracle.item(start);
    while (end <= Math.max(a, b) && oracle.item(end).round === of) end += 1;
    const n = leases.length;
    const id = `${n.toString(16).padStart(31, "0")}${n % 10}` as LeaseId;
    leases.push({ id, start, end, node: `${n % 3}`.repeat(16) as NodeId, round: of, n });
  };
  for (const { act, a, b, c } of given) {
    if (act === "grant" || leases.length === 0) {
      grant(a, b);
      continue;
    }
    // Young leases are used more often: an old round is over for most of its items.
    const lease =
      leases[c % 2 === 0 ? c % leases.length : leases.length - 1 - (c % Math.min(3, leases.length))]!;
    const start = Math.max(lease.start, Math.min(a, lease.end - 1));
    const end = Math.min(lease.end, start + 1 + (b % 6));
    const range = { start, end };
    const commit = (parts: Extract<LogRecord, { kind: "commit" }>["parts"], by = lease): void =>
      put({ kind: "commit", job, epoch, leases: [by], parts, usage: [], bytes: 1 });
    const strike = (cause: "crash" | "lost" | "suspected", byLeader: boolean, at: number): void =>
      put({ kind: "strike", job, epoch: at, cause, lease, ranges: [range], byLeader });
    switch (act) {
      case "commit":
        commit([
          { lease: 0, ...range, status: (["value", "error", "timeout"] as const)[c % 3]! },
          { lease: 0, start: lease.start, end: start + 1, status: "value" },
        ]);
        break;
      case "again":
        commit([{ lease: 0, ...range, status: "again" }]);
        break;
      case "crash":
        strike("crash", false, epoch);
        break;
      case "lost":
        strike("lost", false, epoch);
        break;
      case "leaderLost":
        strike("lost", true, Math.max(1, epoch - (c % 2)));
        break;
      case "suspected":
        strike("suspected", true, Math.max(1, epoch - (c % 2)));
        break;
      case "seal": {
        const seal = { kind: "seal", job, epoch: Math.max(1, epoch - (c % 3 === 0 ? 1 : 0)) } as const;
        const whole = { start: Math.min(a, b), end: Math.max(a, b) + 1 };
        put({ ...seal, round: c % 2 === 0 ? round : 0, ranges: [whole], status: "cancelled", message: "" });
        break;
      }
      case "reopen": {
        const ranges = reopenable(oracle, [a, b, (a + 1) % itemsMax]);
        if (ranges.length === 0) break;
        round += 1;
        put({ kind: "reopen", job, epoch: Math.max(1, epoch - (c % 5 === 0 ? 1 : 0)), ranges, round });
        for (const of of ranges) grant(of.start, of.end - 1);
        break;
      }
      case "fence":
        epoch += 1;
        put({ kind: "fence", job, epoch: Math.max(1, epoch - (c % 4 === 0 ? 1 : 0)) });
        break;
      case "span":
        commit([{ lease: 0, ...range, status: "value", missing: c % 3 }]);
        break;
      case "forged":
        commit([{ lease: 0, ...range, status: "value" }], { ...lease, id: `${right}f` as LeaseId });
        break;
      case "outside":
        commit([{ lease: 0, start, end: lease.end + 1 + (b % 3), status: "value" }]);
        break;
      case "noLease":
        commit([{ lease: 7, ...range, status: "value" }]);
        break;
      case "repeat":
        if (log.length > 0) put(log[c % log.length]!);
        break;
    }
  }
  return log;
}
