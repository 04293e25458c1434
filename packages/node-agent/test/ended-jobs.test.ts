// What jobs that have ended leave in an agent's memory: nothing, however many there were (P7).
import { afterEach, expect, test, vi } from "vitest";
import { inspectOptions, inspectorOf, instancesOf } from "../../../test/support/heap.ts";
import { until } from "../../../test/support/until.ts";
import { FakeLeader, newJob, startAgent } from "./support/fake-leader.ts";

const jobs = 8;
const slots = 1;

afterEach(() => {
  vi.unstubAllEnvs();
});

/**
 * Goal: an agent forgets a worker and its files with the last outcome. Method: jobs one after the other, each with a
 * worker of its own, then the heap's count of what belongs to a worker.
 */
test("workers that served a job are forgotten with their outcomes", { timeout: 120_000 }, async () => {
  vi.stubEnv("NODE_OPTIONS", inspectOptions);
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots });
  await until(() => leader.node !== "", { what: "the hello" });
  for (let count = 0; count < jobs; count += 1) {
    const job = newJob();
    const bundle = leader.bundle(job, "export default (x) => x;");
    expect(await leader.lease(leader.message(job, { start: 0, end: 3 }, { bundle }))).toMatchObject({
      ok: true,
    });
    await leader.covered(job, 3);
    leader.say({ ended: { job } });
  }
  const kept = (className: string): Promise<number> => instancesOf(inspectorOf(agent.stderr()), className);
  // One that ends as we look, and a spare.
  await until(async () => (await kept("OutcomeFiles")) <= slots + 1, { what: "files to be forgotten" });
  expect(await kept("OutcomeFiles")).toBeGreaterThan(0); // so that a name that is no more is noticed
  expect(await kept("WorkerProcess")).toBeLessThanOrEqual(slots + 1);
});
