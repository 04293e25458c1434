/** Items of a slice: from the frame, from block files, or counted. Decoded one at a time, here only. */
import { readFileSync } from "node:fs";
import type { SliceFrame } from "@everycore/protocol/worker";
import { codecs, decode, PackedEntries } from "@everycore/protocol/worker";

export type ReadItem = (index: number) => Buffer;

/** Bytes of each item of the slice; for `range` there are none. */
export function itemReader(frame: SliceFrame): ReadItem {
  if (frame.block !== undefined) {
    const block = new PackedEntries(frame.block);
    return (index) => block.entry(index - frame.start);
  }
  const files = frame.files ?? [];
  let at = 0;
  let open: { path: string; block: PackedEntries } | undefined;
  return (index) => {
    while (files[at] !== undefined && index >= files[at]!.first + files[at]!.count) at += 1;
    const file = files[at];
    if (file === undefined || index < file.first)
      throw new Error(`item ${index} is in no block of its slice`);
    if (open?.path !== file.path)
      open = { path: file.path, block: new PackedEntries(readFileSync(file.path)) };
    return open.block.entry(index - file.first);
  };
}

/** What the task's function gets. */
export function decodeItem(codec: number, bytes: Buffer): unknown {
  switch (codec) {
    case codecs.utf8:
      return bytes.toString("utf8");
    case codecs.json:
      return JSON.parse(bytes.toString("utf8"));
    case codecs.msgpack:
      return decode(bytes);
    default:
      return new Uint8Array(bytes);
  }
}
