/**
 * The outcome files of one worker directory: read as they grow, rotated at slice ends, deleted when every outcome
 * in them is acknowledged. While NATS is away they are the spool (P3), so nothing is deleted early (P1). Only what
 * the agent itself has to append while the disk is full is kept in memory: one small record per dead worker, as no
 * slice starts then. Killed before it is acknowledged, the agent leaves that item without an outcome: it is run again.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readSync,
  readdirSync,
  rmSync,
  writeSync,
  ftruncateSync,
} from "node:fs";
import { join } from "node:path";
import { limits, recordHeadBytes, writeU64 } from "@everycore/protocol";
import type { OutcomeRun } from "../core/index.ts";
import { isOutOfSpace } from "../machine/facts.ts";
import type { ScannedSlice, ScanState } from "./outcome-scan.ts";
import { scanRecords } from "./outcome-scan.ts";

/** Bytes read at once while looking for what was appended. */
const windowBytes = 64 * 1024;

interface OutcomeFile {
  readonly id: number;
  readonly path: string;
  readonly scan: ScanState;
  /** Of a record for which there was no room on the disk: all of it, under no path. */
  readonly bytes: Buffer | undefined;
  fd: number | undefined;
  /** Bytes of outcomes found and not freed. */
  held: number;
  /** Slices sent to this file and not ended. */
  slices: number;
  closed: boolean;
}

/** Numbers of files, unique in the process, so that a run names its file without its worker. */
let lastFile = 0;

export class OutcomeFiles {
  readonly #dir: string;
  readonly #files = new Map<number, OutcomeFile>();
  #current: OutcomeFile | undefined;
  /** Slices that have grown by records in memory. */
  #grown: ScannedSlice[] = [];
  readonly #write: typeof writeSync;
  /** Gets each file that is no more. */
  onGone: (file: number) => void = () => {};

  /** `write`: how bytes get into a file; another one in tests. */
  constructor(dir: string, write: typeof writeSync = writeSync) {
    this.#dir = dir;
    this.#write = write;
  }

  /** All files of a directory that another process left. */
  static leftIn(dir: string): OutcomeFiles {
    const files = new OutcomeFiles(dir);
    const numberOf = (name: string): number => Number(name.slice("out-".length));
    const names = readdirSync(dir).filter((name) => /^out-\d+$/.test(name));
    for (const name of names.sort((a, b) => numberOf(a) - numberOf(b))) files.#add(join(dir, name));
    return files;
  }

  #add(path: string, kept?: { bytes: Buffer; slice: ScannedSlice }): OutcomeFile {
    const id = (lastFile += 1);
    const file: OutcomeFile = {
      id,
      path,
      scan: { at: 0, slice: kept?.slice },
      bytes: kept?.bytes,
      fd: undefined,
      held: 0,
      slices: 0,
      closed: false,
    };
    this.#files.set(id, file);
    return file;
  }

  /** Path for a slice about to be sent; a file that has reached its size is left for a new one. */
  pathForSlice(): string {
    const current = this.#current;
    if (current === undefined || current.scan.at >= limits.outcomeFileBytes) {
      if (current !== undefined) {
        current.closed = true;
        this.#deleteIfDone(current);
      }
      this.#current = this.#add(join(this.#dir, `out-${lastFile + 1}`));
    }
    this.#current!.slices += 1;
    return this.#current!.path;
  }

  /** The slice that was sent first has ended. */
  sliceEnded(): void {
    for (const file of this.#files.values()) {
      if (file.slices === 0) continue;
      file.slices -= 1;
      return this.#deleteIfDone(file);
    }
  }

  /** What was appended since the last look, oldest first. */
  read(): ScannedSlice[] {
    const grown = this.#grown;
    this.#grown = [];
    for (const file of this.#files.values()) {
      const fd = this.#fdOf(file);
      if (fd === undefined) continue;
      const size = fstatSync(fd).size;
      if (size <= file.scan.at) {
        if (file.scan.slice !== undefined && file === this.#current) grown.push(file.scan.slice);
        continue;
      }
      grown.push(...this.#scan(file, fd, size));
    }
    return grown;
  }

  /** Window by window: what an item gave is not read before it is published. */
  #scan(file: OutcomeFile, fd: number, size: number): Set<ScannedSlice> {
    const grown = new Set<ScannedSlice>();
    for (let window = windowBytes; file.scan.at < size;) {
      const from = file.scan.at;
      const left = size - from;
      const bytes = Buffer.allocUnsafe(Math.min(left, window));
      const got = readSync(fd, bytes, 0, bytes.length, from);
      for (const slice of scanRecords(file.scan, file.id, bytes.subarray(0, got), left)) grown.add(slice);
      if (file.scan.at > from) window = windowBytes;
      else if (got < left) window *= 4; // a record that must be read whole is larger
      else break; // the last record is not whole yet
    }
    for (const slice of grown) for (const run of slice.runs) file.held += run.to - run.from;
    return grown;
  }

  #fdOf(file: OutcomeFile): number | undefined {
    if (file.bytes !== undefined) return undefined;
    if (file.fd === undefined && existsSync(file.path)) file.fd = openSync(file.path, "r+");
    return file.fd;
  }

  has(file: number): boolean {
    return this.#files.has(file);
  }

  /** Bytes of whole records. */
  bytesOf(run: OutcomeRun): Buffer {
    const file = this.#files.get(run.file);
    if (file?.bytes !== undefined) return file.bytes.subarray(run.from, run.to);
    const fd = file === undefined ? undefined : this.#fdOf(file);
    if (fd === undefined) throw new Error(`outcome file ${run.file} is gone while its outcomes wait`);
    const bytes = Buffer.allocUnsafe(run.to - run.from);
    if (readSync(fd, bytes, 0, bytes.length, run.from) !== bytes.length) {
      throw new Error(`outcome file ${file!.path} is shorter than its outcomes`);
    }
    return bytes;
  }

  /**
   * Appends what a dead worker could not; its torn last record is cut off first. False: the disk has no room for it,
   * it is kept in memory.
   */
  append(record: {
    index: number;
    status: number;
    codec: number;
    micros: number;
    payload: Uint8Array;
  }): boolean {
    const file = [...this.#files.values()].findLast((known) => known.scan.slice !== undefined);
    const fd = file === undefined ? undefined : this.#fdOf(file);
    if (file === undefined || fd === undefined)
      throw new Error(`no outcome file in ${this.#dir} to append to`);
    const bytes = Buffer.alloc(recordHeadBytes + record.payload.length);
    bytes.writeUInt32LE(bytes.length - 4, 0);
    writeU64(bytes, record.index, 4);
    bytes[12] = record.status;
    bytes[13] = record.codec;
    bytes.writeUInt32LE(Math.min(record.micros, 0xffff_ffff) >>> 0, 14);
    bytes.set(record.payload, recordHeadBytes);
    ftruncateSync(fd, file.scan.at);
    if (this.#wrote(fd, bytes, file.scan.at)) return true;
    ftruncateSync(fd, file.scan.at);
    this.#keep(bytes, file.scan.slice!);
    return false;
  }

  /** All of it: a disk that is just filling up takes the beginning of a record. */
  #wrote(fd: number, bytes: Buffer, at: number): boolean {
    try {
      for (let done = 0; done < bytes.length;)
        done += this.#write(fd, bytes, done, bytes.length - done, at + done);
      return true;
    } catch (error) {
      if (isOutOfSpace(error)) return false;
      throw error;
    }
  }

  #keep(bytes: Buffer, slice: ScannedSlice): void {
    const file = this.#add("", { bytes, slice });
    file.closed = true;
    this.#grown.push(...scanRecords(file.scan, file.id, bytes));
    file.held = bytes.length;
  }

  free(run: OutcomeRun): void {
    const file = this.#files.get(run.file);
    if (file === undefined) return;
    file.held -= run.to - run.from;
    this.#deleteIfDone(file);
  }

  #deleteIfDone(file: OutcomeFile): void {
    if (!file.closed || file.held > 0 || file.slices > 0) return;
    if (file.fd !== undefined) closeSync(file.fd);
    if (file.bytes === undefined) rmSync(file.path, { force: true });
    this.#files.delete(file.id);
    this.onGone(file.id);
    if (this.#current === file) this.#current = undefined;
  }

  /** The worker is dead: nothing more is appended. True when the directory may go. */
  close(): boolean {
    for (const file of [...this.#files.values()]) {
      file.closed = true;
      file.slices = 0;
      this.#deleteIfDone(file);
    }
    return this.#files.size === 0;
  }

  /** No slice was sent here that has not ended. */
  get isIdle(): boolean {
    return [...this.#files.values()].every((file) => file.slices === 0);
  }

  get isEmpty(): boolean {
    return this.#files.size === 0;
  }
}
