/**
 * The log's segments: streams EC_LOG_<segment>, one shared by small jobs, one for each large job or pipe.
 *
 *  G1  every segment has max_bytes, and all reservations stay below 90 % of what the server has for us: at the
 *      limit even KV puts fail, and one greedy job would decapitate the cluster;
 *  G2  a segment is deleted with its last job; never purged (a purge stalls publishers);
 *  G3  only the leader creates, grows and deletes;
 *  G4  a job id that is used again never gets a segment in which its former life may have records: shared segments
 *      keep those of deleted jobs, and no segment of a job's own has its name twice (decision 0041).
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { JobId, JobSpec, SegmentId } from "@everycore/protocol";
import { EverycoreError, isSegmentId, limits, streamOfSegment, subjects } from "@everycore/protocol";
import { DiscardPolicy, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import type { StreamInfo } from "@nats-io/jetstream";
import type { Logger } from "pino";
import type { StorageLevel } from "../core/index.ts";
import { bucketBytes, isFull, isMissing } from "./buckets.ts";
import type { Data } from "./connection.ts";
import { isClustered, whileElecting } from "./replicas.ts";
import { Room } from "./room.ts";
import type { InputHint } from "./segment-policy.ts";
import {
  firstSizes,
  grownSize,
  isRotationDue,
  marksNeededSince,
  storageLevel,
  wantsOwnSegment,
} from "./segment-policy.ts";

const leaderBytes = 256 * 1024;
const pollMs = 500;
const idlePollMs = 5_000;
const streamPrefix = streamOfSegment("" as SegmentId);
/** What NATS says of a server's room lags by up to a second in a cluster. */
const roomWithinMs = 3_000;

/** 21 of the 24 characters that a segment's name may have, of which 40 bits are drawn: no life's name comes again. */
const ownName = (job: JobId): string => `j${job.slice(0, 10)}${randomBytes(5).toString("hex")}`;

const isShared = (id: SegmentId): boolean => id.startsWith("s");

const noRoom = (): EverycoreError =>
  new EverycoreError("storage-full", "the NATS server has no room for another job's log", {
    hint: "delete ended jobs (everycore job delete ID), or give nats-server a larger max_file_store",
  });

interface Segment {
  readonly id: SegmentId;
  readonly createdAt: number;
  maxBytes: number;
  bytes: number;
  readonly jobs: Set<JobId>;
  /** Last sequence when this leader found it: what comes later is of its own time. */
  readonly foundSeq: number;
}

export interface SegmentsOptions {
  readonly data: Data;
  /** Of each segment (replicas.ts, Q1). */
  readonly replicas: number;
  readonly log: Logger;
  readonly onLevel: (level: StorageLevel) => void;
  /** True while jobs are active: usage is looked at more often. */
  readonly isActive: () => boolean;
}

export class Segments {
  readonly #options: SegmentsOptions;
  readonly #room: Room;
  readonly #segments = new Map<SegmentId, Segment>();
  #shared: Segment | undefined;
  #choosing: Promise<unknown> = Promise.resolve();
  /** Whose number of replicas could not be changed. */
  readonly #keptReplicas = new Set<SegmentId>();
  #limit = 0;
  #level: StorageLevel = "ok";
  #wake = Promise.withResolvers<void>();

  constructor(options: SegmentsOptions) {
    this.#options = options;
    this.#room = new Room(options.data, options.replicas);
  }

  get ids(): SegmentId[] {
    return [...this.#segments.keys()];
  }

  get usage(): { bytes: number; reserved: number; limit: number; count: number } {
    let bytes = 0;
    for (const segment of this.#segments.values()) bytes += segment.bytes;
    return { bytes, reserved: this.#storage().reserved, limit: this.#limit, count: this.#segments.size };
  }

  has(id: SegmentId): boolean {
    return this.#segments.has(id);
  }

  foundSeq(id: SegmentId): number {
    return this.#segments.get(id)?.foundSeq ?? 0;
  }

  /** Finds what former leaders left. */
  async load(): Promise<void> {
    this.#segments.clear();
    this.#shared = undefined;
    for await (const info of this.#options.data.jsm.streams.list()) {
      const id = info.config.name.startsWith(streamPrefix) ? info.config.name.slice(streamPrefix.length) : "";
      if (!isSegmentId(id)) continue;
      const createdAt = Date.parse(String(info.created));
      const { max_bytes: maxBytes } = info.config;
      const { bytes, last_seq: foundSeq } = info.state;
      const segment = { id, createdAt, maxBytes, bytes, jobs: new Set<JobId>(), foundSeq };
      this.#segments.set(id, segment);
      if (isShared(id) && createdAt > (this.#shared?.createdAt ?? 0)) this.#shared = segment;
    }
    this.#limit = await this.#room.limit();
  }

  /**
   * A job of a record that was found. The segment of one that has not ended must be there: it may have been swept
   * before the record came, and then nothing was in it yet.
   */
  async adopt(job: JobId, id: SegmentId, { isNeeded }: { isNeeded: boolean }): Promise<void> {
    if (isNeeded && !this.#segments.has(id)) await this.#create(id, false);
    this.#segments.get(id)?.jobs.add(job);
  }

  /**
   * Segments that nobody uses were left by a submit or delete that was cut off (G2). Young ones stay: the record
   * of their job may still be on its way to us (job-records.ts, J3).
   */
  async #sweep(): Promise<void> {
    const before = Date.now() - limits.segmentUnusedMs;
    for (const segment of [...this.#segments.values()]) {
      const isUnused = segment.jobs.size === 0 && segment !== this.#shared;
      if (isUnused && segment.createdAt < before) await this.#remove(segment);
    }
  }

  /** Marks of jobs that were deleted before have done their work. */
  marksNeededSince(now: number): number {
    const shared = [...this.#segments.values()].filter(({ id }) => isShared(id));
    return marksNeededSince(
      shared.map(({ createdAt }) => createdAt),
      now,
    );
  }

  /** The segment for a new job; one decision at a time. */
  choose(job: JobId, spec: JobSpec, input: InputHint, wasDeleted: boolean): Promise<SegmentId> {
    const choice = this.#choosing.then(() => this.#choose(job, spec, input, wasDeleted));
    this.#choosing = choice.catch(() => {}); // the caller hears of it
    return choice;
  }

  async #choose(job: JobId, spec: JobSpec, input: InputHint, wasDeleted: boolean): Promise<SegmentId> {
    const isLarge = wantsOwnSegment(spec, input);
    const isSmallAtFirst = input.isPipe || !isLarge;
    const own = isLarge || wasDeleted ? await this.#create(ownName(job), isSmallAtFirst) : undefined;
    if (own === undefined && wasDeleted) throw noRoom(); // G4
    const segment = own ?? (await this.#sharedNow());
    segment.jobs.add(job);
    return segment.id;
  }

  async #sharedNow(): Promise<Segment> {
    const current = this.#shared;
    if (current !== undefined && !isRotationDue(current, Date.now())) return current;
    const fresh = await this.#create(`s${Date.now().toString(36)}`, false);
    if (fresh === undefined) {
      if (current !== undefined) return current;
      throw noRoom();
    }
    this.#shared = fresh;
    if (current !== undefined && current.jobs.size === 0) await this.#remove(current);
    return fresh;
  }

  /** undefined: there is no room. */
  async #create(name: string, isSmallAtFirst: boolean): Promise<Segment | undefined> {
    const id = name as SegmentId; // built from an id or a number above
    const known = this.#segments.get(id);
    if (known !== undefined) return known;
    if (this.#segments.size >= limits.segmentsMax) return undefined;
    const deadline = performance.now() + (isClustered(this.#options.data) ? roomWithinMs : 0);
    for (;;) {
      const created = await this.#tryCreate(id, isSmallAtFirst);
      if (created !== undefined || performance.now() >= deadline) return created;
      await delay(pollMs);
    }
  }

  async #tryCreate(id: SegmentId, isSmallAtFirst: boolean): Promise<Segment | undefined> {
    const { jsm } = this.#options.data;
    for (const maxBytes of firstSizes(isSmallAtFirst, this.#storage())) {
      try {
        // Made twice it is the same: an election may hold the answer back.
        await whileElecting(() =>
          jsm.streams.add({
            name: streamOfSegment(id),
            subjects: [subjects.segmentLog(id), subjects.segmentInput(id)],
            storage: StorageType.File,
            retention: RetentionPolicy.Limits,
            discard: DiscardPolicy.New,
            max_bytes: maxBytes,
            max_msg_size: -1,
            allow_direct: true,
            num_replicas: this.#options.replicas,
          }),
        );
        const segment: Segment = {
          id,
          createdAt: Date.now(),
          maxBytes,
          bytes: 0,
          jobs: new Set(),
          foundSeq: 0,
        };
        this.#segments.set(id, segment);
        return segment;
      } catch (error) {
        if (!isFull(error)) throw error;
      }
    }
    return undefined;
  }

  async jobDeleted(job: JobId, id: SegmentId): Promise<void> {
    const segment = this.#segments.get(id);
    if (segment === undefined) return;
    segment.jobs.delete(job);
    if (segment.jobs.size > 0) return;
    if (segment === this.#shared) this.#shared = undefined;
    await this.#remove(segment);
  }

  async #remove(segment: Segment): Promise<void> {
    this.#segments.delete(segment.id);
    try {
      await this.#options.data.jsm.streams.delete(streamOfSegment(segment.id));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  /** Bytes that were seen to arrive: a fast job must not have to wait for the next look. */
  wrote(id: SegmentId, bytes: number): void {
    const segment = this.#segments.get(id);
    if (segment === undefined) return;
    segment.bytes += bytes;
    if (grownSize(segment, this.#storage()) !== undefined) this.pollSoon();
  }

  /**
   * A little more for the leader's own records, out of the tenth that is never reserved for work: what is full
   * must still be able to cancel. Agents of a cancelled job have dropped their outcomes by then.
   */
  async makeRoom(id: SegmentId): Promise<void> {
    const segment = this.#segments.get(id);
    if (segment === undefined) return;
    const maxBytes = segment.maxBytes + leaderBytes;
    await this.#options.data.jsm.streams.update(streamOfSegment(id), { max_bytes: maxBytes });
    segment.maxBytes = maxBytes;
  }

  /** An append was refused: look now. */
  pollSoon(): void {
    this.#wake.resolve();
  }

  /** Watches usage until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#poll();
      } catch (error) {
        this.#options.log.debug({ err: error }, "storage usage could not be read");
      }
      const waitMs = this.#options.isActive() ? pollMs : idlePollMs;
      const waiting = new AbortController();
      const waited = delay(waitMs, undefined, { signal: AbortSignal.any([signal, waiting.signal]) });
      await Promise.race([waited.catch(() => {}), this.#wake.promise]); // aborted: the loop's condition ends it
      waiting.abort();
      this.#wake = Promise.withResolvers();
    }
  }

  async #poll(): Promise<void> {
    for (const segment of [...this.#segments.values()]) {
      const info = await this.#infoOf(segment);
      if (info === undefined) continue;
      segment.bytes = info.state.bytes;
      segment.maxBytes = info.config.max_bytes;
      if (info.config.num_replicas !== this.#options.replicas) await this.#setReplicas(segment);
      const grown = grownSize(segment, this.#storage());
      if (grown === undefined) continue;
      try {
        await this.#options.data.jsm.streams.update(streamOfSegment(segment.id), { max_bytes: grown });
        segment.maxBytes = grown;
      } catch (error) {
        if (!isFull(error)) throw error;
      }
    }
    const level = storageLevel([...this.#segments.values()], this.#storage());
    if (level !== this.#level) {
      this.#level = level;
      const { bytes: usedBytes, limit: bytesMax } = this.usage;
      this.#options.log.warn({ room: level, usedBytes, bytesMax }, "room for logs of jobs");
      this.#options.onLevel(level);
    }
    await this.#sweep();
  }

  /** Q1. Tried again with each look, said once. */
  async #setReplicas({ id }: Segment): Promise<void> {
    const { data, log, replicas } = this.#options;
    try {
      await data.jsm.streams.update(streamOfSegment(id), { num_replicas: replicas });
      this.#keptReplicas.delete(id);
    } catch (error) {
      if (this.#keptReplicas.has(id)) return;
      this.#keptReplicas.add(id);
      log.warn({ err: error, segment: id }, "a log segment keeps its number of replicas for now");
    }
  }

  async #infoOf(segment: Segment): Promise<StreamInfo | undefined> {
    try {
      return await this.#options.data.jsm.streams.info(streamOfSegment(segment.id));
    } catch (error) {
      if (isMissing(error)) return undefined; // deleted meanwhile
      throw error;
    }
  }

  get level(): StorageLevel {
    return this.#level;
  }

  #storage(): { allowed: number; reserved: number } {
    let reserved: number = bucketBytes.jobs + bucketBytes.nodes + bucketBytes.meta + bucketBytes.blobs;
    for (const segment of this.#segments.values()) reserved += segment.maxBytes;
    return { allowed: Math.floor(this.#limit * limits.storageReserveShare), reserved };
  }
}
