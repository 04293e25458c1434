/** What a leader says over a link, as the agent's shell gives it to its core. */
import type { Effect } from "@everycore/coordinator/core";
import type { Event } from "./pool.ts";

export function eventOf(message: Effect): Event {
  switch (message.kind) {
    case "sendGiveBack":
      return {
        kind: "giveBackAsked",
        job: message.job,
        wantMs: message.wantMs,
        isAll: message.isAll,
      };
    case "confirmGaveBack": {
      const { job, lease, ranges } = message;
      return { kind: "giveBackConfirmed", job, lease, ranges };
    }
    case "sendCancel":
      return { kind: "cancelled", job: message.job, round: message.round };
    case "sendJobEnded":
      return { kind: "jobEnded", job: message.job, round: message.round };
    case "dropLeases":
      return { kind: "leasesDropped", leases: message.leases };
    case "askLease":
      return { kind: "leaseAsked", job: message.job, lease: message.lease };
    case "mayStart":
      return { kind: "mayStart", ask: message.ask };
    case "sendUndrain":
      return { kind: "undrainAsked" };
    case "sendDrain":
      return { kind: "drainAsked", deadlineMs: Number.POSITIVE_INFINITY };
    default:
      throw new Error(`no message for agents: ${message.kind}`);
  }
}
