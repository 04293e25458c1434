// A retry may bring other code (docs/decisions/0097): no item of its round may run the former one.
import type { JobId, LeaseId, NodeId, SegmentId } from "@everycore/protocol";
import { expect, test } from "vitest";
import { type Effect, type LeaseFacts, newAgent, step } from "../src/core/index.ts";

const job = "a".repeat(20) as JobId;
const node = "b".repeat(16) as NodeId;
const segment = "s" as SegmentId;

test("a lease of a later round with other code puts the former code's workers and leases away", () => {
  const state = newAgent({ slots: 1, runtimes: ["js"] });
  const lease = (id: string, round: number, code: string, epoch = 1): LeaseFacts => ({
    ...{ epoch, job, segment, attempts: [], mode: "normal", itemMs: 0, priority: 0, tag: 0, partials: false },
    task: { code, runtime: "js", reduced: false, retries: 0, itemTimeoutMs: undefined },
    grant: { id: id.repeat(32) as LeaseId, start: 0, end: 4, node, round, n: Number.parseInt(id, 16) },
  });
  let ask = 0;
  const arrive = (facts: LeaseFacts): Effect[] => {
    ask += 1;
    return step(state, { kind: "leaseArrived", at: ask, ask, ready: true, lease: facts });
  };
  const kinds = (effects: Effect[]): string[] => effects.map(({ kind }) => kind);
  expect(kinds(arrive(lease("1", 0, "old")))).toContain("sendTask");
  const worker = [...state.workers.values()].find((known) => known.job === job)!;
  step(state, { kind: "workerReady", at: 2, worker: worker.id });
  step(state, { kind: "workerLoaded", at: 3, worker: worker.id });
  state.jobs.get(job)!.failure = { error: "no", died: false };

  // The same code in a later round is served by the same worker.
  expect(kinds(arrive(lease("2", 1, "old")))).not.toContain("killGroup");
  // A leader of the past cannot bring any.
  state.epoch = 1;
  expect(kinds(arrive(lease("3", 2, "new", 0)))).toEqual(["answerLease"]);
  expect(worker.life).not.toBe("dying");

  const replaced = arrive(lease("4", 2, "new"));
  expect(replaced).toContainEqual({ kind: "killGroup", worker: worker.id, reason: { kind: "cancel" } });
  expect(replaced).toContainEqual({ kind: "forgetLease", job, lease: "1".repeat(32) });
  expect(replaced).toContainEqual({ kind: "answerLease", ask, reply: { ok: true, accepted: 2 } });
  expect([...state.jobs.get(job)!.leases.keys()]).toEqual(["4".repeat(32)]);
  expect(state.jobs.get(job)).toMatchObject({ failure: undefined, round: 2, task: { code: "new" } });

  // One of the round before that comes late is not run by the new code.
  const late = arrive(lease("5", 1, "old"));
  expect(late).toEqual([
    { kind: "answerLease", ask, reply: expect.objectContaining({ ok: false, reason: "epoch" }) as object },
  ]);
});
