/**
 * When the items of a traced slice ran, noted while its outcome file is read anyway: records carry how long each item
 * took, and items of a slice run one after the other. Only those that a trace shows are kept (limits.ts).
 */
import { codecs, decodeErrorInfo, limits, outcomeStatus, recordHeadBytes } from "@everycore/protocol";

/** An item that took long, or failed. */
export interface ItemTime {
  readonly index: number;
  /** Since the slice began. */
  readonly startMicros: number;
  readonly micros: number;
  readonly status: number;
  /** How it failed. */
  readonly error: { readonly name: string; readonly message: string } | undefined;
}

export interface ItemTimes {
  readonly shown: ItemTime[];
  /** Items that should be shown, and are too many. */
  leftOut: number;
  failed: number;
  /** All items so far. */
  micros: number;
}

export const newItemTimes = (): ItemTimes => ({ shown: [], leftOut: 0, failed: 0, micros: 0 });

/** `record`: one whole record of an item. */
export function noteItem(times: ItemTimes, index: number, record: Buffer): void {
  const status = record[12]!;
  const micros = record.readUInt32LE(14);
  const startMicros = times.micros;
  times.micros += micros;
  const hasFailed = status === outcomeStatus.error || status === outcomeStatus.timeout;
  if (hasFailed) times.failed += 1;
  else if (micros < limits.traceItemMs * 1_000) return;
  if (times.shown.length >= limits.traceItemsPerSlice) {
    times.leftOut += 1;
    return;
  }
  times.shown.push({ index, startMicros, micros, status, error: hasFailed ? errorOf(record) : undefined });
}

/** Tasks share the process that writes the file: bytes that are no error are not worth more than their span. */
function errorOf(record: Buffer): ItemTime["error"] {
  try {
    if (record[13] === codecs.error) {
      const { name, message } = decodeErrorInfo(record.subarray(recordHeadBytes));
      return { name, message };
    }
  } catch {
    // said below
  }
  return { name: "Error", message: "it cannot be read" };
}
