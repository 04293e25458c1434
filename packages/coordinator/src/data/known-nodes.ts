/** EC_NODES: whom the next leader waits for at its takeover, and how nodes stand. Written on change only. */
import { setTimeout as delay } from "node:timers/promises";
import type { NodeId, NodeRecord } from "@everycore/protocol";
import { decodeNodeRecord, encodeNodeRecord, isNodeId } from "@everycore/protocol";
import type { KV } from "@nats-io/kv";
import type { Logger } from "pino";
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
  /** What is to be written, the latest of each node. */
  readonly #wanted = new Map<NodeId, Wanted>();
  #isWriting = false;

  constructor(nodes: KV, log: Logger) {
    this.#nodes = nodes;
    this.#log = log;
  }

  async all(): Promise<NodeRecord[]> {
    const found: NodeRecord[] = [];
    for (const entry of await completeHistory(this.#nodes)) {
      if (entry.operation !== "PUT" || !isNodeId(entry.key)) continue;
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

  /** One after the other, until it is stored or its leader's term is over: a quarantine must not be forgotten. */
  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    for (let next = first(this.#wanted); next !== undefined; next = first(this.#wanted)) {
      const [node, wanted] = next;
      const { record, term } = wanted;
      try {
        if (term.aborted) this.#wanted.delete(node);
        else if (record === undefined) await this.#nodes.purge(node);
        else await this.#nodes.put(node, encodeNodeRecord(record));
        if (this.#wanted.get(node) === wanted) this.#wanted.delete(node);
      } catch (error) {
        this.#log.warn({ err: error, node }, "a node's record was not written, and is tried again");
        await delay(retryMs, undefined, { signal: term }).catch(() => {}); // its term is over
      }
    }
    this.#isWriting = false;
  }
}

const first = ([entry]: Iterable<[NodeId, Wanted]>): [NodeId, Wanted] | undefined => entry;
