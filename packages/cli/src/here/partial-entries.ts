/** Partials of a reduction as the reduction item takes them: `u64 start | u8 level | u32 missing | u8 codec | bytes`. */
import { codecs, writeU64 } from "@everycore/protocol";
import type { SlotRecord } from "@everycore/protocol";

const headBytes = 14;
/** Level and missing, as a worker's record has them before the value. */
const recordHeadBytes = 5;

export class PartialEntries {
  readonly entries: Buffer[] = [];

  add({ index, codec, payload }: Pick<SlotRecord, "index" | "codec" | "payload">): void {
    const entry = Buffer.allocUnsafe(headBytes + payload.length - recordHeadBytes);
    writeU64(entry, index, 0);
    payload.copy(entry, 8, 0, recordHeadBytes);
    entry[13] = codec;
    payload.copy(entry, headBytes, recordHeadBytes);
    this.entries.push(entry);
  }

  /** One item without a value. */
  addMissing(index: number): void {
    const payload = Buffer.alloc(recordHeadBytes);
    payload.writeUInt32LE(1, 1);
    this.add({ index, codec: codecs.raw, payload });
  }
}
