/**
 * A message of a segment as a record, checked: the same for the leader's tail, readers and audit, so that all
 * fold the same records. What is malformed, or stands on a subject that is not its own, is nobody's record.
 */
import type { JobId, LogRecord, SegmentId } from "@everycore/protocol";
import { decodeRecord, parseLogSubject, recordHeader } from "@everycore/protocol";
import type { MsgHdrs } from "@nats-io/nats-core";

/** Writer token of the leader's records in subjects; agents use their node id. */
export const leaderWriter = "leader";

export interface ReadRecord {
  readonly job: JobId;
  readonly segment: SegmentId;
  readonly record: LogRecord;
}

/** undefined: not a record. */
export function readRecord(subject: string, headers: MsgHdrs | undefined): ReadRecord | undefined {
  const address = parseLogSubject(subject);
  const header = headers?.get(recordHeader);
  if (address === undefined || header === undefined || header === "") return undefined;
  let record: LogRecord;
  try {
    record = decodeRecord(header);
  } catch {
    return undefined; // poison: the caller counts it
  }
  if (record.job !== address.job || !mayStandOn(record, address.plane, address.writer)) return undefined;
  return { job: address.job, segment: address.segment, record };
}

function mayStandOn(record: LogRecord, plane: "log" | "in", writer: string): boolean {
  switch (record.kind) {
    case "input":
    case "close":
      return plane === "in";
    case "commit":
    case "chunk":
      return plane === "log" && writer !== leaderWriter;
    case "strike":
      return plane === "log" && record.byLeader === (writer === leaderWriter);
    case "seal":
    case "reopen":
    case "fence":
      return plane === "log" && writer === leaderWriter;
  }
}
