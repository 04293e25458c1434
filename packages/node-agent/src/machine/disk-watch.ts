/**
 * What the agent takes of its disk, and whether there is room to go on (P7; DESIGN 10: the state directory is bounded
 * in all). Bundle cache, prints, spool, inputs, scratch of the tasks: everything below the directory counts. At the
 * bound what is kept only for convenience goes first; if that is not enough no slice starts until there is room.
 *
 *  D1  a look costs about a twentieth of the time at most: many files are looked at less often, but within half a
 *      minute;
 *  D2  nothing that a held lease or an outcome needs is evicted.
 */
import { lstat, readdir } from "node:fs/promises";
import { statfsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { limits } from "@everycore/protocol";
import type { DiskLevel } from "../core/index.ts";
import { isDiskFull } from "./facts.ts";

/** Between two looks, at least; a heartbeat tells what the last one found. */
const pauseMsMin = 1_000;
/** D1. By the number of files, some 15 us of a core each, not by the time: that is long too when the disk is busy. */
const pauseMsPerEntry = 0.5;
const pauseMsMax = 30_000;
/** Evicting stops at this share of the bound, so that the next bundle does not start it again. */
const evictToShare = 0.9;

export interface DiskWatchOptions {
  /** The state directory. */
  readonly dir: string;
  /** Bytes that it may hold; by default what `stateBytesOf` says. */
  readonly bytesMax: number | undefined;
  /** A folder below it whose size its owner knows, since nothing in there changes. */
  readonly known: { readonly dir: string; readonly bytes: () => number };
  /** Frees so many bytes of what can be had again, if there are (D2). */
  readonly evict: (bytes: number) => void;
  /** After each look. */
  readonly onLook: () => void;
}

export class DiskWatch {
  readonly bytesMax: number;
  /** As found by the last look. */
  usedBytes = 0;
  readonly #options: DiskWatchOptions;
  readonly #stop = new AbortController();
  /** Files and folders seen by this look. */
  #entries = 0;
  #running: Promise<void> | undefined;

  constructor(options: DiskWatchOptions) {
    this.#options = options;
    this.bytesMax = options.bytesMax ?? stateBytesOf(options.dir);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** `full`: the disk; `limit`: what we may take of it. */
  get level(): DiskLevel {
    if (isDiskFull(this.#options.dir)) return "full";
    return this.usedBytes > this.bytesMax ? "limit" : "ok";
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#entries = 0;
      await this.#look();
      if (signal.aborted) return;
      this.#options.onLook();
      const pauseMs = Math.min(pauseMsMax, Math.max(pauseMsMin, pauseMsPerEntry * this.#entries));
      await delay(pauseMs, undefined, { signal }).catch(() => {});
    }
  }

  async #look(): Promise<void> {
    this.usedBytes = await this.#measure();
    if (this.usedBytes <= this.bytesMax) return;
    this.#options.evict(this.usedBytes - evictToShare * this.bytesMax);
    this.usedBytes = await this.#measure();
  }

  /** Bytes of disk; what vanishes meanwhile does not count. */
  async #measure(): Promise<number> {
    const { dir, known } = this.#options;
    let bytes = known.bytes();
    const folders = [dir];
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
      for (const entry of entries) {
        if (this.#stop.signal.aborted) return bytes;
        this.#entries += 1;
        const path = join(folder, entry.name);
        if (path === known.dir) continue;
        if (entry.isDirectory()) folders.push(path);
        // Blocks of 512 bytes: a file with holes takes what it takes.
        else
          bytes += await lstat(path).then(
            ({ blocks }) => blocks * 512,
            () => 0,
          );
      }
    }
    return bytes;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

/** 10 GB or a tenth of the disk, at least 1 GB: with less, an outage of NATS would stop the node at once. */
export function stateBytesOf(dir: string): number {
  const { blocks, bsize } = statfsSync(dir);
  const share = Math.floor(blocks * bsize * limits.stateDiskShare);
  return Math.max(limits.stateBytesFloor, Math.min(limits.stateBytesMax, share));
}
