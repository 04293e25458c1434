/**
 * What leases need on this machine before they run: bundles (kept by digest, least recently used go first), input
 * blocks and partials (kept as long as their lease). Fetched from any coordinator by the lease's id, at most two at
 * once, so that a thousand agents do not fetch at once what one client has just submitted.
 */
import type { NatsConnection } from "@nats-io/nats-core";
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  readdirSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { isOutOfSpace } from "../machine/facts.ts";
import { dirname, join, resolve, sep } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { BundleDigest, FetchRequest, LeaseId, LeaseMessage } from "@everycore/protocol";
import {
  decode,
  decodeFetchReply,
  encodeFetch,
  EverycoreError,
  fieldsOf,
  limits,
  PackedEntries,
  subjects,
} from "@everycore/protocol";

const fetchesMax = 2;
/** Frames of one thing that are asked for at once, behind the first, which says how many there are. */
const framesAhead = 3;
const answerWithinMs = 5_000;
const pauseMs = { first: 20, max: 1_000 };

export interface BlockFile {
  readonly path: string;
  readonly first: number;
  readonly count: number;
}

interface Frame {
  /** Bytes of the whole thing. */
  readonly total: number;
  readonly bytes: Uint8Array;
}

/** Inputs of one lease, on this machine. */
export interface LeaseInputs {
  readonly inline?: PackedEntries;
  readonly files?: readonly BlockFile[];
  readonly partials?: string;
}

export class Inputs {
  readonly #dir: string;
  readonly #connection: () => NatsConnection | undefined;
  readonly #isUsed: (bundle: string) => boolean;
  readonly #leases = new Map<LeaseId, LeaseInputs>();
  /** Since the start: bundles that were fetched, and the bytes of all that was. */
  readonly fetched = { bundles: 0, bytes: 0 };
  readonly #blocks = new Map<string, { leases: Set<LeaseId>; fetched: Promise<void> }>();
  readonly #bundles = new Map<BundleDigest, Promise<void>>();
  /** Bytes of each bundle that is here: they never change, so that none is measured twice. */
  readonly #bundleSizes = new Map<string, number>();
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** `isUsed`: a job that is known here runs by this bundle. */
  constructor(options: {
    dir: string;
    connection: () => NatsConnection | undefined;
    isUsed: (bundle: string) => boolean;
  }) {
    this.#dir = options.dir;
    this.#connection = options.connection;
    this.#isUsed = options.isUsed;
    // Blocks belong to leases of this process's life.
    rmSync(join(this.#dir, "blocks"), { recursive: true, force: true });
    mkdirSync(join(this.#dir, "blocks"), { recursive: true, mode: 0o700 });
    mkdirSync(this.bundlesDir, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.bundlesDir)) {
      const dir = join(this.bundlesDir, name);
      // Half unpacked by an agent that was killed: nobody will go on with it.
      if (name.includes(unpackingMark)) rmSync(dir, { recursive: true, force: true });
      else this.#bundleSizes.set(name, sizeOfDir(dir));
    }
  }

  get bundlesDir(): string {
    return join(this.#dir, "bundles");
  }

  bundleDir(digest: BundleDigest): string {
    return join(this.bundlesDir, digest);
  }

  get bundleBytes(): number {
    return [...this.#bundleSizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  inputsOf(lease: LeaseId): LeaseInputs | undefined {
    return this.#leases.get(lease);
  }

  /** True when the lease can run at once: its bundle is here and its items came with it. */
  takeReady(message: LeaseMessage): boolean {
    const { task, items, grant } = message;
    if (items.inline !== undefined) {
      const block = new PackedEntries(items.inline);
      if (block.count !== grant.end - grant.start) {
        throw new EverycoreError(
          "bad-input",
          `lease ${grant.id}: ${block.count} inline items for [${grant.start}, ${grant.end})`,
        );
      }
      this.#leases.set(grant.id, { inline: block });
    }
    const fetches = items.partials === true || (items.blocks?.length ?? 0) > 0;
    return !fetches && (task.bundle === undefined || this.#touch(task.bundle));
  }

  /** True when the bundle is here: it has just been used. */
  #touch(digest: BundleDigest): boolean {
    const dir = this.bundleDir(digest);
    if (!existsSync(dir)) return false;
    utimesSync(dir, new Date(), new Date());
    return true;
  }

  /** Throws with `bundle` on the error's cause side told apart by the class: see BundleFailure. */
  async fetch(message: LeaseMessage, signal: AbortSignal): Promise<void> {
    const { task, items, grant } = message;
    if (task.bundle !== undefined) {
      try {
        await this.#bundle(message, task.bundle, signal);
      } catch (error) {
        // Without room for it here it is sound all the same: the lease goes elsewhere, or waits.
        throw isOutOfSpace(error) ? error : new BundleFailure(error);
      }
    }
    if (items.partials === true) {
      const path = join(this.#dir, "blocks", `${grant.id}.partials`);
      await this.#toFile(path, [{ job: message.job, grant, what: "partials" }], signal);
      this.#leases.set(grant.id, { partials: path });
    } else if (items.blocks !== undefined) {
      const files: BlockFile[] = [];
      for (const block of items.blocks) {
        const path = join(this.#dir, "blocks", `${message.job}.${block.seqs[0] ?? 0}`);
        await this.#block(message, { path, seqs: block.seqs }, signal);
        files.push({ path, first: block.first, count: block.count });
      }
      this.#leases.set(grant.id, { files });
    }
  }

  async #block(
    message: LeaseMessage,
    block: { path: string; seqs: readonly number[] },
    signal: AbortSignal,
  ): Promise<void> {
    let known = this.#blocks.get(block.path);
    if (known === undefined) {
      const of = { job: message.job, grant: message.grant, what: "block" } as const;
      const requests = block.seqs.map((seq) => ({ ...of, seq }));
      const fetched = this.#toFile(block.path, requests, signal);
      known = { leases: new Set(), fetched };
      this.#blocks.set(block.path, known);
      fetched.catch(() => this.#blocks.delete(block.path));
    }
    known.leases.add(message.grant.id);
    await known.fetched;
  }

  /** Bytes go to the file as they come: nothing of the size of an item is put together in memory. */
  async #toFile(path: string, requests: readonly FetchRequest[], signal: AbortSignal): Promise<void> {
    const file = openSync(path, "w", 0o600);
    try {
      for (const request of requests) {
        for await (const frame of this.#frames(request, signal)) writeFileSync(file, frame);
      }
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    } finally {
      closeSync(file);
    }
  }

  async #bundle(message: LeaseMessage, digest: BundleDigest, signal: AbortSignal): Promise<void> {
    if (this.#touch(digest)) return;
    let fetched = this.#bundles.get(digest);
    if (fetched === undefined) {
      fetched = this.#fetchBundle(message, digest, signal).finally(() => this.#bundles.delete(digest));
      this.#bundles.set(digest, fetched);
    }
    await fetched;
  }

  async #fetchBundle(message: LeaseMessage, digest: BundleDigest, signal: AbortSignal): Promise<void> {
    const request = { job: message.job, grant: message.grant, what: "bundle" } as const;
    const bytes = Buffer.concat(await Array.fromAsync(this.#frames(request, signal)));
    const got = createHash("sha256").update(bytes).digest("hex");
    if (got !== digest)
      throw new EverycoreError(
        "bad-task",
        `bundle ${digest.slice(0, 12)} arrived with digest ${got.slice(0, 12)}`,
      );
    this.evictBundles(this.bundleBytes + bytes.length - limits.bundleCacheBytes);
    unpackBundle(bytes, this.bundleDir(digest));
    this.fetched.bundles += 1;
    this.#bundleSizes.set(digest, sizeOfDir(this.bundleDir(digest)));
  }

  /** Frees at least so many bytes of bundles that no job uses, if there are, the longest unused first; returns how many. */
  evictBundles(bytes: number): number {
    let freed = 0;
    if (bytes <= 0) return freed;
    const unused = [...this.#bundleSizes.keys()].filter((name) => !this.#isUsed(name));
    const usedAt = (name: string): number =>
      statSync(join(this.bundlesDir, name), { throwIfNoEntry: false })?.mtimeMs ?? 0;
    const known = unused.map((name) => ({ name, usedAt: usedAt(name) }));
    for (const { name } of known.sort((a, b) => a.usedAt - b.usedAt)) {
      if (freed >= bytes) break;
      rmSync(join(this.bundlesDir, name), { recursive: true, force: true });
      freed += this.#bundleSizes.get(name) ?? 0;
      this.#bundleSizes.delete(name);
    }
    return freed;
  }

  /** All bytes of one thing in order; frames that follow are on their way while one is used. */
  async *#frames(request: FetchRequest, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (this.#running >= fetchesMax) await new Promise<void>((go) => this.#waiting.push(go));
    this.#running += 1;
    const ahead: Promise<Frame>[] = [];
    try {
      const first = await this.#ask({ ...request, offset: 0 }, signal);
      const { total } = first;
      const size = first.bytes.length;
      if (total > limits.bundleBytesMax * 4)
        throw new EverycoreError("over-limit", `job ${request.job}: a ${request.what} of ${total} bytes`);
      let asked = size;
      let have = 0;
      for (let frame = first; ; frame = await ahead.shift()!) {
        have += frame.bytes.length;
        this.fetched.bytes += frame.bytes.length;
        for (; asked < total && ahead.length < framesAhead && size > 0; asked += size) {
          const next = this.#ask({ ...request, offset: asked }, signal);
          next.catch(() => {}); // heard of when its turn comes
          ahead.push(next);
        }
        yield frame.bytes;
        if (have >= total) return;
        if (ahead.length === 0 || frame.bytes.length !== size)
          throw new EverycoreError(
            "internal",
            `job ${request.job}: a ${request.what} ended after ${have} of ${total} bytes`,
          );
      }
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #ask(request: FetchRequest, signal: AbortSignal): Promise<Frame> {
    for (let pause = pauseMs.first; ; pause = Math.min(pauseMs.max, pause * 2)) {
      signal.throwIfAborted();
      try {
        const connection = this.#connection();
        if (connection !== undefined) {
          const answer = await connection.request(subjects.fetch, encodeFetch(request), {
            timeout: answerWithinMs,
          });
          const reply = decodeFetchReply(answer.data);
          if (reply.ok) return reply;
          if (reply.reason !== "later")
            throw new EverycoreError(reply.reason === "gone" ? "not-found" : "refused", reply.message);
        }
      } catch (error) {
        // Refusals end it; silence and a broken connection are waited out (P3).
        if (error instanceof EverycoreError) throw error;
      }
      await delay(pause, undefined, { signal });
    }
  }

  forget(lease: LeaseId): void {
    const inputs = this.#leases.get(lease);
    this.#leases.delete(lease);
    if (inputs?.partials !== undefined) rmSync(inputs.partials, { force: true });
    for (const [path, block] of this.#blocks) {
      if (!block.leases.delete(lease) || block.leases.size > 0) continue;
      this.#blocks.delete(path);
      rmSync(path, { force: true });
    }
  }
}

/** The task's code cannot be had: a failure of the job on this node, not of one lease. */
export class BundleFailure extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function sizeOfDir(dir: string): number {
  let bytes = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name)).size;
  }
  return bytes;
}

const unpackingMark = ".new-";

/** Unpacks beside and renames, so that a half-written bundle is never found. Paths may not leave the folder. */
export function unpackBundle(bytes: Uint8Array, dir: string): void {
  const fields = fieldsOf(decode(bytes), "bundle");
  if (fields["v"] !== 1) throw new EverycoreError("bad-task", "bundle of an unknown version");
  const files = fieldsOf(fields["files"], "bundle files");
  const executable = Array.isArray(fields["executable"]) ? (fields["executable"] as unknown[]) : [];
  const fresh = `${dir}${unpackingMark}${process.pid}`;
  try {
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true, mode: 0o700 });
    for (const [name, content] of Object.entries(files)) {
      const path = resolve(fresh, name);
      if (!path.startsWith(fresh + sep) || !(content instanceof Uint8Array)) {
        throw new EverycoreError("bad-task", `bundle: bad file ${JSON.stringify(name.slice(0, 200))}`);
      }
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content, { mode: executable.includes(name) ? 0o700 : 0o600 });
    }
    renameSync(fresh, dir);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    if (!existsSync(dir)) throw error;
  }
}
