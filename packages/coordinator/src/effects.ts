/** What the core wants done, as calls: one exhaustive switch. Nothing here decides; answers come back as events. */
import type { JobId, NodeId, SegmentId } from "@everycore/protocol";
import type { Asks } from "./asks.ts";
import type { Changes } from "./changes.ts";
import type { ClusterState, Effect } from "./core/index.ts";
import type { Bodies } from "./data/bodies.ts";
import { areEqual } from "./data/comparisons.ts";
import type { Checkpoints } from "./data/checkpoints.ts";
import type { JobRecords } from "./data/job-records.ts";
import type { KnownNodes } from "./data/known-nodes.ts";
import type { LeaseSender } from "./data/lease-sender.ts";
import type { LogWriter } from "./data/log-writer.ts";
import type { LifecycleLog } from "./lifecycle-log.ts";
import type { WorldEvent } from "./loop.ts";
import type { JobTracing } from "./tracing.ts";

/** Messages to agents, by their link; lost when the link is: hello and reports repeat what matters. */
export interface AgentMessages {
  send(node: NodeId, message: object): void;
  close(node: NodeId, reason: string): void;
}

export interface EffectsOptions {
  readonly state: () => ClusterState;
  readonly enqueue: (event: WorldEvent) => void;
  /** Aborted when the term ends: what is under way is dropped. */
  readonly term: () => AbortSignal;
  readonly jobRecords: JobRecords;
  readonly knownNodes: KnownNodes;
  readonly checkpoints: Checkpoints;
  readonly writer: LogWriter;
  readonly leases: LeaseSender;
  readonly bodies: Pick<Bodies, "get">;
  readonly links: AgentMessages;
  readonly asks: Asks;
  readonly changes: Changes;
  readonly tracing: JobTracing;
  readonly lifecycle: LifecycleLog;
  /** Reads the log of a job that ended under a former leader. */
  readonly readLog: (job: JobId, segment: SegmentId) => void;
  /** Deletes record and log of a job. */
  readonly deleteJob: (effect: Extract<Effect, { kind: "deleteJob" }>) => void;
  readonly stepDown: (reason: string, job?: JobId) => void;
}

const overOf = ({ job, round }: Extract<Effect, { kind: "sendCancel" | "sendJobEnded" }>): object =>
  round === undefined ? { job } : { job, round };

export const jobKey = (job: JobId): string => `job.${job}`;
export const nodeKey = (node: NodeId): string => `node.${node}`;

export function performer(options: EffectsOptions): (effect: Effect) => void {
  const { links, asks, changes, knownNodes } = options;
  return (effect) => {
    switch (effect.kind) {
      case "putJob":
        return putJob(effect, options);
      case "deleteJob":
        return options.deleteJob(effect);
      case "appendRecord":
        return options.writer.append(effect.segment, effect.record, options.term());
      case "saveCheckpoint":
        return options.checkpoints.save(effect.checkpoint, options.term());
      case "dropCheckpoint":
        return options.checkpoints.drop(effect.job, options.term());
      case "readLog":
        return options.readLog(effect.job, effect.segment);
      case "sendLease":
        return sendLease(effect, options);
      case "sendGiveBack":
        return links.send(effect.node, {
          giveBack: { job: effect.job, wantMs: effect.wantMs, all: effect.isAll },
        });
      case "confirmGaveBack":
        return links.send(effect.node, {
          confirm: { job: effect.job, lease: Buffer.from(effect.lease, "hex"), ranges: effect.ranges },
        });
      case "sendCancel":
        return links.send(effect.node, { cancel: overOf(effect) });
      case "sendJobEnded":
        return links.send(effect.node, { ended: overOf(effect) });
      case "dropLeases":
        return links.send(effect.node, {
          drop: { leases: effect.leases.map((id) => Buffer.from(id, "hex")) },
        });
      case "askLease":
        return links.send(effect.node, {
          askLease: { job: effect.job, lease: Buffer.from(effect.lease, "hex") },
        });
      case "mayStart":
        return links.send(effect.node, { mayStart: { ask: effect.ask } });
      case "sendDrain":
        return links.send(effect.node, { drain: { reason: effect.reason } });
      case "sendUndrain":
        return links.send(effect.node, { undrain: {} });
      case "closeLink":
        return links.close(effect.node, effect.reason);
      case "putNode":
        return knownNodes.put(effect.record, options.term());
      case "deleteNode":
        return knownNodes.delete(effect.node, options.term());
      case "answer":
        return asks.answer(effect.ask, effect.answer);
      case "compare":
        return compare(effect, options);
      case "itemDiffers":
        return options.lifecycle.itemDiffers(effect);
      case "jobChanged":
        return changes.touch(jobKey(effect.job));
      case "nodeChanged":
        options.lifecycle.nodeChanged(effect.node);
        return changes.touch(nodeKey(effect.node));
      case "standingChanged":
        return options.lifecycle.standingChanged(effect);
      case "stepDown":
        return options.stepDown(effect.reason, effect.job);
    }
  };
}

function putJob(effect: Extract<Effect, { kind: "putJob" }>, options: EffectsOptions): void {
  const { id: job } = effect.record;
  const term = options.term();
  void options.jobRecords.put(effect.record, term).then((refusal) => {
    if (term.aborted) return;
    if (refusal === undefined) {
      options.tracing.stored(effect.record);
      options.lifecycle.stored(effect.record);
      options.enqueue({ kind: "jobStored", job });
    } else options.enqueue({ kind: "jobStoreFailed", job, message: refusal });
  });
}

function sendLease(effect: Extract<Effect, { kind: "sendLease" }>, options: EffectsOptions): void {
  const state = options.state();
  const job = state.jobs.get(effect.job);
  if (job === undefined) return;
  const term = options.term();
  void options.leases.send(effect, job, state.epoch).then((reply) => {
    if (!term.aborted)
      options.enqueue({ kind: "leaseAnswered", job: effect.job, lease: effect.grant.id, reply });
  });
}

function compare(effect: Extract<Effect, { kind: "compare" }>, options: EffectsOptions): void {
  const { job, index } = effect;
  const term = options.term();
  void areEqual(effect, options.bodies, term).then((isEqual) => {
    if (!term.aborted) options.enqueue({ kind: "compared", job, index, isEqual });
  });
}
