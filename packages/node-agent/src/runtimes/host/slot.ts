/**
 * The worker's side of the slot files (DESIGN 8): reads the limit of its slice, writes its phase, appends one
 * record per item with one write(2). What was appended survives the death of worker and agent (P4).
 */
import { closeSync, openSync, readSync, writeSync, writevSync } from "node:fs";
import { join } from "node:path";
import type { Phase } from "@everycore/protocol/worker";
import { page, phases, readU64, recordHeadBytes, writeU64 } from "@everycore/protocol/worker";

/** Payloads up to this are copied into one buffer with their head; larger ones go out by writev. */
const inlineBytes = 64 * 1024;

export class Slot {
  readonly #page: number;
  readonly #cell = Buffer.alloc(8);
  readonly #word = Buffer.alloc(16);
  readonly #record = Buffer.alloc(recordHeadBytes + inlineBytes);
  #outcomes = -1;
  #path = "";
  #limitAt = 0;

  constructor(directory: string) {
    this.#page = openSync(join(directory, "page"), "r+");
  }

  close(): void {
    closeSync(this.#page);
    if (this.#outcomes >= 0) closeSync(this.#outcomes);
  }

  setPhase(phase: Phase, slice = 0): void {
    this.#word.writeUInt32LE(phases[phase], 0);
    this.#word.writeUInt32LE(0, 4);
    writeU64(this.#word, slice, 8);
    writeSync(this.#page, this.#word, 0, 16, page.phaseAt);
  }

  /** Opens the outcome file of a slice; the limit is read from its cell from now on. */
  enter(slice: number, path: string): void {
    this.#limitAt = page.limitCellAt(slice) + 8;
    if (path === this.#path) return;
    if (this.#outcomes >= 0) closeSync(this.#outcomes);
    this.#outcomes = openSync(path, "a");
    this.#path = path;
  }

  /** First item that must not be run: the agent may lower it at any moment. */
  limit(): number {
    readSync(this.#page, this.#cell, 0, 8, this.#limitAt);
    return readU64(this.#cell, 0);
  }

  /** Room for a payload of `bytes`, inside the record buffer; fill it, then `append` it. */
  payload(bytes: number): Buffer | undefined {
    return bytes <= inlineBytes ? this.#record.subarray(recordHeadBytes, recordHeadBytes + bytes) : undefined;
  }

  append(index: number, status: number, codec: number, micros: number, payload: Uint8Array): void {
    const record = this.#record;
    const bytes = payload.length;
    record.writeUInt32LE(recordHeadBytes - 4 + bytes, 0);
    record.writeUInt32LE(index % 2 ** 32, 4);
    record.writeUInt32LE((index / 2 ** 32) >>> 0, 8);
    record[12] = status;
    record[13] = codec;
    record.writeUInt32LE(micros > 0xffff_ffff ? 0xffff_ffff : micros >>> 0, 14);
    if (bytes <= inlineBytes) {
      record.set(payload, recordHeadBytes);
      this.#write(record, recordHeadBytes + bytes);
      return;
    }
    // A short write (disk full half way) leaves a torn record, which readers ignore: then we die.
    const head = Buffer.from(record.subarray(0, recordHeadBytes));
    const done = writevSync(this.#outcomes, [head, payload]);
    if (done < recordHeadBytes + bytes) this.#rest(payload, done - recordHeadBytes);
  }

  #write(buffer: Buffer, bytes: number): void {
    const done = writeSync(this.#outcomes, buffer, 0, bytes);
    if (done < bytes) this.#rest(buffer.subarray(0, bytes), done);
  }

  #rest(bytes: Uint8Array, from: number): void {
    for (let at = from; at < bytes.length;) at += writeSync(this.#outcomes, bytes, at, bytes.length - at);
  }
}
