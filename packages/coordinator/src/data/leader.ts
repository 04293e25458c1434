/**
 * Who leads: a key in EC_LEADER (memory, ttl 3 s), and the epoch, a counter in a file that only grows.
 *
 *  L1  the epoch is raised by compare-and-set before anything else is done as leader;
 *  L2  a leader stops on its own clock when its last successful renewal is older than ttl - 1 s, whether or not
 *      NATS answers: by then another may lead;
 *  L3  a key with our own host and address is a dead predecessor's, since we hold its port: taken over at once, by
 *      compare-and-set;
 *  L4  an orderly end deletes the key, so that the next leader need not wait for its expiry;
 *  L5  the bucket lives in memory: after a restart of nats-server it is gone, and whoever campaigns makes it anew;
 *  L6  a key that expired under us is taken again only if the epoch is still ours: our machine may have been
 *      suspended, and our clock with it, while another was elected and left. Agents would refuse us (P5). It is
 *      written once more to know: a read may be served by a server of NATS that was cut off from the others.
 */
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { subjects, times } from "@everycore/protocol";
import type { NatsConnection } from "@nats-io/nats-core";
import type { KV } from "@nats-io/kv";
import type { Logger } from "pino";
import { isWrongSequence } from "./buckets.ts";

const keyName = "leader";
const epochName = "epoch";
const pollMs = 250;

export interface LeaderOptions {
  readonly nats: NatsConnection;
  readonly leader: KV;
  /** Makes the bucket unless it is there (L5). */
  readonly remakeLeader: () => Promise<unknown>;
  readonly meta: KV;
  readonly address: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Called once per term; the promise it gives is awaited after the term has ended. */
  readonly lead: (epoch: number, term: AbortSignal) => Promise<void>;
  /** A try to lead was lost, or a term is over. */
  readonly tried: () => void;
}

interface RaisedEpoch {
  readonly epoch: number;
  /** Of its key. */
  readonly revision: number;
}

interface Renewal {
  /** Of the key as we wrote it last. */
  revision: number;
  /** undefined: not raised yet. */
  epoch: RaisedEpoch | undefined;
}

export class Leadership {
  readonly #options: LeaderOptions;
  #term: AbortController | undefined;

  constructor(options: LeaderOptions) {
    this.#options = options;
  }

  /** Ends the term; another campaign follows. */
  stepDown(reason: string): void {
    this.#term?.abort(new Error(reason));
  }

  /** Address of whoever leads, or "". */
  async current(): Promise<string> {
    const entry = await this.#options.leader.get(keyName).catch(() => null);
    return entry?.operation === "PUT" ? entry.string().split(" ")[0]! : "";
  }

  /** Campaigns and leads in turn until the signal. */
  async run(): Promise<void> {
    const { signal, log, tried } = this.#options;
    while (!signal.aborted) {
      try {
        const revision = await this.#acquire();
        if (revision !== undefined) await this.#serve(revision);
      } catch (error) {
        log.warn({ err: error }, "a term as leader ended in an error");
      }
      tried();
      await delay(pollMs, undefined, { signal }).catch(() => {}); // aborted: the loop's condition ends it
    }
  }

  async #acquire(): Promise<number | undefined> {
    const { leader, remakeLeader } = this.#options;
    try {
      return await leader.create(keyName, this.#mark);
    } catch (error) {
      if (!isWrongSequence(error)) {
        await remakeLeader(); // L5. While NATS is away this fails, and we come again.
        return undefined;
      }
      const entry = await leader.get(keyName).catch(() => null);
      if (entry?.operation !== "PUT" || entry.string() !== this.#mark) return undefined;
      // L3. Refused when anybody was quicker.
      return await leader.update(keyName, this.#mark, entry.revision).catch(() => undefined);
    }
  }

  /** What stands in the key while we lead. */
  get #mark(): string {
    return `${this.#options.address} ${hostname()}`;
  }

  async #serve(first: number): Promise<void> {
    const { signal, log, leader, lead } = this.#options;
    const term = new AbortController();
    this.#term = term;
    const ended = AbortSignal.any([signal, term.signal]);
    const renewal: Renewal = { revision: first, epoch: undefined };
    const renewing = this.#renew(renewal, term, ended);
    try {
      const raised = await this.#raiseEpoch();
      const { epoch } = raised;
      renewal.epoch = raised;
      log.info({ epoch }, "leading");
      await lead(epoch, ended);
    } finally {
      term.abort(new Error("the term is over"));
      await renewing;
      this.#term = undefined;
      // L4. Fails harmlessly when another has the key already.
      await leader.delete(keyName, { previousSeq: renewal.revision }).catch(() => {});
    }
  }

  async #renew(renewal: Renewal, term: AbortController, ended: AbortSignal): Promise<void> {
    const { nats, address } = this.#options;
    const tooOld = (): void => term.abort(new Error("the last renewal is too old"));
    // L2: a timer of its own, since a request during an outage hangs for its whole timeout.
    let watchdog = setTimeout(tooOld, times.leaderTtlMs - 1_000);
    while (!ended.aborted) {
      await delay(times.leaderRenewMs, undefined, { signal: ended }).catch(() => {}); // aborted: over
      if (ended.aborted) break;
      const startedAt = performance.now();
      const renewed = await this.#renewOnce(renewal, term);
      if (!renewed) continue;
      clearTimeout(watchdog);
      watchdog = setTimeout(tooOld, Math.max(0, times.leaderTtlMs - 1_000 - (performance.now() - startedAt)));
      nats.publish(subjects.leader, address);
    }
    clearTimeout(watchdog);
  }

  /** True: the key is ours from now. Ends the term when it is another's. */
  async #renewOnce(renewal: Renewal, term: AbortController): Promise<boolean> {
    const { leader } = this.#options;
    const lost = (): void => term.abort(new Error("another coordinator leads"));
    try {
      renewal.revision = await leader.update(keyName, this.#mark, renewal.revision, times.leaderTtlMs / 3);
      return true;
    } catch {
      const entry = await leader.get(keyName).catch(() => undefined);
      if (entry === undefined) return false; // NATS is away: the watchdog decides
      if (entry !== null && entry.operation === "PUT") {
        if (entry.string() !== this.#mark) lost();
        else renewal.revision = entry.revision; // an update whose answer was lost
        return false;
      }
      return await this.#takeAgain(renewal, lost);
    }
  }

  /** L6. The key first: whoever is elected behind it finds it taken, whoever was before has raised the epoch. */
  async #takeAgain(renewal: Renewal, lost: () => void): Promise<boolean> {
    const { leader, meta } = this.#options;
    try {
      renewal.revision = await leader.create(keyName, this.#mark);
      if (renewal.epoch !== undefined) {
        const { epoch, revision } = renewal.epoch;
        renewal.epoch = { epoch, revision: await meta.update(epochName, String(epoch), revision) };
        return true;
      }
    } catch {
      // Another was quicker, or NATS is away again.
    }
    lost();
    return false;
  }

  /** L1 */
  async #raiseEpoch(): Promise<RaisedEpoch> {
    const { meta } = this.#options;
    for (;;) {
      const entry = await meta.get(epochName);
      const epoch = (entry?.operation === "PUT" ? Number(entry.string()) : 0) + 1;
      try {
        const revision =
          entry === null
            ? await meta.create(epochName, String(epoch))
            : await meta.update(epochName, String(epoch), entry.revision);
        return { epoch, revision };
      } catch (error) {
        const now = await meta.get(epochName);
        if (now !== null && now.revision === (entry?.revision ?? 0)) throw error;
      }
    }
  }
}
