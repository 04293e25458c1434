/**
 * Leases to agents: a core NATS request each, answered on receipt. Small inputs travel inside; the agent fetches
 * larger ones by the blocks that the lease names (fetch.ts).
 */
import { setImmediate } from "node:timers/promises";
import type { BlockRef, LeaseItems, LeaseMessage, LeaseReply, Range, TaskSpec } from "@everycore/protocol";
import {
  decodeLeaseReply,
  encodeLease,
  limits,
  packEntries,
  PackedEntries,
  subjects,
  times,
} from "@everycore/protocol";
import type { NatsConnection } from "@nats-io/nats-core";
import type { Logger } from "pino";
import type { Effect } from "../core/index.ts";
import type { Job } from "../core/model.ts";
import type { JobTracing } from "../tracing.ts";
import type { Bodies } from "./bodies.ts";

/** A single item in a few blocks is worth cutting out here; more blocks are cheaper to fetch whole. */
const inlineBlocksMax = 4;

export type SendLease = Extract<Effect, { kind: "sendLease" }>;

export interface LeaseSenderOptions {
  readonly nats: NatsConnection;
  readonly bodies: Bodies;
  readonly log: Logger;
  readonly tracing: JobTracing;
  readonly onSent: () => void;
  /** Gets how long the agent's answer took. */
  readonly onAnswered: (afterMs: number) => void;
  readonly onMalformed: () => void;
}

export class LeaseSender {
  readonly #options: LeaseSenderOptions;

  constructor(options: LeaseSenderOptions) {
    this.#options = options;
  }

  /** undefined: no answer in time. */
  async send(effect: SendLease, job: Job, epoch: number): Promise<LeaseReply | undefined> {
    const { task, answered } = this.#options.tracing.lease(job, effect);
    const reply = await this.#ask(effect, { job, epoch, task });
    answered(reply);
    return reply;
  }

  async #ask(
    effect: SendLease,
    { job, epoch, task }: { job: Job; epoch: number; task: TaskSpec },
  ): Promise<LeaseReply | undefined> {
    const { nats, log, onSent, onAnswered, onMalformed } = this.#options;
    try {
      const message: LeaseMessage = {
        epoch,
        job: job.id,
        segment: job.segment,
        task,
        grant: effect.grant,
        items: await this.#items(effect, job),
        attempts: effect.attempts,
        mode: effect.mode,
        ...(effect.memoryBytes === undefined ? {} : { memoryBytes: effect.memoryBytes }),
        itemMs: effect.itemMs,
        priority: job.spec.priority,
        tag: effect.tag,
      };
      onSent();
      const sentAt = performance.now();
      const answer = await nats.request(subjects.lease(effect.node), encodeLease(message), {
        timeout: times.leaseAckMs,
      });
      onAnswered(performance.now() - sentAt);
      try {
        return decodeLeaseReply(answer.data);
      } catch {
        onMalformed();
        return undefined;
      }
    } catch (error) {
      log.debug({ err: error, job: job.id, node: effect.node }, "a lease was not answered");
      return undefined;
    }
  }

  async #items(effect: SendLease, job: Job): Promise<LeaseItems> {
    const { codec } = job.spec;
    if (effect.partials) return { codec, partials: true };
    const { blocks } = effect;
    if (blocks === undefined) return { codec };
    const inline = await this.#inline(blocks, effect.grant, job);
    return inline === undefined ? { codec, blocks } : { codec, inline };
  }

  /** The items themselves as one packed block, if they are few bytes. */
  async #inline(blocks: readonly BlockRef[], range: Range, job: Job): Promise<Buffer | undefined> {
    if (blocks.length > inlineBlocksMax || !isSmall(blocks, range)) return undefined;
    const entries: Buffer[] = [];
    let bytes = 0;
    for (const block of blocks) {
      const packed = new PackedEntries(await this.#block(block, job));
      const to = Math.min(block.first + block.count, range.end);
      for (let index = Math.max(block.first, range.start); index < to; index += 1) {
        const entry = packed.entry(index - block.first);
        bytes += entry.length + 4;
        if (bytes > limits.leaseInlineBytesMax) return undefined;
        entries.push(entry);
      }
    }
    return packEntries(entries);
  }

  async #block(block: BlockRef, job: Job): Promise<Buffer> {
    // A block that was stored a moment ago comes back through the tail before its submit has heard of it; after
    // this turn it is in the cache, which saves a round trip to NATS.
    if (this.#options.bodies.peek(job.segment, block.seqs[0]!) === undefined) await setImmediate();
    const pieces = await Promise.all(block.seqs.map((seq) => this.#options.bodies.get(job.segment, seq)));
    return pieces.length === 1 ? pieces[0]!.data : Buffer.concat(pieces.map((piece) => piece.data));
  }
}

/** Judged by the mean size of the blocks' items, before any byte is read. */
function isSmall(blocks: readonly BlockRef[], range: Range): boolean {
  let bytes = 0;
  for (const block of blocks) {
    const items = Math.min(block.first + block.count, range.end) - Math.max(block.first, range.start);
    bytes += (block.bytes * items) / block.count;
  }
  return bytes <= limits.leaseInlineBytesMax * 2;
}
