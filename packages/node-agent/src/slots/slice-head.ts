/**
 * The head of a slice: all that its commits and strikes need after a `kill -9` of the agent (DESIGN 8). Workers
 * append it unread. Only agents of the same machine and boot read it.
 */
import type { JobId, LeaseGrant, LevelRun, SegmentId } from "@everycore/protocol";
import {
  bad,
  count,
  decode,
  encode,
  fieldsOf,
  flag,
  isJobId,
  isSegmentId,
  leaseFromWire,
  leaseToWire,
  list,
  optional,
  protocolVersion,
} from "@everycore/protocol";

export interface SliceHead {
  readonly job: JobId;
  readonly segment: SegmentId;
  readonly epoch: number;
  readonly grant: LeaseGrant;
  readonly start: number;
  readonly end: number;
  readonly slot: number;
  readonly retries: number;
  readonly attempts: readonly LevelRun[];
  /** Its outcomes are partials of spans. */
  readonly reduced: boolean;
  /** Its job has a trace that shows items. */
  readonly timed?: boolean;
}

export const encodeHead = (head: SliceHead): Buffer =>
  encode({
    v: protocolVersion,
    ...head,
    grant: leaseToWire(head.grant),
    attempts: head.attempts.map((run) => [run.start, run.end, run.level]),
  });

export function parseHead(bytes: Uint8Array): SliceHead {
  const what = "slice head";
  const fields = fieldsOf(decode(bytes), what);
  const { job, segment } = fields;
  const timed = optional(fields, "timed", what, flag);
  if (fields["v"] !== protocolVersion) throw bad(what, "v");
  if (!isJobId(job)) throw bad(what, "job");
  if (!isSegmentId(segment)) throw bad(what, "segment");
  return {
    job,
    segment,
    epoch: count(fields, "epoch", what),
    grant: leaseFromWire(fields["grant"], what),
    start: count(fields, "start", what),
    end: count(fields, "end", what),
    slot: count(fields, "slot", what),
    retries: count(fields, "retries", what),
    attempts: list(fields, "attempts", what, 100_000).map((run) => {
      const [start, end, level] = run as number[]; // written by encodeHead on this machine
      return { start: start!, end: end!, level: level! };
    }),
    reduced: flag(fields, "reduced", what),
    ...(timed === undefined ? {} : { timed }),
  };
}
