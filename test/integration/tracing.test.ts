// A job's way as one trace, by a collector that reads what really travels; and that nobody who wants none pays for it.

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { jsonLines, makeTestUser } from "../support/command.ts";
import { startCollector } from "../support/otlp-collector.ts";

test("a job is one trace: submit, job, leases, slices, and the items that failed", async () => {
  await using collector = await startCollector();
  await using cluster = await startCluster({ agents: 2, slots: 1, environment: collector.environment });
  await using user = await makeTestUser();
  const environment = { ...cluster.environment, ...collector.environment };
  const task = `${import.meta.dirname}/../support/tasks/failures.ts:odd`;
  const ended = await user.run(["map", task, "--range", "0-9", "--quiet"], { environment });
  expect(ended.code).toBe(1);
  const failed = jsonLines(ended.stdout).filter((line) => "error" in (line as object));

  await collector.has("the job's span", () => collector.named("job").length === 1);
  await collector.has("a span of each failed item", () => collector.named("item").length === failed.length);
  expect(new Set(collector.spans.map(({ traceId }) => traceId)).size).toBe(1);
});
