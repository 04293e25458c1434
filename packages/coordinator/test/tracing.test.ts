// Spans of jobs and leases: ids that another leader finds again, links to what ran before, and the life of each round.
import type {
  CommitRecord,
  JobId,
  JobRecord,
  LeaseGrant,
  LeaseId,
  NodeId,
  SegmentId,
  StrikeRecord,
} from "@everycore/protocol";
import { traceFields } from "@everycore/protocol";
import { expect, test } from "vitest";
import { SpanRecorder } from "../../../test/support/span-recorder.ts";
import type { Effect } from "../src/core/index.ts";
import type { Job } from "../src/core/model.ts";
import { JobTracing } from "../src/tracing.ts";

const caller = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
const id = "0".repeat(20) as JobId;
const segment = "s1" as SegmentId;
const spec = {
  name: "traced",
  task: { runtime: "js", seed: "0000000000000001", rangeStart: 0, retries: 0, ...caller },
  codec: "range",
  rangeItems: 100,
  priority: 0,
  strict: false,
  ttlMs: 0,
} as const;

const grantOf = (name: string, start: number, end: number): LeaseGrant => ({
  id: name.repeat(32) as LeaseId,
  start,
  end,
  node: "1".repeat(16) as NodeId,
  round: 0,
  n: 1,
});

/** What tracing looks at of a job. */
const jobOf = (round = 0, leases = new Map<LeaseId, { sends: number }>()): Job =>
  ({ id, spec, round, repairs: [], createdAt: 1_000, leases }) as unknown as Job; // the rest is the core's

const send = (grant: LeaseGrant): Extract<Effect, { kind: "sendLease" }> => ({
  kind: "sendLease",
  node: grant.node,
  job: id,
  grant,
  mode: "normal",
  attempts: [],
  memoryBytes: undefined,
  blocks: undefined,
  partials: false,
  itemMs: 0,
  tag: 0,
});

const recordOf = (change: Partial<JobRecord>): JobRecord => ({
  id,
  user: "local",
  spec,
  segment,
  state: "running",
  reserved: 0,
  round: 0,
  epoch: 1,
  foldVersion: 1,
  createdAt: 1_000,
  ...change,
});

const accepted = { ok: true, accepted: 1 } as const;
const spanIdOf = (context: { traceparent?: string } | undefined): string =>
  traceFields(context?.traceparent ?? "")!.spanId;

test("leases of two leaders hang below the job's span, whose id does not tell that of any lease", () => {
  const recorders = [new SpanRecorder(), new SpanRecorder()] as const;
  for (const [at, recorder] of recorders.entries()) {
    const tracing = new JobTracing(recorder);
    const lease = tracing.lease(jobOf(), send(grantOf(String(at), 0, 10)));
    expect(spanIdOf(lease.task)).not.toContain(String(at).repeat(8));
    lease.answered(accepted);
    expect(recorder.named("lease")[0]!.spanId).toBe(spanIdOf(lease.task));
  }
  const [first, second] = recorders;
  new JobTracing(second).stored(recordOf({ state: "done", endedAt: 2_000 }));
  const parents = [first, second].map((recorder) => spanIdOf(recorder.named("lease")[0]!.parent));
  const [job] = second.named("job");
  expect(parents).toEqual([job!.spanId, job!.spanId]);
  expect(job).toMatchObject({ parent: caller, startMs: 1_000, endMs: 2_000 });
  expect(job!.error).toBeUndefined();
});

test("a lease is linked to those that did not end its items, and to no others", () => {
  const recorder = new SpanRecorder();
  const tracing = new JobTracing(recorder);
  const leases = { a: grantOf("a", 0, 10), b: grantOf("b", 10, 20), c: grantOf("c", 20, 30) };
  for (const grant of Object.values(leases)) tracing.lease(jobOf(), send(grant)).answered(accepted);
  const [a, b, c] = recorder.named("lease").map(({ spanId }) => spanId);
  const strike: StrikeRecord = {
    kind: "strike",
    job: id,
    epoch: 1,
    cause: "crash",
    lease: leases.a,
    ranges: [{ start: 3, end: 4 }],
    byLeader: false,
  };
  tracing.logged(jobOf(), strike);
  const commit: CommitRecord = {
    kind: "commit",
    job: id,
    epoch: 1,
    leases: [leases.b, leases.c],
    parts: [
      { lease: 0, start: 10, end: 12, status: "again" },
      { lease: 0, start: 12, end: 20, status: "value" },
      { lease: 1, start: 20, end: 21, status: "error" },
    ],
    usage: [],
    bytes: 0,
  };
  tracing.logged(jobOf(), commit);
  const linksOf = (start: number, end: number): string[] => {
    tracing.lease(jobOf(), send(grantOf("d", start, end))).answered(accepted);
    return recorder.named("lease").at(-1)!.links!.map(spanIdOf);
  };
  expect(linksOf(3, 4)).toEqual([a]);
  expect(linksOf(4, 10)).toEqual([]);
  expect(linksOf(0, 30)).toEqual([a, b, c]);
  expect(linksOf(12, 20)).toEqual([]);
  tracing.termOver();
  expect(linksOf(0, 30)).toEqual([]);
});

test("a lease that is sent again has a span of its own, linked to the first; a refusal is its failure", () => {
  const recorder = new SpanRecorder();
  const tracing = new JobTracing(recorder);
  const grant = grantOf("a", 0, 10);
  tracing.lease(jobOf(0, new Map([[grant.id, { sends: 1 }]])), send(grant)).answered(undefined);
  const again = tracing.lease(jobOf(0, new Map([[grant.id, { sends: 2 }]])), send(grant));
  again.answered({ ok: false, reason: "draining", message: "" });
  const [first, second] = recorder.named("lease");
  expect(first!.error).toBe("no answer in time");
  expect(second!.spanId).not.toBe(first!.spanId);
  expect(second!.links!.map(spanIdOf)).toEqual([first!.spanId]);
  expect(second!.error).toBe("refused: draining");
});

test("each round of a job is a span; a failed job has failed, a cancelled one has not", () => {
  const recorder = new SpanRecorder();
  const tracing = new JobTracing(recorder);
  tracing.stored(recordOf({}));
  tracing.stored(recordOf({ state: "failed", endedAt: 2_000, reason: "it cannot be loaded" }));
  const before = Date.now();
  const intent = { kind: "reopen", ranges: [{ start: 0, end: 1 }], round: 1 } as const;
  tracing.stored(recordOf({ round: 1, intent }));
  tracing.stored(recordOf({ round: 1, state: "cancelled", endedAt: before + 60_000, reason: "enough" }));
  const [failed, cancelled] = recorder.named("job");
  expect(failed).toMatchObject({ startMs: 1_000, endMs: 2_000, error: "it cannot be loaded" });
  expect(cancelled!.error).toBeUndefined();
  expect(cancelled!.startMs).toBeGreaterThanOrEqual(before);
  expect(cancelled!.attributes).toMatchObject({ "everycore.round": 1, "everycore.reason": "enough" });
  expect(cancelled!.spanId).not.toBe(failed!.spanId);
  const lease = tracing.lease(jobOf(1), send(grantOf("b", 0, 1)));
  lease.answered(accepted);
  expect(spanIdOf(recorder.named("lease")[0]!.parent)).toBe(cancelled!.spanId);
});

test("a job without a trace, and a coordinator without a tracer, make no spans and change no task", () => {
  const recorder = new SpanRecorder();
  const { traceparent: _none, ...task } = spec.task;
  const untraced = { ...jobOf(), spec: { ...spec, task } };
  const lease = new JobTracing(recorder).lease(untraced, send(grantOf("a", 0, 10)));
  lease.answered(accepted);
  expect(lease.task).toBe(task);
  expect(recorder.spans).toEqual([]);
  const off = new JobTracing(undefined);
  expect(off.lease(jobOf(), send(grantOf("a", 0, 10))).task).toBe(spec.task);
  expect(off.counts).toEqual({ delivered: 0, dropped: 0, failed: 0 });
});
