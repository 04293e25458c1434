/**
 * A paused job: nothing of it is leased, what is leased is asked back, what runs comes to its end. The state stands in
 * the job's record before the command is answered, so that it survives this leader. Asking back is repeated while the
 * job holds leases: a lease may have been on its way, a message may be lost. Input that is still coming goes on coming,
 * up to a bound (P7); whether it is complete is told by the log, not by the state.
 */
import { isEnded, limits } from "@everycore/protocol/pure";
import type { Answer, Effect } from "./events.ts";
import { save } from "./job-record.ts";
import { maybeFinish, takesInput } from "./jobs.ts";
import type { ClusterState, Job } from "./model.ts";
import { startTag } from "./shares.ts";
import { jobTransitions, may, move } from "./transitions.ts";

const askBackAgainMs = 1_000;

/** Idempotent: a job that is paused already stays so, and is answered once that is stored. */
export function pause(state: ClusterState, job: Job, ask: number, effects: Effect[]): void {
  if (job.state === "paused") return answerStored(job, ask, effects);
  if (!may(jobTransitions, job.state, "pause")) {
    effects.push({ kind: "answer", ask, answer: refusal(job, "paused") });
    return;
  }
  job.state = move(jobTransitions, { machine: "job", id: job.id, from: job.state, event: "pause" });
  job.pausedInputBytes = 0;
  job.asks.push(ask);
  save(state, job, effects);
  askBack(state, job, effects);
}

export function resume(state: ClusterState, job: Job, ask: number, effects: Effect[]): void {
  if (job.state === "running" || job.state === "accepting") return answerStored(job, ask, effects);
  if (!may(jobTransitions, job.state, "resume")) {
    effects.push({ kind: "answer", ask, answer: refusal(job, "resumed") });
    return;
  }
  const event = takesInput(job) ? "resumeOpen" : "resume";
  job.state = move(jobTransitions, { machine: "job", id: job.id, from: job.state, event });
  // It is not owed the time of its pause.
  job.tag = Math.max(job.tag, startTag(state));
  job.asks.push(ask);
  save(state, job, effects);
  state.dirty = true;
  maybeFinish(state, job, effects);
  effects.push({ kind: "jobChanged", job: job.id });
}

function answerStored(job: Job, ask: number, effects: Effect[]): void {
  if (job.putting) job.asks.push(ask);
  else effects.push({ kind: "answer", ask, answer: { ok: true, job: job.id } });
}

function refusal(job: Job, what: "paused" | "resumed"): Answer {
  const hint = isEnded(job.state) ? "" : `wait for its end: everycore job wait ${job.id.slice(0, 8)}`;
  const message = `job ${job.id} is ${job.state} and cannot be ${what}`;
  return { ok: false, code: "conflict", message, hint };
}

/** So much has come since the pause that its submit waits for the resume. */
export const isHeldBack = (job: Job): boolean =>
  job.state === "paused" && job.pausedInputBytes >= limits.pausedInputBytesMax;

/** With each tick: what a paused job still holds is asked back, of each node that holds it. */
export function tickPaused(state: ClusterState, job: Job, effects: Effect[]): void {
  if (job.state !== "paused" || state.now - job.askedBackAt < askBackAgainMs) return;
  askBack(state, job, effects);
}

function askBack(state: ClusterState, job: Job, effects: Effect[]): void {
  job.askedBackAt = state.now;
  // What comes back or ends leaves no record: whoever waits for the last of it is told so.
  effects.push({ kind: "jobChanged", job: job.id });
  for (const node of job.held.byNode.keys()) {
    if (state.nodes.get(node)?.state !== "connected") continue;
    effects.push({ kind: "sendGiveBack", node, job: job.id, wantMs: wantAllMs, isAll: true });
  }
}

/** What an agent of an earlier version understands: as much as it has. */
const wantAllMs = 1e12;
