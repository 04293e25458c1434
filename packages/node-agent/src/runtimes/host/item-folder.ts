/**
 * The folder of an item, for jobs that ship files or want files returned. Its twin is
 * python/src/everycore/item_folder.py.
 *
 *  K1  each try of an item has a folder of its own, gone after it: nothing of another try or item is in it;
 *  K2  shipped files are copies in it (which share their blocks where the file system can): what a program does to
 *      them is seen by nobody else (decision 0065);
 *  K3  copies carry a date of long ago, so that a shipped file returns only if the program has written it;
 *  K4  what returns is a regular file of the folder: a link counts where it leads to one, a pipe is never opened.
 */
import type { BigIntStats, Dirent } from "node:fs";
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  realpathSync,
  rmdirSync,
  unlinkSync,
  utimesSync,
} from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { fileMatcher, limits } from "@everycore/protocol/worker";

/** 2000-01-01: before any program runs, after what zip can say. */
const longAgoSeconds = 946_684_800;
const longAgo = BigInt(longAgoSeconds) * 1_000_000_000n;

export interface Returned {
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly executable: readonly string[];
  /** Why none return. */
  readonly refusal?: string;
}

interface Candidate {
  readonly name: string;
  readonly place: string;
  readonly info: BigIntStats;
}

export class ItemFolders {
  readonly #scratch: string;
  readonly #shipped: string;
  readonly #matches: ((path: string) => boolean) | undefined;
  readonly #folders: readonly string[];
  readonly #files: readonly string[];
  readonly #names: ReadonlySet<string>;
  #folder: string | undefined;
  #made = 0;

  constructor(options: {
    scratch: string;
    /** Folder of the unpacked bundle. */
    shipped: string | undefined;
    returns: readonly string[] | undefined;
  }) {
    const { scratch, shipped, returns } = options;
    this.#scratch = scratch;
    this.#shipped = shipped ?? "";
    this.#matches = returns === undefined ? undefined : fileMatcher(returns);
    const { folders, files } = shipped === undefined ? { folders: [], files: [] } : below(shipped);
    this.#folders = folders.toSorted(); // parents first
    this.#files = files;
    this.#names = new Set(files);
  }

  /** K1, K2. Where the item's program runs. */
  enter(): string {
    this.#made += 1;
    const folder = join(this.#scratch, `item-${this.#made}`);
    this.#folder = folder;
    mkdirSync(folder, { mode: 0o700 });
    for (const path of this.#folders) mkdirSync(join(folder, path), { mode: 0o700 });
    for (const path of this.#files) {
      const copy = join(folder, path);
      copyFileSync(join(this.#shipped, path), copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      utimesSync(copy, longAgoSeconds, longAgoSeconds); // K3
    }
    return folder;
  }

  leave(): void {
    this.#keepScratch();
    if (this.#folder !== undefined) remove(this.#folder);
    this.#folder = undefined;
  }

  /** A program may have removed its HOME. */
  #keepScratch(): void {
    mkdirSync(this.#scratch, { recursive: true, mode: 0o700 });
  }

  /** What the item leaves; undefined where the job wants nothing. */
  returned(): Returned | undefined {
    const matches = this.#matches;
    if (matches === undefined || this.#folder === undefined) return undefined;
    this.#keepScratch();
    // A program may have put a link in its place.
    const root = join(realpathSync(dirname(this.#folder)), basename(this.#folder));
    const names = below(root).files.filter((name) => !name.includes("\ufffd") && matches(name));
    const found = names
      .map((name) => this.#candidate(root, name))
      .filter((candidate) => candidate !== undefined)
      .toSorted((left, right) => Buffer.compare(Buffer.from(left.name), Buffer.from(right.name)));
    if (found.length > limits.returnedFilesMax) {
      return refused(
        `${found.length} files would return, more than returnedFilesMax = ${limits.returnedFilesMax}; ${advice}`,
      );
    }
    const before = found.reduce((sum, { info }) => sum + Number(info.size), 0);
    if (before > limits.returnedFilesBytesMax) return tooLarge(before);
    const read = found.map((file) => ({ ...file, bytes: bytesOf(file.place) }));
    const there = read.filter((file): file is typeof file & { bytes: Buffer } => file.bytes !== undefined);
    const total = there.reduce((sum, { bytes }) => sum + bytes.length, 0);
    if (total > limits.returnedFilesBytesMax) return tooLarge(total);
    return {
      files: Object.fromEntries(there.map(({ name, bytes }) => [name, bytes])),
      executable: there.filter(({ info }) => (info.mode & 0o100n) !== 0n).map(({ name }) => name),
    };
  }

  #candidate(root: string, name: string): Candidate | undefined {
    let place = join(root, name);
    let info = statOf(place);
    if (info?.isSymbolicLink() === true) {
      place = realPathOf(place) ?? "";
      info = place.startsWith(root + sep) ? statOf(place) : undefined;
    }
    if (info?.isFile() !== true) return undefined;
    const isUntouched = this.#names.has(name) && info.mtimeNs === longAgo; // K3
    return isUntouched ? undefined : { name, place, info };
  }
}

const advice = "let --output match less, or pack it";

const refused = (refusal: string): Returned => ({ files: {}, executable: [], refusal });

const tooLarge = (total: number): Returned =>
  refused(
    `the files that would return have ${total} bytes, more than returnedFilesBytesMax = ${limits.returnedFilesBytesMax}; ${advice}`,
  );

/** Relative paths of the folders and of all else below; links are not followed. */
function below(root: string): { folders: string[]; files: string[] } {
  const folders: string[] = [];
  const files: string[] = [];
  const waiting = statOf(root)?.isDirectory() === true ? [""] : [];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const entry of entriesOf(join(root, at))) {
      const path = join(at, entry.name);
      if (!entry.isDirectory()) files.push(path);
      else {
        folders.push(path);
        waiting.push(path);
      }
    }
  }
  return { folders, files };
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // closed by the program, or gone
  }
}

function statOf(place: string): BigIntStats | undefined {
  try {
    return lstatSync(place, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined; // gone meanwhile: a child of the program's may still run
  }
}

function realPathOf(place: string): string | undefined {
  try {
    return realpathSync(place);
  } catch {
    return undefined;
  }
}

/** undefined if it is gone meanwhile. */
function bytesOf(place: string): Buffer | undefined {
  const fd = open(place);
  if (fd === undefined) return undefined;
  try {
    const bytes = Buffer.allocUnsafe(Math.min(fstatSync(fd).size, limits.returnedFilesBytesMax) + 1);
    let filled = 0;
    for (let more = -1; more !== 0 && filled < bytes.length; filled += more)
      more = readSync(fd, bytes, filled, bytes.length - filled, null);
    return bytes.subarray(0, filled);
  } finally {
    closeSync(fd);
  }
}

function open(place: string): number | undefined {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    return openSync(place, flags);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") return undefined;
  }
  try {
    chmodSync(place, 0o400); // closed by the program; the user has asked for it
    return openSync(place, flags);
  } catch {
    return undefined;
  }
}

/** Folders that the program has closed are opened for it. What resists goes with the worker's scratch folder. */
function remove(folder: string): void {
  try {
    if (statOf(folder)?.isSymbolicLink() === true) return unlinkSync(folder);
    const waiting = [folder];
    const folders: string[] = [];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      folders.push(at);
      chmodSync(at, 0o700);
      for (const entry of readdirSync(at, { withFileTypes: true })) {
        const path = join(at, entry.name);
        if (entry.isDirectory()) waiting.push(path);
        else unlinkSync(path);
      }
    }
    for (const at of folders.toReversed()) rmdirSync(at);
  } catch {
    // said above
  }
}
