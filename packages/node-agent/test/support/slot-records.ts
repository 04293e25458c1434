/** Records of outcome files as a worker writes them (proto/data-plane.md "Slot files"). */
import { recordHeadBytes, writeU64 } from "@everycore/protocol";

export function slotRecord(index: number, status: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(recordHeadBytes + payload.length);
  bytes.writeUInt32LE(bytes.length - 4, 0);
  writeU64(bytes, index, 4);
  bytes[12] = status;
  bytes.set(payload, recordHeadBytes);
  return bytes;
}
