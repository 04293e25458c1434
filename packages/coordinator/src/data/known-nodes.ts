/**
 * EC_NODES: whom the next leader waits for at its takeover, and how nodes stand. Written on change only, one record
 * after the other, the latest of each node, until it is stored or its leader's term is over: a quarantine must not be
 * forgotten.
 *
 *  X1  written by compare-and-set on what this leader listed or wrote itself: one that was deposed, and does not know
 *      it yet, neither overwrites nor deletes what its successor wrote;
 *  X2  a write whose answer was lost is recognised, a put by its epoch;
 *  X3  what another leader wrote after this one had listed the records ends this one's term: it takes over anew, with
 *      what stands there, as of jobs (J3, decision 0040).
 */
import { setTimeout as delay } from "node:timers/promises";
import type { NodeId, NodeRecord } from "@everycore/protocol";
import { decodeNodeRecord, encodeNodeRecord, isNodeId } from "@everycore/protocol";
import type { KV, KvEntry } from "@nats-io/kv";
import type { Logger } from "pino";
import { requestMs } from "./connection.ts";
import { completeHistory } from "./replicas.ts";

const retryMs = 1_000;

interface Wanted {
  /** undefined: deleted. */
  readonly record: NodeRecord | undefined;
  readonly term: AbortSignal;
}

export class KnownNodes {
  readonly #nodes: KV;
  readonly #log: Logger;
  readonly #stepDown: (reason: string) => void;
  /** What is to be written, the latest of each node. */
  readonly #wanted = new Map<NodeId, Wanted>();
  /** Of the record, or of the mark of its deletion. */
  readonly #revisions = new Map<NodeId, number>();
  /** Deletions of our own that may have been done. */
  readonly #deleting = new Set<NodeId>();
  /** Of the term that goes on, or was the last. */
  #epoch = 0;
  #isWriting = false;

  constructor(nodes: KV, log: Logger, stepDown: (reason: string) => void) {
    this.#nodes = nodes;
    this.#log = log;
    this.#stepDown = stepDown;
  }

  /** At the begin of a term. */
  async all(epoch: number): Promise<NodeRecord[]> {
    const found: NodeRecord[] = [];
    const entries = await completeHistory(this.#nodes);
    this.#epoch = epoch;
    this.#revisions.clear();
    this.#deleting.clear();
    for (const entry of entries) {
      if (!isNodeId(entry.key)) continue;
      this.#revisions.set(entry.key, entry.revision);
      if (entry.operation !== "PUT") continue;
      try {
        found.push(decodeNodeRecord(entry.key, entry.value));
      } catch (error) {
        this.#log.warn({ err: error, node: entry.key }, "a node's record is malformed and is ignored");
      }
    }
    return found;
  }

  put(record: NodeRecord, term: AbortSignal): void {
    this.#write(record.id, { record, term });
  }

  delete(node: NodeId, term: AbortSignal): void {
    this.#write(node, { record: undefined, term });
  }

  #write(node: NodeId, wanted: Wanted): void {
    this.#wanted.set(node, wanted);
    if (!this.#isWriting) void this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    for (let next = first(this.#wanted); next !== undefined; next = first(this.#wanted)) {
      const [node, wanted] = next;
      const { record, term } = wanted;
      try {
        if (!term.aborted) await (record === undefined ? this.#delete(node, term) : this.#put(record, term));
        if (this.#wanted.get(node) === wanted) this.#wanted.delete(node);
      } catch (error) {
        if (!term.aborted)
          this.#log.warn({ err: error, node }, "a node's record was not written, and is tried again");
        await delay(retryMs, undefined, { signal: term }).catch(() => {}); // its term is over
      }
    }
    this.#isWriting = false;
  }

  /** Returns once nothing is left to do; throws where it has to be tried again. */
  async #put(record: NodeRecord, term: AbortSignal): Promise<void> {
    const { id } = record;
    const bytes = encodeNodeRecord(record);
    const previousSeq = this.#revisions.get(id) ?? 0;
    try {
      // The next term lists anew: what it does not find there is not its own.
      const stored = await this.#nodes.put(id, bytes, { previousSeq, timeout: requestMs });
      if (!term.aborted) this.#known(id, stored);
    } catch (error) {
      const entry = await this.#nodes.get(id);
      if (term.aborted) return;
      if (entry !== null && entry.revision !== previousSeq && !this.#isOurs(id, entry))
        return this.#stepDown(`another leader has written node ${id}`); // X3
      this.#known(id, entry?.revision);
      if (entry?.operation === "PUT" && Buffer.compare(entry.value, bytes) === 0) return; // X2
      throw error;
    }
  }

  async #delete(id: NodeId, term: AbortSignal): Promise<void> {
    const previousSeq = this.#revisions.get(id);
    if (previousSeq === undefined) return; // nobody has written it
    this.#deleting.add(id);
    const refusal = await this.#nodes.purge(id, { previousSeq }).catch((error: unknown) => error);
    const entry = await this.#nodes.get(id);
    if (term.aborted) return;
    // Whoever deleted it: that it is gone is all that was wanted.
    if (entry?.operation !== "PUT") return this.#known(id, entry?.revision);
    if (entry.revision !== previousSeq && !this.#isOurs(id, entry))
      return this.#stepDown(`another leader has written node ${id}`); // X3
    this.#revisions.set(id, entry.revision);
    throw refusal instanceof Error ? refusal : new Error(`the record of node ${id} is still there`);
  }

  /** X2: by an earlier try whose answer was lost. */
  #isOurs(id: NodeId, entry: KvEntry): boolean {
    if (entry.operation !== "PUT") return this.#deleting.has(id);
    try {
      return decodeNodeRecord(id, entry.value).epoch === this.#epoch;
    } catch {
      return false; // nobody's that we know
    }
  }

  #known(id: NodeId, revision: number | undefined): void {
    this.#deleting.delete(id);
    if (revision === undefined) this.#revisions.delete(id);
    else this.#revisions.set(id, revision);
  }
}

const first = ([entry]: Iterable<[NodeId, Wanted]>): [NodeId, Wanted] | undefined => entry;
