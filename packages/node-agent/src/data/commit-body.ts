/** Commit bodies, built by copying: an entry is the tail of the record that the worker wrote (packing.ts). */
import {
  codecs,
  encode,
  outcomeHeadBytes,
  packEntries,
  packOutcome,
  recordHeadBytes,
  recordStatus,
  limits,
} from "@everycore/protocol";
import type { OutcomeRun } from "../core/index.ts";

/** status, codec and micros stand in record and entry alike. */
const entryAt = recordHeadBytes - outcomeHeadBytes;
/** A partial's payload begins with u8 level | u32 missing, which its part says already. */
const partialHeadBytes = 5;

/** Entries of whole records. Views of `bytes` except for partials. */
export function entriesOf(run: OutcomeRun, bytes: Buffer): Buffer[] {
  const entries: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const next = at + 4 + bytes.readUInt32LE(at);
    if (run.status === recordStatus.partial) {
      const payload = bytes.subarray(at + recordHeadBytes + partialHeadBytes, next);
      entries.push(packOutcome(0, bytes[at + 13]!, bytes.readUInt32LE(at + 14), payload));
    } else entries.push(bytes.subarray(at + entryAt, next));
    at = next;
  }
  return entries;
}

/** Splits a too large outcome into the pieces of `chunk` records. */
export function* piecesOf(payload: Buffer): Generator<Buffer> {
  for (let at = 0; at < payload.length; at += limits.messageBytesMax) {
    yield payload.subarray(at, at + limits.messageBytesMax);
  }
}

export function chunkedEntry(entry: Buffer, seqs: readonly number[]): Buffer {
  const payload = encode({ codec: entry[1], bytes: entry.length - outcomeHeadBytes, seqs });
  return packOutcome(entry[0]!, codecs.chunked, entry.readUInt32LE(2), payload);
}

export const bodyOf = (entries: readonly Buffer[]): Buffer => packEntries(entries);
