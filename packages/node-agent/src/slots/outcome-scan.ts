/**
 * Reads outcome files in bulk: runs of equal status instead of objects per item (DESIGN 8). Knows records, not
 * slots. A torn last record is ignored; it is read again when more has come.
 */
import { levelOf, outcomeStatus, readU64, recordHeadBytes, recordStatus } from "@everycore/protocol";
import type { OutcomeRun } from "../core/index.ts";
import type { ItemTimes } from "./item-times.ts";
import { newItemTimes, noteItem } from "./item-times.ts";
import type { SliceHead } from "./slice-head.ts";
import { parseHead } from "./slice-head.ts";

export interface ScannedSlice {
  /** Sequence of the slice on its slot. */
  readonly slice: number;
  readonly head: SliceHead;
  /** Items with a complete record: the running item is head.start + items. */
  items: number;
  /** Found since they were last taken. */
  runs: OutcomeRun[];
  /** Of a traced slice. */
  readonly times: ItemTimes | undefined;
}

/** Where the scan of one file stands: the records of a slice may come in several reads. */
export interface ScanState {
  at: number;
  slice: ScannedSlice | undefined;
}

/**
 * Reads `bytes`, which lie at `state.at` of file `file`, of which there are `left` from there on; gives the slices
 * that grew, in order. Payloads of items need not be among the bytes: they are passed over by their length.
 */
export function scanRecords(
  state: ScanState,
  file: number,
  bytes: Buffer,
  left = bytes.length,
): ScannedSlice[] {
  const grown: ScannedSlice[] = state.slice === undefined ? [] : [state.slice];
  const base = state.at;
  let at = 0;
  while (at + recordHeadBytes <= bytes.length) {
    const next = at + 4 + bytes.readUInt32LE(at);
    if (next > left || next < at + recordHeadBytes) break;
    const index = readU64(bytes, at + 4);
    const status = bytes[at + 12]!;
    if (next > bytes.length && isReadWithin(status)) break;
    if (status === recordStatus.head) {
      const head = parseHead(bytes.subarray(at + recordHeadBytes, next));
      const times = head.timed === true ? newItemTimes() : undefined;
      state.slice = { slice: index, head, items: 0, runs: [], times };
      grown.push(state.slice);
    } else if (state.slice !== undefined) {
      const run = { file, from: base + at, to: base + next, status };
      if (status === recordStatus.partial) addPartial(state.slice, run, index, bytes, at);
      else addItem(state.slice, run, index);
      if (state.slice.times !== undefined && status !== recordStatus.partial)
        noteItem(state.slice.times, index, bytes.subarray(at, next));
    }
    at = next;
  }
  state.at = base + at;
  return grown;
}

/** The payload of these says what follows, or what they are. */
const isReadWithin = (status: number): boolean =>
  status === recordStatus.head || status === recordStatus.partial;

type Where = Pick<OutcomeRun, "file" | "from" | "to" | "status">;

function addPartial(slice: ScannedSlice, run: Where, index: number, bytes: Buffer, at: number): void {
  const level = bytes[at + recordHeadBytes]!;
  const missing = bytes.readUInt32LE(at + recordHeadBytes + 1);
  slice.runs.push({ ...run, start: index, end: index + 2 ** level, missing });
}

function addItem(slice: ScannedSlice, run: Where, index: number): void {
  slice.items += 1;
  if (slice.head.reduced) {
    // Values and errors of single items live in their span's partial; only a killed item has a part of its own.
    if (run.status === outcomeStatus.timeout)
      slice.runs.push({ ...run, start: index, end: index + 1, missing: 1 });
    return;
  }
  const last = slice.runs.at(-1);
  const follows = last?.status === run.status && last.end === index && last.to === run.from;
  if (follows && isOneVerdict(slice, last, index)) {
    slice.runs[slice.runs.length - 1] = { ...last, to: run.to, end: index + 1 };
  } else slice.runs.push({ ...run, start: index, end: index + 1, missing: undefined });
}

/** Whether an error is tried again depends on how often its item was tried: neighbours may differ in it. */
function isOneVerdict(slice: ScannedSlice, last: OutcomeRun, index: number): boolean {
  const { attempts } = slice.head;
  if (last.status === outcomeStatus.value || attempts.length === 0) return true;
  return levelOf(attempts, last.start) === levelOf(attempts, index);
}
