// In which order an agent runs what it holds: jobs by their share, the items of one job as they were leased.
import { expect, test } from "vitest";
import { AgentBench as Bench, grantOf, only } from "./support/agent-bench.ts";

test("an older lease comes to its end first, however much dearer its items are than was thought", () => {
  const bench = new Bench();
  // 1 ms an item was thought: the second was leased with a share of two hundred of them, of which each takes 20 ms.
  bench.lease(grantOf(1, 0, 200), { tag: 0 });
  bench.lease(grantOf(2, 200, 400), { tag: 200 });
  const sent = (): ReturnType<typeof only<"sendSlice">> => only(bench.effects, "sendSlice");
  for (let at = 0; at < sent().length; at += 1) {
    const { worker, slice, start, end } = sent()[at]!;
    bench.feed({ kind: "sliceEnded", worker, slice, ended: end, busyMs: 20 * (end - start), cpuMs: 0 });
  }
  const starts = sent().map(({ start }) => start);
  expect(sent().at(-1)?.end).toBe(400);
  expect(starts.length).toBeGreaterThan(10);
  expect(starts).toEqual(starts.toSorted((a, b) => a - b));
});
