/** The page that agent and worker share: who writes which field is fixed in protocol/slot-file.ts. */
import { closeSync, openSync, readSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Phase } from "@everycore/protocol";
import { page, phases, readU64, writeU64 } from "@everycore/protocol";

const phaseNames = Object.keys(phases) as Phase[];

export interface PageSight {
  readonly phase: Phase;
  readonly slice: number;
  readonly pid: number;
  readonly startTime: number;
  readonly bootId: string;
}

export class SlotPage {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static create(dir: string): SlotPage {
    const fd = openSync(join(dir, "page"), "w+", 0o600);
    const bytes = Buffer.alloc(page.bytes);
    bytes.writeUInt32LE(page.magic, 0);
    bytes.writeUInt32LE(page.version, 4);
    writeSync(fd, bytes, 0, bytes.length, 0);
    return new SlotPage(fd);
  }

  /** Who runs here: written before its first slice, so that a later agent can end it. */
  setProcess(process: { pid: number; startTime: number; bootId: string }): void {
    const bytes = Buffer.alloc(32);
    writeU64(bytes, process.pid, 0);
    writeU64(bytes, process.startTime, 8);
    Buffer.from(process.bootId, "hex").copy(bytes, 16, 0, 16);
    writeSync(this.#fd, bytes, 0, 32, page.pidAt);
  }

  /** One write of 16 bytes within one page: a reader sees the old cell or the new one. */
  setLimit(slice: number, limit: number): void {
    const bytes = Buffer.allocUnsafe(16);
    writeU64(bytes, slice, 0);
    writeU64(bytes, limit, 8);
    writeSync(this.#fd, bytes, 0, 16, page.limitCellAt(slice));
  }

  read(): PageSight {
    const bytes = Buffer.alloc(page.bytes);
    readSync(this.#fd, bytes, 0, bytes.length, 0);
    return sightOf(bytes);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function sightOf(bytes: Buffer): PageSight {
  return {
    phase: phaseNames[bytes.readUInt32LE(page.phaseAt)] ?? "none",
    slice: readU64(bytes, page.sliceAt),
    pid: readU64(bytes, page.pidAt),
    startTime: readU64(bytes, page.startTimeAt),
    bootId: bytes.subarray(page.bootIdAt, page.bootIdAt + 16).toString("hex"),
  };
}

export interface LeftPage extends PageSight {
  limitOf(slice: number): number | undefined;
}

/** The page of a former agent's worker, or undefined when it is not one. */
export function readLeftPage(dir: string): LeftPage | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(join(dir, "page"));
  } catch {
    return undefined; // a directory without a page never had a worker
  }
  if (
    bytes.length < page.bytes ||
    bytes.readUInt32LE(0) !== page.magic ||
    bytes.readUInt32LE(4) !== page.version
  ) {
    return undefined;
  }
  const sight = sightOf(bytes);
  if (sight.pid === 0) return undefined; // its agent was killed between page and process: no slice was sent here
  return {
    ...sight,
    limitOf: (slice) => {
      const at = page.limitCellAt(slice);
      return readU64(bytes, at) === slice ? readU64(bytes, at + 8) : undefined;
    },
  };
}
