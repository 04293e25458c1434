/** What the core must know of a lease message: everything but the bytes of its items. */
import type { LeaseMessage, SegmentId } from "@everycore/protocol";
import type { LeaseFacts } from "../core/index.ts";

export const factsOf = (message: LeaseMessage): LeaseFacts => ({
  epoch: message.epoch,
  job: message.job,
  segment: message.segment as SegmentId, // checked by decodeLease
  task: {
    code: [message.task.bundle, message.task.entry, message.task.export].join("\n"),
    runtime: `${message.task.runtime}${message.task.python ?? ""}`,
    reduced: message.task.reduce !== undefined,
    retries: message.task.retries,
    itemTimeoutMs: message.task.itemTimeoutMs,
  },
  grant: message.grant,
  attempts: message.attempts,
  mode: message.mode,
  ...(message.memoryBytes === undefined ? {} : { memoryBytes: message.memoryBytes }),
  itemMs: message.itemMs,
  priority: message.priority,
  tag: message.tag,
  partials: message.items.partials === true,
});
