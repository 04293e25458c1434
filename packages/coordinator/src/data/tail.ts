/**
 * Reads records of a stream in order, from a sequence on, for as long as it is wanted. Headers only: no fold
 * needs a body. Pulls are bounded by bytes, never by message count (DESIGN 13). After a break of any kind it
 * goes on behind the last sequence it handed out.
 */
import { setTimeout as delay } from "node:timers/promises";
import { limits } from "@everycore/protocol";
import { DeliverPolicy } from "@nats-io/jetstream";
import type { ConsumerMessages } from "@nats-io/jetstream";
import type { Data } from "./connection.ts";
import type { ReadRecord } from "./records.ts";
import { readRecord } from "./records.ts";

const retryMs = 100;
/** A consumer lives in one server: when two heartbeats are missed, it is made anew in another. */
const heartbeatMs = 1_000;

export interface TailOptions {
  readonly data: Data;
  readonly stream: string;
  readonly subjects: readonly string[];
  /** Gets each record, and when NATS stored it; awaited when it gives a promise, which holds the tail back. */
  readonly onRecord: (seq: number, read: ReadRecord, storedAt: number) => Promise<void> | void;
  readonly onMalformed: (subject: string, seq: number) => void;
  /** The last sequence that is known already. */
  readonly after?: number;
}

export class Tail {
  readonly #options: TailOptions;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #messages: ConsumerMessages | undefined;
  #seq = 0;

  constructor(options: TailOptions) {
    this.#options = options;
    this.#seq = options.after ?? 0;
    this.#running = this.#run();
  }

  /** Sequence of the last message seen. */
  get seq(): number {
    return this.#seq;
  }

  /** The connection came back: asks anew instead of waiting for missed heartbeats. */
  restart(): void {
    this.#messages?.stop();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#messages?.stop();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#read(signal);
      } catch {
        // NATS is away, or the stream is gone: tried again until close.
        await delay(retryMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { data, stream, subjects, onRecord, onMalformed } = this.#options;
    const consumer = await data.js.consumers.get(stream, {
      filter_subjects: [...subjects],
      headers_only: true,
      inactive_threshold: 30_000,
      ...(this.#seq === 0
        ? { deliver_policy: DeliverPolicy.All }
        : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: this.#seq + 1 }),
    });
    const messages = await consumer.consume({
      max_bytes: limits.pullBytes,
      expires: 30_000,
      idle_heartbeat: heartbeatMs,
    });
    this.#messages = messages;
    if (signal.aborted) messages.stop();
    const watching = stopWhenSilent(messages);
    for await (const message of messages) {
      if (message.seq <= this.#seq) continue;
      const read = readRecord(message.subject, message.headers);
      if (read === undefined) onMalformed(message.subject, message.seq);
      else await onRecord(message.seq, read, Number(message.info.timestampNanos) / 1e6);
      this.#seq = message.seq;
    }
    await watching;
    void consumer.delete().catch(() => {}); // it expires by itself otherwise; its server may be gone
  }
}

/** The library asks the same consumer again and again, which may be gone with its server. */
async function stopWhenSilent(messages: ConsumerMessages): Promise<void> {
  for await (const { type } of messages.status()) if (type === "heartbeats_missed") messages.stop();
}
