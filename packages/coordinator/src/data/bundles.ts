/**
 * Bundles in EC_BLOBS, by user and digest: a digest alone must not let one user run another's code. The bucket
 * is bounded; when it is full, bundles that no job uses make room, oldest first.
 */
import { createHash } from "node:crypto";
import type { BundleDigest } from "@everycore/protocol";
import { EverycoreError, limits } from "@everycore/protocol";
import type { ObjectStore } from "@nats-io/obj";
import { isFull } from "./buckets.ts";

const chunkBytes = 512 * 1024;
const putMs = 30_000;
/** Bytes of bundles kept for agents that are fetching them; the newest is kept whatever its size. */
const cacheBytes = 32 * 1024 * 1024;
/** A bundle that was found is taken to be there for so long: the question is a round trip on the way of each job. */
const foundMs = 10_000;
const foundMax = 1_000;

const nameOf = (user: string, digest: BundleDigest): string => `${user}/${digest}`;

export class Bundles {
  readonly #blobs: ObjectStore;
  readonly #isUsed: (name: string) => boolean;
  readonly #cache = new Map<string, Promise<Buffer>>();
  readonly #sizes = new Map<string, number>();
  /** Names and when they were found there. */
  readonly #found = new Map<string, number>();

  /** `isUsed` says of "user/digest" whether a job needs it. */
  constructor(blobs: ObjectStore, isUsed: (name: string) => boolean) {
    this.#blobs = blobs;
    this.#isUsed = isUsed;
  }

  async has(user: string, digest: BundleDigest): Promise<boolean> {
    const name = nameOf(user, digest);
    if (performance.now() - (this.#found.get(name) ?? Number.NEGATIVE_INFINITY) < foundMs) return true;
    this.#found.delete(name);
    const info = await this.#blobs.info(name);
    if (info === null || info.deleted) return false;
    if (this.#found.size >= foundMax) this.#found.clear();
    this.#found.set(name, performance.now());
    return true;
  }

  async put(user: string, digest: BundleDigest, bytes: Buffer): Promise<void> {
    const found = createHash("sha256").update(bytes).digest("hex");
    if (found !== digest) {
      throw new EverycoreError("bad-input", `the bundle's bytes have digest ${found}, not ${digest}`);
    }
    if (await this.has(user, digest)) return;
    const meta = { name: nameOf(user, digest), options: { max_chunk_size: chunkBytes } };
    try {
      await this.#blobs.putBlob(meta, bytes, { timeout: putMs });
    } catch (error) {
      if (!isFull(error)) throw error;
      await this.#makeRoom(bytes.length);
      await this.#blobs.putBlob(meta, bytes, { timeout: putMs }).catch((again: unknown) => {
        if (!isFull(again)) throw again;
        throw new EverycoreError("storage-full", `no room for a bundle of ${bytes.length} bytes`, {
          hint: "delete ended jobs, or make the bundle smaller",
          cause: again,
        });
      });
    }
  }

  async #makeRoom(bytes: number): Promise<void> {
    const all = await this.#blobs.list();
    const unused = all.filter((info) => !info.deleted && !this.#isUsed(info.name));
    unused.sort((a, b) => Date.parse(a.mtime) - Date.parse(b.mtime));
    let freed = 0;
    for (const info of unused) {
      if (freed >= bytes + chunkBytes) return;
      this.#found.delete(info.name);
      await this.#blobs.delete(info.name);
      freed += info.size;
    }
  }

  /** undefined: there is none. */
  async get(user: string, digest: BundleDigest): Promise<Buffer | undefined> {
    const name = nameOf(user, digest);
    const cached = this.#cache.get(name);
    if (cached !== undefined) return cached;
    const reading = this.#read(name);
    this.#cache.set(name, reading);
    try {
      const bytes = await reading;
      this.#sizes.set(name, bytes.length);
      this.#trim(name);
      return bytes;
    } catch (error) {
      this.#cache.delete(name);
      if (error instanceof EverycoreError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  async #read(name: string): Promise<Buffer> {
    const bytes = await this.#blobs.getBlob(name);
    if (bytes === null) throw new EverycoreError("not-found", `no bundle ${name}`);
    if (bytes.length > limits.bundleBytesMax)
      throw new EverycoreError("over-limit", `bundle ${name} is too large`);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #trim(newest: string): void {
    let sum = 0;
    for (const size of this.#sizes.values()) sum += size;
    for (const [name, size] of this.#sizes) {
      if (sum <= cacheBytes || name === newest) continue;
      this.#sizes.delete(name);
      this.#cache.delete(name);
      sum -= size;
    }
  }
}
