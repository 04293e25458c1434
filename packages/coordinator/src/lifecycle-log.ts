/**
 * What happens to jobs and nodes, as lines of the log: a few for each job, none for each item. The names of fields and
 * messages are those of docs/guides/operations.md, which a test compares.
 */
import type { JobRecord, NodeId, StrikeRecord } from "@everycore/protocol";
import { isEnded } from "@everycore/protocol";
import type { Logger } from "pino";
import type { ClusterState, Effect } from "./core/index.ts";

export class LifecycleLog {
  readonly #log: Logger;
  readonly #state: () => ClusterState;
  /** As last told. */
  readonly #nodes = new Map<NodeId, string>();

  constructor(log: Logger, state: () => ClusterState) {
    this.#log = log;
    this.#state = state;
  }

  /** The record is durable, and the core has not heard of it yet: what it knows is what was before. */
  stored(record: JobRecord): void {
    const { id: job, state, reason, round, intent, spec } = record;
    const before = this.#state().jobs.get(job);
    if (before?.stored === false && !before.fenceDue) {
      this.#log.info({ job, name: spec.name, runtime: spec.task.runtime }, "job accepted");
    }
    if (intent?.kind === "reopen" && before?.intent === intent && !before.intentActed) {
      this.#log.info({ job, round }, "job opened again");
    }
    if (isEnded(state))
      this.#log.info({ job, state, ...(reason === undefined ? {} : { reason }) }, "job ended");
  }

  /** While a new leader reads the logs it meets those of its predecessors again. */
  struck(record: StrikeRecord): void {
    const { job, cause, lease, ranges, detail } = record;
    const phase = this.#state().jobs.get(job)?.phase;
    if (phase === undefined || phase === "folding" || phase === "unread") return;
    const items = ranges.reduce((sum, { start, end }) => sum + end - start, 0);
    const reason = detail?.reason ?? detail?.signal;
    const fields = { job, node: lease.node, cause, item: ranges[0]?.start ?? lease.start, items };
    if (cause === "suspected") this.#log.warn(fields, "items may have been lost: they run with care");
    else this.#log.warn({ ...fields, ...(reason === undefined ? {} : { reason }) }, "items struck");
  }

  nodeChanged(node: NodeId): void {
    const found = this.#state().nodes.get(node);
    if (found === undefined) return void this.#nodes.delete(node);
    const state = found.draining && found.state === "connected" ? "draining" : found.state;
    if (this.#nodes.get(node) === state) return;
    this.#nodes.set(node, state);
    const isWell = state !== "suspected" && state !== "lost";
    const fields = { node, state, ...(found.reason === "" ? {} : { reason: found.reason }) };
    this.#log[isWell ? "info" : "warn"](fields, "node state");
  }

  /** A line for each of the two: whoever looks at a node finds it. */
  itemDiffers({
    job,
    item: { index: item, first, second, how },
  }: Extract<Effect, { kind: "itemDiffers" }>): void {
    const other = how === "value" ? "gave another value" : `twice ended in ${how}`;
    for (const [node, reason] of [
      [first, "gave the value that counts"],
      [second, other],
    ] as const)
      this.#log.warn({ job, node, item, reason }, "two nodes differ on an item");
  }

  standingChanged({ node, isQuarantined, reason }: Extract<Effect, { kind: "standingChanged" }>): void {
    if (isQuarantined) this.#log.warn({ node, reason }, "node quarantined");
    else this.#log.info({ node, reason }, "quarantine lifted");
  }

  /** The next term tells anew. */
  termOver(): void {
    this.#nodes.clear();
  }
}
