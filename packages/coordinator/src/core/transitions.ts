/**
 * Every legal move of every state machine of the leader. A pair that is missing here is a bug, not a branch:
 * `move` throws it with the machine's name. The diagrams in docs/ are drawn from these tables.
 */
import type { JobState } from "@everycore/protocol/pure";

type Table<State extends string> = Readonly<Record<State, Readonly<Partial<Record<string, State>>>>>;

/** States of a job are documented in DESIGN 9; `close` = the input has ended. */
export const jobTransitions = {
  /** Its input is still coming; what came is run already. */
  accepting: { close: "running", cancel: "cancelling", fail: "cancelling", pause: "paused" },
  /** Input complete; items run or wait. */
  running: { finish: "done", cancel: "cancelling", fail: "cancelling", pause: "paused" },
  /** Nothing of it is leased; what was running may be its last item. Its input may still be coming. */
  paused: {
    close: "paused",
    resume: "running",
    resumeOpen: "accepting",
    finish: "done",
    cancel: "cancelling",
    fail: "cancelling",
  },
  /** Its intent is stored; workers are killed, the rest of its items sealed. A new leader completes it. */
  cancelling: { cancelled: "cancelled", failed: "failed", finish: "done" },
  /** Ended states keep their log until the job is deleted; `retry` opens a new round. */
  done: { retry: "running" },
  cancelled: { retry: "running" },
  failed: { retry: "running" },
} as const satisfies Table<JobState>;

/** What this leader knows of a job's past (DESIGN 9, "Takeover"). */
export type JobPhase = "unread" | "folding" | "reporting" | "open";
export const phaseTransitions = {
  /** It ended under a former leader: what is told of it stands in its record. Its log is read when somebody asks. */
  unread: { read: "folding" },
  /** The log is being read to where it stood; nothing is leased. */
  folding: { folded: "reporting", ended: "open" },
  /** Ranges beyond `reserved` are placed; what lies below waits for the nodes' reports. */
  reporting: { reported: "open" },
  open: {},
} as const satisfies Table<JobPhase>;

export type NodeState = "connected" | "suspected" | "lost" | "drained";
export const nodeTransitions = {
  /** Its link is up and it was heard within suspectMs. */
  connected: { report: "connected", silence: "suspected", drained: "drained" },
  /** Link broken or silent: keeps its leases, gets nothing new. A crash of the leader leaves it as awaited. */
  suspected: { report: "connected", heard: "connected", expire: "lost", drained: "drained" },
  /** Its leases were struck and placed elsewhere; a late commit still counts if it is first. */
  lost: { report: "connected" },
  drained: { report: "connected" },
} as const satisfies Table<NodeState>;

/** How a node stands, whatever its state: also while it is away. */
export type StandingState = "good" | "quarantined";
export const standingTransitions = {
  /** Crashes that ended well elsewhere are counted; at the limit the node gets no new leases. */
  good: { blame: "quarantined" },
  /** It finishes what it runs. Let out by time, by an operator, or because a job has no other node (C7). */
  quarantined: { expire: "good", undrain: "good", need: "good" },
} as const satisfies Table<StandingState>;

export type LeaseState = "sending" | "held" | "gone";
export const leaseTransitions = {
  /** Sent, not acknowledged; sent again each second, three times in all, then its items are queued. */
  sending: { accept: "held", refuse: "gone", expire: "gone", lose: "gone" },
  /** The agent has it. */
  held: { accept: "held", finish: "gone", lose: "gone" },
  gone: {},
} as const satisfies Table<LeaseState>;

/** The state that `table` gives for (state, event); throws for an illegal pair, naming the machine and entity. */
export function move<State extends string>(
  table: Table<State>,
  options: { machine: string; id: string; from: State; event: string },
): State {
  const next = table[options.from][options.event];
  if (next === undefined) {
    throw new Error(`${options.machine} ${options.id}: no move "${options.event}" from "${options.from}"`);
  }
  return next;
}

/** True if the table has the move. */
export function may<State extends string>(table: Table<State>, from: State, event: string): boolean {
  return table[from][event] !== undefined;
}
