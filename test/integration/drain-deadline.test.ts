// An agent that is asked to end (SIGTERM: a supervisor, an orchestrator) while an item runs that does not end in time.

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { RunLog, collect, submit, valuesOf } from "../support/jobs.ts";

test("the operator's deadline counts: what still runs then is given back, and done by the next agent", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const log = new RunLog(cluster.dir);
  const agent = cluster.agents[0]!;
  await agent.stop();
  await agent.start({ drainMs: 300 });
  const job = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: [log.item(0, { isHeld: true })],
  });
  await log.hasBegun(1);
  const askedAt = performance.now();
  await agent.stop();
  expect(performance.now() - askedAt).toBeLessThan(4_500); // its own default is 10 s
  log.open();
  await agent.start();
  const { outcomes, info } = await collect(cluster.client, job);
  expect(valuesOf(outcomes)).toEqual([0]);
  expect(info).toMatchObject({ state: "done", counts: { value: 1, crash: 0, lost: 0 } });
});
