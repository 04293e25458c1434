/**
 * Links of agents: one bidirectional stream each. What agents say becomes events, what the core wants to tell
 * them becomes messages. A link's break is a sign of death.
 *
 *  K1  one live link per node id: a second process with the same id is refused, naming both hosts; the same
 *      process that comes back replaces its own broken link.
 */
import type { JobId, NodeId } from "@everycore/protocol";
import { EverycoreError } from "@everycore/protocol";
import type { Logger } from "pino";
import type { NatsAccess } from "../config.ts";
import type { NodeReport } from "../core/index.ts";
import type { WorldEvent } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import type { FromAgent, OutputPart, WireNode } from "./agent-messages.ts";
import { eventsOf, helloOf, malformed } from "./agent-messages.ts";
import type { Handlers, Message } from "./handlers.ts";
import { duplex, leading } from "./handlers.ts";

const outputPartMs = 10_000;
const outputPartsMax = 4_096;

interface Link {
  readonly node: WireNode;
  readonly incarnation: string;
  readonly write: (message: Message) => Promise<void>;
  readonly close: (reason: EverycoreError) => void;
  readonly outputs: Map<number, (part: OutputPart) => void>;
  /** As the last heartbeat said. */
  files: FileFigures;
}

/** What an agent keeps on its disk, and what it may keep. */
interface FileFigures {
  readonly spoolBytes: number;
  readonly stateBytes: number;
  readonly stateBytesMax: number;
}

export interface LinksOptions {
  readonly enqueue: (event: WorldEvent) => void;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly agentNats: NatsAccess;
  readonly cluster: string;
  /** Epoch of our term; throws no-leader while we do not lead. */
  readonly epoch: () => number;
}

export class Links {
  readonly #options: LinksOptions;
  readonly #links = new Map<NodeId, Link>();
  #lastAsk = 0;

  constructor(options: LinksOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#links.size;
  }

  get nodes(): NodeId[] {
    return [...this.#links.keys()];
  }

  /** What the node said of itself in its hello. */
  nodeOf(id: NodeId): { node: WireNode; files: FileFigures } | undefined {
    return this.#links.get(id);
  }

  send(node: NodeId, message: Message): void {
    // A broken link loses it; the agent's next hello and report make up for that.
    this.#links
      .get(node)
      ?.write(message)
      .catch(() => {});
  }

  /** Whom agents can look for when this link breaks. */
  tellAddresses(addresses: readonly string[]): void {
    for (const node of this.#links.keys()) this.send(node, { coordinators: { addresses } });
  }

  /** The agent connects again, and says hello. */
  close(node: NodeId, reason: string): void {
    this.#links.get(node)?.close(new EverycoreError("unreachable", reason));
  }

  /** Our term is over: agents look for the leader. */
  closeAll(reason: EverycoreError): void {
    for (const link of this.#links.values()) link.close(reason);
  }

  handlers(): Handlers {
    return {
      Link: leading(
        duplex<FromAgent>(async ({ requests, write, signal }) => {
          const iterator = requests[Symbol.asyncIterator]();
          const first = await iterator.next();
          if (first.done === true) return;
          const { hello } = first.value;
          if (hello === undefined) throw malformed("first message, which must be a hello,");
          const { report, node } = helloOf(hello);
          const epoch = this.#options.epoch();
          const closing = Promise.withResolvers<EverycoreError>();
          const link: Link = {
            node,
            incarnation: report.incarnation,
            write,
            close: (reason) => closing.resolve(reason),
            outputs: new Map(),
            files: { spoolBytes: 0, stateBytes: 0, stateBytesMax: 0 },
          };
          this.#admit(report, link);
          try {
            await write({ welcome: this.#welcome(epoch) });
            this.#options.log.info(
              { node: report.node, host: report.host, slots: report.slots },
              "agent linked",
            );
            this.#options.enqueue({ kind: "nodeReported", report });
            const reading = this.#read(iterator, report.node, link, signal);
            const reason = await Promise.race([reading, closing.promise]);
            if (reason !== undefined) throw reason;
          } finally {
            this.#drop(report.node, link);
          }
        }),
      ),
    };
  }

  /** K1 */
  #admit(report: NodeReport, link: Link): void {
    const before = this.#links.get(report.node);
    if (before !== undefined && before.incarnation !== report.incarnation) {
      throw new EverycoreError(
        "conflict",
        `node ${report.node} is linked already from ${before.node.host} (pid ${before.node.pid}); refused ${report.host} (pid ${link.node.pid})`,
        { hint: "give each agent a state directory of its own: --data DIR" },
      );
    }
    before?.close(new EverycoreError("conflict", "replaced by a newer link of the same agent"));
    this.#links.set(report.node, link);
  }

  #drop(node: NodeId, link: Link): void {
    if (this.#links.get(node) !== link) return;
    this.#links.delete(node);
    this.#options.log.info({ node }, "agent's link is gone");
    this.#options.enqueue({ kind: "linkBroke", node, incarnation: link.incarnation });
  }

  #welcome(epoch: number): Message {
    const { agentNats, cluster } = this.#options;
    return {
      epoch,
      natsUrls: agentNats.urls,
      natsUser: agentNats.user,
      natsPassword: agentNats.password,
      inboxPrefix: "_INBOX.agent",
      drop: [],
      nodes: this.#links.size,
      cluster,
    };
  }

  async #read(
    messages: AsyncIterator<FromAgent>,
    node: NodeId,
    link: Link,
    signal: AbortSignal,
  ): Promise<undefined> {
    for (;;) {
      const next = await messages.next();
      if (next.done === true || signal.aborted || this.#links.get(node) !== link) return undefined;
      try {
        this.#take(next.value, node, link);
      } catch (error) {
        if (!(error instanceof EverycoreError)) throw error;
        this.#options.metrics.malformed("link");
        this.#options.log.warn({ node, reason: error.message }, "a message of an agent was ignored");
      }
    }
  }

  #take(message: FromAgent, node: NodeId, link: Link): void {
    const { heartbeat, output } = message;
    if (output !== undefined) return link.outputs.get(output.ask)?.(output);
    if (heartbeat !== undefined) {
      const { spoolBytes, stateBytes, stateBytesMax } = heartbeat;
      link.files = { spoolBytes, stateBytes, stateBytesMax };
    }
    for (const event of eventsOf(message, node)) this.#options.enqueue(event);
  }

  /** What a job's tasks printed on one node; nothing if the node is gone or silent (P5). */
  async *output(node: NodeId, job: JobId): AsyncGenerator<OutputPart> {
    const link = this.#links.get(node);
    if (link === undefined) return;
    this.#lastAsk += 1;
    const ask = this.#lastAsk;
    const parts: OutputPart[] = [];
    let wake = Promise.withResolvers<void>();
    link.outputs.set(ask, (part) => {
      if (parts.length < outputPartsMax) parts.push(part);
      wake.resolve();
    });
    try {
      await link.write({ output: { job, ask } });
      for (;;) {
        const part = parts.shift();
        if (part !== undefined) {
          if (part.data.length > 0 || part.dropped > 0) yield part;
          if (part.last) return;
          continue;
        }
        const timer = setTimeout(() => wake.reject(new Error("silent")), outputPartMs);
        try {
          await wake.promise;
        } catch {
          return;
        } finally {
          clearTimeout(timer);
          wake = Promise.withResolvers();
        }
      }
    } finally {
      link.outputs.delete(ask);
    }
  }
}
