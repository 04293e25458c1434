/**
 * The agent's side of a slot's files for one worker on this machine: limit, slices one after the other, and the records
 * that each has appended (proto/data-plane.md "Slot files").
 */
import { closeSync, fstatSync, mkdirSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Phase, SliceFrame, SlotRecord, TaskFrame } from "@everycore/protocol";
import { encode, limits, readRecord, recordStatus } from "@everycore/protocol";
import { SlotPage } from "../slots/slot-page.ts";
import { taskFrame } from "../slots/task-frame.ts";
import type { LocalSlice, LocalTask } from "./worker.ts";

/** An outcome file that has grown over this is left for a new one. */
const outcomeFileBytes = 16 * 1024 * 1024;

export class SlotFolder implements Disposable {
  readonly dir: string;
  readonly scratch: string;
  readonly #page: SlotPage;
  #slice = 0;
  #file = 1;
  /** Bytes of the outcome file that have been read. */
  #at = 0;

  /** Made here. */
  constructor(dir: string) {
    this.dir = dir;
    this.scratch = join(dir, "scratch");
    mkdirSync(this.scratch, { recursive: true, mode: 0o700 });
    this.#page = SlotPage.create(dir);
  }

  get phase(): Phase {
    return this.#page.read().phase;
  }

  taskFrame({ job, task, dir }: LocalTask): TaskFrame {
    return taskFrame(task, { job, dir, node: "", slot: 0, scratch: this.scratch });
  }

  /** The next slice; its limit stands before its frame is sent. */
  sliceFrame(slice: LocalSlice): SliceFrame {
    this.#slice += 1;
    if (this.#at > outcomeFileBytes) {
      rmSync(this.#outcomes, { force: true });
      this.#file += 1;
      this.#at = 0;
    }
    this.#page.setLimit(this.#slice, slice.end);
    const { start, end, codec, reduced } = slice;
    return {
      t: "slice",
      slice: this.#slice,
      start,
      end,
      file: this.#outcomes,
      head: encode({}),
      codec,
      reduced,
      ...this.#items(slice),
    };
  }

  #items({ start, end, block, partials }: LocalSlice): Pick<SliceFrame, "block" | "files" | "partials"> {
    if (partials !== undefined) return { partials: this.#write("partials", partials) };
    if (block === undefined) return {};
    // A frame has room for little more than the block itself.
    if (block.length <= limits.workerFrameBytesMax / 2) return { block };
    return { files: [{ path: this.#write("items", block), first: start, count: end - start }] };
  }

  #write(name: string, bytes: Uint8Array): string {
    const path = join(this.dir, `${name}-${this.#slice}`);
    rmSync(join(this.dir, `${name}-${this.#slice - 1}`), { force: true });
    writeFileSync(path, bytes, { mode: 0o600 });
    return path;
  }

  get #outcomes(): string {
    return join(this.dir, `out-${this.#file}`);
  }

  /** No further item of the running slice begins. */
  halt(): void {
    if (this.#slice > 0) this.#page.setLimit(this.#slice, 0);
  }

  /** Records since the last read, without heads; a torn one is left. */
  records(): SlotRecord[] {
    const bytes = this.#unread();
    const records: SlotRecord[] = [];
    let at = 0;
    for (let read = readRecord(bytes, at); read !== undefined; read = readRecord(bytes, at)) {
      if (read.record.status !== recordStatus.head) records.push(read.record);
      at = read.next;
    }
    this.#at += at;
    return records;
  }

  #unread(): Buffer {
    let fd: number;
    try {
      fd = openSync(this.#outcomes, "r");
    } catch {
      return Buffer.alloc(0); // no slice has begun
    }
    try {
      const bytes = Buffer.alloc(fstatSync(fd).size - this.#at);
      let filled = 0;
      while (filled < bytes.length) {
        const count = readSync(fd, bytes, filled, bytes.length - filled, this.#at + filled);
        if (count === 0) break;
        filled += count;
      }
      return bytes.subarray(0, filled);
    } finally {
      closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    this.#page.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
