/**
 * Links of agents: one bidirectional stream each. What agents say becomes events, what the core wants to tell
 * them becomes messages. A link's break is a sign of death.
 *
 *  K1  one live link per node id: a second process with the same id is refused, naming both hosts; the same
 *      process that comes back replaces its own broken link.
 */
import type { JobId, LeaseGrant, LeaseReply, NodeId, Range } from "@everycore/protocol";
import {
  checkLabels,
  decodeErrorInfo,
  EverycoreError,
  isJobId,
  isLeaseId,
  isNodeId,
} from "@everycore/protocol";
import type { Logger } from "pino";
import type { NatsAccess } from "../config.ts";
import type { LeaseReport, NodeReport } from "../core/index.ts";
import type { WorldEvent } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import type { Handlers, Message } from "./handlers.ts";
import { duplex, leading } from "./handlers.ts";

const outputPartMs = 10_000;
const outputPartsMax = 4_096;

interface WireRange {
  readonly start: number;
  readonly end: number;
}
interface WireGrant {
  readonly id: Buffer;
  readonly start: number;
  readonly end: number;
  readonly node: string;
  readonly round: number;
  readonly n: number;
}
interface WireReport {
  readonly job: string;
  readonly grant: WireGrant | null;
  readonly unfinished: readonly WireRange[];
  readonly unacknowledged: readonly WireRange[];
  readonly acknowledgedSeq: number;
  readonly gaveBack: readonly WireRange[];
}
export interface WireNode {
  readonly id: string;
  readonly host: string;
  readonly slots: number;
  readonly slotsReason: string;
  readonly version: string;
  readonly runtimes: readonly { readonly name: string; readonly version: string; readonly path: string }[];
  readonly labels: readonly string[];
  readonly memoryBytes: number;
  readonly isolation: string;
  readonly os: string;
  readonly pid: number;
}
interface WireHello {
  readonly node: WireNode | null;
  readonly machineId: string;
  readonly incarnation: string;
  readonly epochSeen: number;
  readonly leases: readonly WireReport[];
  readonly accepted: number;
  readonly filesRecovered: boolean;
  readonly acknowledged: Readonly<Record<string, number>>;
}
export interface OutputPart {
  readonly ask: number;
  readonly slot: number;
  readonly stream: string;
  readonly data: Buffer;
  readonly dropped: number;
  readonly last: boolean;
}
interface FromAgent {
  readonly part?: string;
  readonly hello?: WireHello;
  readonly heartbeat?: {
    readonly busy: number;
    readonly spoolBytes: number;
    readonly disk: string;
    readonly stateBytes: number;
    readonly stateBytesMax: number;
    readonly gaveBack: readonly WireReport[];
  };
  readonly gaveBack?: {
    readonly job: string;
    readonly grant: WireGrant | null;
    readonly ranges: readonly WireRange[];
  };
  readonly taskFailed?: { readonly job: string; readonly error: Buffer; readonly died: boolean };
  readonly starving?: { readonly slots: number };
  readonly output?: OutputPart;
  readonly drained?: { readonly acknowledged: Readonly<Record<string, number>> };
  readonly leaseFound?: { readonly job: string; readonly lease: Buffer; readonly accepted?: number };
  readonly sliceStarting?: {
    readonly job: string;
    readonly grant: WireGrant | null;
    readonly range: WireRange | null;
    readonly ask: number;
  };
}

const malformed = (what: string): EverycoreError =>
  new EverycoreError("bad-input", `agent message: ${what} is malformed`);

function jobOf(text: string): JobId {
  if (!isJobId(text)) throw malformed("job");
  return text;
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

function rangesOf(ranges: readonly WireRange[]): Range[] {
  return ranges.map(({ start, end }) => {
    if (!isCount(start) || !isCount(end) || start >= end) throw malformed("range");
    return { start, end };
  });
}

function grantOf(grant: WireGrant | null): LeaseGrant {
  const id = grant?.id.toString("hex");
  if (grant === null || !isLeaseId(id) || !isNodeId(grant.node)) throw malformed("lease");
  const { start, end, node, round, n } = grant;
  if (![start, end, round, n].every(isCount) || start >= end) throw malformed("lease");
  return { id, start, end, node, round, n };
}

/** What NATS did not bring. */
function leaseAnswer(
  from: NodeId,
  { job, lease, accepted }: NonNullable<FromAgent["leaseFound"]>,
): WorldEvent {
  const id = lease.toString("hex");
  if (!isLeaseId(id)) throw malformed("lease");
  const reply: LeaseReply =
    typeof accepted === "number"
      ? { ok: true, accepted }
      : { ok: false, reason: "late", message: "it has not arrived" };
  return { kind: "leaseAnswered", job: jobOf(job), lease: id, reply, from };
}

const reportOf = (report: WireReport): LeaseReport => ({
  job: jobOf(report.job),
  grant: grantOf(report.grant),
  unfinished: rangesOf(report.unfinished),
  unacknowledged: rangesOf(report.unacknowledged),
  gaveBack: rangesOf(report.gaveBack),
  acknowledgedSeq: report.acknowledgedSeq,
});

/** A runtime `python` of version 3.11.4 is advertised as `python` and as `python3.11`. */
function runtimeNames(node: WireNode): string[] {
  const names = new Set<string>();
  for (const { name, version } of node.runtimes) {
    names.add(name);
    const short = /^\d+\.\d+/.exec(version)?.[0];
    if (name === "python" && short !== undefined) names.add(`python${short}`);
  }
  return [...names];
}

/** Malformed ones are left out: what they would ask for cannot be required. */
function labelsOf(node: WireNode): readonly string[] {
  try {
    return checkLabels(node.labels);
  } catch {
    return [];
  }
}

function acknowledgedOf(said: Pick<WireHello, "acknowledged">): Map<JobId, number> {
  const acknowledged = new Map<JobId, number>();
  for (const [job, seq] of Object.entries(said.acknowledged)) if (isJobId(job)) acknowledged.set(job, seq);
  return acknowledged;
}

function helloOf(hello: WireHello): { report: NodeReport; node: WireNode } {
  const { node } = hello;
  if (node === null || !isNodeId(node.id) || hello.incarnation === "") throw malformed("hello");
  const report: NodeReport = {
    node: node.id,
    host: node.host,
    machine: hello.machineId,
    slots: node.slots,
    runtimes: runtimeNames(node),
    labels: labelsOf(node),
    incarnation: hello.incarnation,
    epochSeen: hello.epochSeen,
    leases: hello.leases.map(reportOf),
    accepted: hello.accepted,
    filesRecovered: hello.filesRecovered,
    acknowledged: acknowledgedOf(hello),
  };
  return { report, node };
}

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

/** Why a node takes no work, by the word of its heartbeat. */
const diskReasons = new Map([
  ["full", "its disk is full"],
  ["limit", "its state directory has taken all that it may of its disk"],
]);

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
    const { enqueue } = this.#options;
    const { heartbeat, gaveBack, taskFailed, starving, output, drained, sliceStarting, leaseFound } = message;
    if (heartbeat) {
      const { busy, disk, spoolBytes, stateBytes, stateBytesMax } = heartbeat;
      link.files = { spoolBytes, stateBytes, stateBytesMax };
      const diskReason = diskReasons.get(disk);
      const why = diskReason === undefined ? {} : { diskReason };
      enqueue({ kind: "nodeHeartbeat", node, busy, diskFull: diskReason !== undefined, ...why });
      for (const wire of heartbeat.gaveBack) {
        const report = reportOf(wire);
        if (report.gaveBack.length === 0) continue;
        enqueue({ kind: "gaveBack", node, job: report.job, grant: report.grant, ranges: report.gaveBack });
      }
    } else if (gaveBack) {
      const grant = gaveBack.grant === null ? undefined : grantOf(gaveBack.grant);
      enqueue({ kind: "gaveBack", node, job: jobOf(gaveBack.job), grant, ranges: rangesOf(gaveBack.ranges) });
    } else if (taskFailed) {
      const info = decodeErrorInfo(taskFailed.error);
      // Our own refusals are sentences; the class of a user's exception is part of what it says.
      const text = info.name === "EverycoreError" ? info.message : `${info.name}: ${info.message}`;
      enqueue({ kind: "taskFailed", node, job: jobOf(taskFailed.job), message: text, died: taskFailed.died });
    } else if (starving) {
      enqueue({ kind: "starving", node, slots: starving.slots });
    } else if (output) {
      link.outputs.get(output.ask)?.(output);
    } else if (drained) {
      enqueue({ kind: "drained", node, acknowledged: acknowledgedOf(drained) });
    } else if (leaseFound) {
      enqueue(leaseAnswer(node, leaseFound));
    } else if (sliceStarting) {
      const { id } = grantOf(sliceStarting.grant);
      const range = rangesOf(sliceStarting.range === null ? [] : [sliceStarting.range])[0];
      if (range === undefined) throw malformed("slice");
      enqueue({
        kind: "sliceStarting",
        node,
        job: jobOf(sliceStarting.job),
        lease: id,
        range,
        ask: sliceStarting.ask,
      });
    } else throw malformed(message.part ?? "kind");
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
