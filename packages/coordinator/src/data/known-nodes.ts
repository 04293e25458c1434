/** EC_NODES: whom the next leader waits for at its takeover. Written on change only. */
import type { NodeId } from "@everycore/protocol";
import { decode, encode, fieldsOf, isNodeId } from "@everycore/protocol";
import type { KV } from "@nats-io/kv";
import type { Logger } from "pino";

export class KnownNodes {
  readonly #nodes: KV;
  readonly #log: Logger;
  #writing: Promise<void> = Promise.resolve();

  constructor(nodes: KV, log: Logger) {
    this.#nodes = nodes;
    this.#log = log;
  }

  async all(): Promise<NodeId[]> {
    const found: NodeId[] = [];
    for await (const entry of await this.#nodes.history({ key: ">" })) {
      if (entry.operation !== "PUT" || !isNodeId(entry.key)) continue;
      try {
        fieldsOf(decode(entry.value), "node record");
        found.push(entry.key);
      } catch (error) {
        this.#log.warn({ err: error, node: entry.key }, "a node's record is malformed and is ignored");
      }
    }
    return found;
  }

  put(node: NodeId, record: { host: string; draining: boolean }): void {
    this.#write(() => this.#nodes.put(node, encode({ v: 1, ...record })), node);
  }

  delete(node: NodeId): void {
    this.#write(() => this.#nodes.purge(node), node);
  }

  /** In order. A lost write costs the next leader at most a wait of 15 s, so it is not repeated. */
  #write(act: () => Promise<unknown>, node: NodeId): void {
    this.#writing = this.#writing.then(act).then(
      () => {},
      (error: unknown) => this.#log.warn({ err: error, node }, "a node's record was not written"),
    );
  }
}
