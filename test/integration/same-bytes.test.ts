// P6: same job, same results. Reductions combine in a fixed tree and random streams are seeded by item, so that one
// slot, four slots, and four slots with a crash in between give the same bytes.

import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { everycore } from "../support/command.ts";
import { RunLog, submit, taskFile, upTo } from "../support/jobs.ts";

const count = 5_000;

async function reductionOf(cluster: TestCluster, job: string): Promise<string> {
  const info = await cluster.client.waitJob(job, { timeoutMs: 60_000 });
  expect(info).toMatchObject({ state: "done", missing: 0 });
  for await (const outcome of cluster.client.results(job, { from: info.total, follow: false })) {
    expect(outcome.index).toBe(info.total);
    return outcome.payload.toString("hex");
  }
  throw new Error("the reduction has no outcome");
}

/** The same sum in plain order: what the tree's bytes would be if it were no tree. */
const plainSum = (): number => upTo(count).reduce((sum, n) => sum + 1 / (n * n + 1) + Math.sin(n) * 1e10, 0);

test("a floating-point reduction has the same bytes on 1 slot and on 4", async () => {
  const reduce = { task: "arithmetic.ts:fraction", reduce: "add", range: [0, count - 1] as const };
  await using one = await startCluster({ agents: 1, slots: 1 });
  const alone = await reductionOf(one, await submit(one.client, reduce));
  await using four = await startCluster({ agents: 2, slots: 2 });
  const together = await reductionOf(four, await submit(four.client, reduce));
  expect(together).toBe(alone);
  const again = await reductionOf(four, await submit(four.client, reduce));
  expect(again).toBe(alone);
  const value = Buffer.from(alone, "hex").subarray(1).readDoubleBE(0);
  expect(value).toBeCloseTo(plainSum(), -4); // the same number but for the order of its additions
});

test("the same with a worker that crashes in between", async () => {
  const items = (log: RunLog, failures?: string) =>
    upTo(200).map((index) => ({
      ...log.item(index),
      ...(failures !== undefined && index === 77 ? { failures } : {}),
    }));
  await using one = await startCluster({ agents: 1, slots: 1 });
  const calm = { task: "recorded.ts:fraction", reduce: "add", items: items(new RunLog(one.dir)) };
  const alone = await reductionOf(one, await submit(one.client, calm));
  await using four = await startCluster({ agents: 2, slots: 2 });
  const crashing = { ...calm, items: items(new RunLog(four.dir), four.path("crashed.once")) };
  const job = await submit(four.client, crashing);
  expect(await reductionOf(four, job)).toBe(alone);
  expect((await four.client.getJob(job)).strikes).toBe(1);
});

test("a Python reduction has the same bytes on 1 slot and on 4", async () => {
  const reduce = { task: "plain.py:fraction", reduce: "add", range: [0, count - 1] as const };
  await using one = await startCluster({ agents: 1, slots: 1 });
  const alone = await reductionOf(one, await submit(one.client, reduce));
  await using four = await startCluster({ agents: 2, slots: 2 });
  expect(await reductionOf(four, await submit(four.client, reduce))).toBe(alone);
});

test("seeded random numbers depend on seed and item alone, in TypeScript and in Python", async () => {
  const print = async (cluster: TestCluster, task: string): Promise<string> => {
    const args = ["map", taskFile(task), "--range", "0-299", "--seed", "42", "--values"];
    const { code, stdout } = await everycore(args, { environment: cluster.environment });
    expect(code).toBe(0);
    return stdout;
  };
  await using one = await startCluster({ agents: 1, slots: 1 });
  const [script, python] = [await print(one, "arithmetic.ts:random"), await print(one, "plain.py:dice")];
  await using four = await startCluster({ agents: 2, slots: 2 });
  expect(await print(four, "arithmetic.ts:random")).toBe(script);
  expect(await print(four, "plain.py:dice")).toBe(python);
  expect(new Set(script.split("\n")).size).toBe(301);
});

test("a reduction skips failed items, says how many are missing, and exits 1; --strict fails the job", async () => {
  await using cluster = await startCluster({ slots: 2 });
  const { environment } = cluster;
  const task = `${cluster.dir}/mixed.ts`;
  await writeFile(
    task,
    "export const even = (n: number) => { if (n % 2 === 1) throw new Error('odd'); return n; };\nexport const add = (a: number, b: number) => a + b;\n",
  );
  const lenient = await everycore(["map", `${task}:even`, "--range", "0-9", "--reduce", "add"], {
    environment,
  });
  expect(lenient.stdout).toBe('{"value":20,"missing":5}\n');
  expect(lenient.code).toBe(1);
  const crash = `${cluster.dir}/crashing.ts`;
  await writeFile(
    crash,
    "export const most = (n: number) => (n === 3 ? process.kill(process.pid, 'SIGKILL') : n);\nexport const add = (a: number, b: number) => a + b;\n",
  );
  const crashed = await everycore(["map", `${crash}:most`, "--range", "0-9", "--reduce", "add"], {
    environment,
  });
  expect(crashed.stdout).toBe('{"value":42,"missing":1}\n');
  expect(crashed.code).toBe(1);
  const strict = await everycore(["map", `${task}:even`, "--range", "0-9", "--reduce", "add", "--strict"], {
    environment,
  });
  expect(strict.code).toBe(1);
  expect(strict.stdout).toBe("");
  expect(strict.stderr).toMatch(/failed/);
});

test("a reduction of one item is that item, of none is null", async () => {
  await using cluster = await startCluster({ slots: 1 });
  const { environment } = cluster;
  const reduce = ["map", `${taskFile("arithmetic.ts")}:square`, "--reduce", "add", "--values"];
  const single = await everycore([...reduce, "--range", "7-7"], { environment });
  expect(single).toMatchObject({ stdout: "49\n", code: 0 });
  const thousand = await everycore([...reduce, "--range", "1-1000"], { environment });
  expect(thousand).toMatchObject({ stdout: "333833500\n", code: 0 });
  const none = await everycore(
    ["map", `${taskFile("arithmetic.ts")}:square`, "--reduce", "add", "--items", "-"],
    { environment },
  );
  expect(none).toMatchObject({ stdout: '{"value":null,"missing":0}\n', code: 0 });
});
