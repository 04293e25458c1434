// What a former leader writes into EC_JOBS after the next one has listed it: a put that was on its way for long, or
// came from a machine that was suspended. It may have been answered to a client, so it must be taken up (P1).
import { afterEach, beforeEach, expect, test } from "vitest";
import type { JobId, JobRecord, SegmentId } from "@everycore/protocol";
import { decodeJobRecord, encodeJobRecord, foldVersion } from "@everycore/protocol";
import { until } from "../../../test/support/until.ts";
import type { CoordinatorCluster } from "./support/coordinator-cluster.ts";
import { startCoordinatorCluster } from "./support/coordinator-cluster.ts";
import { spec } from "./support/coordinator-process.ts";

let cluster: CoordinatorCluster;
beforeEach(async () => {
  cluster = await startCoordinatorCluster();
});
afterEach(async () => {
  await cluster[Symbol.asyncDispose]();
});

const late = "0123456789abcdef0123" as JobId;
const lateRecord: JobRecord = {
  id: late,
  user: "local",
  spec: spec({ codec: "range", rangeItems: 4 }),
  segment: `j${late}` as SegmentId, // swept, or never seen, by the leader
  state: "accepting",
  reserved: 4,
  round: 0,
  epoch: 0,
  foldVersion,
  createdAt: 1_000,
};

test("a job that a former leader accepted late is known at once, though its segment is gone", async () => {
  const { calls, jobs, epoch } = cluster;
  expect(await epoch()).toBe(1);
  await jobs.create(late, encodeJobRecord(lateRecord));
  const isKnown = async (): Promise<boolean> =>
    (await calls.unary("JobService", "Get", { job: late }).catch(() => undefined)) !== undefined;
  await until(isKnown, { what: "the leader to know it" });
  expect(await epoch()).toBe(2);
  const stored = async (): Promise<number> => decodeJobRecord((await jobs.get(late))!.value).epoch;
  await until(async () => (await stored()) === 2, { what: "its record to be the leader's" });
});

test("a cancel that a former leader accepted late is carried out, not written over", async () => {
  const { calls, jobs, held, agent, epoch } = cluster;
  held.value = true;
  const { id } = await calls.submit("r", spec({ codec: "range", rangeItems: 4 }));
  await until(() => agent.leases.length > 0, { what: "a lease" });
  const before = (await jobs.get(id))!;
  const intent = { kind: "cancel", status: "cancelled", message: "asked of the former" } as const;
  const record = { ...decodeJobRecord(before.value), epoch: 0, state: "cancelling", intent } as const;
  await jobs.update(id, encodeJobRecord(record), before.revision);
  await until(async () => (await epoch()) === 2, { what: "another term" });
  const isKnown = async (): Promise<boolean> =>
    (await calls.unary("JobService", "Get", { job: id }).catch(() => undefined)) !== undefined;
  await until(isKnown, { what: "the leader to lead again" });
  expect((await calls.results(id)).end).toMatchObject({ state: "cancelled", counts: { cancelled: 4 } });
  expect(await epoch()).toBe(2);
});

test("what a leader puts and deletes itself does not end its term", async () => {
  const { calls, epoch } = cluster;
  for (const request of ["a", "b", "c"]) {
    const { id } = await calls.submit(request, spec({ codec: "range", rangeItems: 4 }));
    await calls.results(id);
    await calls.unary("JobService", "Delete", { job: id });
  }
  expect(await epoch()).toBe(1);
});
