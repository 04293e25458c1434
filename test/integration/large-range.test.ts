// P7: ten million items are a range, not ten million things. Memory of coordinator and agent stays flat, and the first
// results are there at once.

import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { everycore } from "../support/command.ts";
import { submit, taskFile } from "../support/jobs.ts";
import { readProcess } from "../support/processes.ts";
import { until } from "../support/until.ts";

const MB = 1024 * 1024;
const items = 10_000_000;
const slow = { timeout: 150_000 };

test(
  "10,000,000 items: first results at once, memory flat until the half, then cancelled",
  slow,
  async () => {
    await using cluster = await startCluster({ slots: 2 });
    const roles = { coordinator: cluster.coordinator.pid, agent: cluster.agents[0]!.pid };
    const peak = { coordinator: 0, agent: 0 };
    const job = await submit(cluster.client, { task: "arithmetic.ts:noop", range: [0, items - 1] });
    const beganAt = performance.now();
    const results = cluster.client.results(job);
    for await (const outcome of results) {
      expect(outcome.index).toBe(0);
      break;
    }
    expect(performance.now() - beganAt).toBeLessThan(3_000); // 300 ms is the goal; the machine may be busy
    const half = await until(
      async () => {
        for (const [name, pid] of Object.entries(roles) as [keyof typeof peak, number][]) {
          peak[name] = Math.max(peak[name], readProcess(pid)?.residentBytes ?? 0);
        }
        const { counts } = await cluster.client.getJob(job);
        return counts !== null && counts.value >= items / 2 ? counts.value : undefined;
      },
      { withinMs: 120_000, everyMs: 200, what: "half of ten million items to end" },
    );
    expect(half).toBeGreaterThanOrEqual(items / 2);
    await cluster.client.cancelJob(job, "half is enough");
    const { counts } = await cluster.client.waitJob(job, { timeoutMs: 20_000 });
    expect(counts!.value + counts!.cancelled).toBe(items);
    expect(peak.coordinator / MB).toBeLessThan(300); // 250 MB is the goal at the end of ten million
    expect(peak.agent / MB).toBeLessThan(300);
  },
);

test("a hundred thousand results are printed in order by the command", slow, async () => {
  await using cluster = await startCluster({ slots: 2 });
  const { code, stdout } = await everycore(
    ["map", `${taskFile("arithmetic.ts")}:identity`, "--range", "1-100000", "--values"],
    { environment: cluster.environment },
  );
  const lines = stdout.trimEnd().split("\n");
  expect(lines).toHaveLength(100_000);
  expect(lines.every((line, at) => Number(line) === at + 1)).toBe(true);
  expect(code).toBe(0);
});
