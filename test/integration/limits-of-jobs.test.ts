// `--max-failures` and `--job-timeout`: kept by the cluster, for detached jobs too, over the death of its coordinator.

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { connect } from "@everycore/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore, jsonLines } from "../support/command.ts";
import { RunLog, taskFile } from "../support/jobs.ts";
import { until } from "../support/until.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[]): Promise<Ended> =>
  everycore(args, { environment: cluster.environment, cwd: cluster.dir });

async function detached(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run([...args, "--detach"]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return stdout.trim();
}

async function writeItems(name: string, items: readonly unknown[]): Promise<string> {
  await writeFile(cluster.path(name), items.map((item) => `${JSON.stringify(item)}\n`).join(""));
  return name;
}

const stuck = `${taskFile("failures.ts")}:stuckForEver`;

test("--max-failures ends a detached job as failed, naming the limit and the first failure; exit 1", async () => {
  const items = [1, 2, 3, ...Array.from({ length: 200 }, () => "stuck")];
  await writeFile(
    cluster.path("fails.ts"),
    `export default async (n: number | string) => { if (n === "stuck") await new Promise((done) => setTimeout(done, 600_000)); throw new Error("no"); };`,
  );
  const id = await detached([
    ...["map", "fails.ts", "--items", await writeItems("fails.jsonl", items)],
    ...["--max-failures", "2"],
  ]);
  const waited = await run(["job", "wait", id, "--timeout", "60s"]);
  expect(waited.code).toBe(1);
  expect(waited.stdout).toBe(
    `job ${id.slice(0, 8)} failed (3 of 203 items failed, more than --max-failures 2; the first is item 0 (error)): 0 values, 3 error, 200 cancelled\n`,
  );
  const shown = await run(["job", "get", id]);
  expect(shown.stdout).toMatch(/^limits +fails when more than 2 of its items do$/m);
  expect(JSON.parse((await run(["job", "audit", id, "-o", "json"])).stdout)).toMatchObject({ closed: true });
});

test("map says the same on stderr; as many failures as may be change nothing", async () => {
  const odd = `${taskFile("failures.ts")}:odd`;
  const failed = await run(["map", odd, "--range", "0-19", "--max-failures", "20%"]);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toMatch(
    /^everycore: job [0-9a-f]{8} failed: \d+ of 20 items failed, more than --max-failures 20%; the first is item 1 \(error\)$/m,
  );
  const passed = await run(["map", odd, "--range", "0-19", "--max-failures", "10"]);
  expect(passed.code).toBe(1);
  expect(passed.stderr).toContain("10 of 20 items failed (10 error)");
});

test("--job-timeout: what ended stays, the rest expires, and a retry runs it; exit 3", async () => {
  const log = new RunLog(cluster.dir, "expiring");
  const items = [log.item(0), log.item(1, { isHeld: true }), log.item(2, { isHeld: true })];
  const ended = await run([
    ...["map", `${taskFile("recorded.ts")}:run`, "--items", await writeItems("expiring.jsonl", items)],
    ...["--job-timeout", "2s"],
  ]);
  expect(ended.code).toBe(3);
  expect(ended.ms).toBeGreaterThan(2_000);
  expect(ended.stderr).toMatch(
    /^everycore: job [0-9a-f]{8} expired after 2\.\d s \(--job-timeout\); 1 of 3 items had ended$/m,
  );
  expect(jsonLines(ended.stdout)).toMatchObject([
    { index: 0, value: 0 },
    { index: 1, error: { kind: "expired" } },
    { index: 2, error: { kind: "expired" } },
  ]);
  const id = /job ([0-9a-f]{8})/.exec(ended.stderr)![1]!;
  log.open();
  expect((await run(["job", "retry", id])).code).toBe(0);
  const again = await run(["job", "wait", id, "--timeout", "60s"]);
  expect(again).toMatchObject({ code: 0, stdout: `job ${id} done: 3 values\n` });
});

test("a coordinator that dies neither shortens nor doubles a detached job's time", async () => {
  const id = await detached(["map", stuck, "--range", "0-3", "--job-timeout", "12s"]);
  const stored = async (): Promise<number> => (await cluster.client.getJob(id)).ranMs;
  await until(async () => (await stored()) >= 6_000, { what: "six seconds of it", withinMs: 30_000 });
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  // Stored at least each 5 s: it does not begin anew, and nothing is added for the time that nobody led.
  const after = await stored();
  expect(after).toBeGreaterThanOrEqual(5_000);
  expect(after).toBeLessThan(9_000);
  const info = await cluster.client.waitJob(id, { timeoutMs: 60_000 });
  expect(info).toMatchObject({ state: "cancelled", counts: { expired: 4 } });
  expect(info.ranMs).toBeGreaterThanOrEqual(12_000);
  expect(info.ranMs).toBeLessThan(13_000);
});

test("--retry-delay: tries of an item lie apart, doubled, while its neighbours go on at once", async () => {
  const times = cluster.path("tries.log");
  await writeFile(
    cluster.path("tries.ts"),
    `import { appendFileSync } from "node:fs";
     export default (n: number) => { appendFileSync(${JSON.stringify(times)}, n + " " + Date.now() + "\\n"); if (n === 0) throw new Error("down"); return n; };`,
  );
  const ended = await run([
    ...["map", "tries.ts", "--range", "0-40", "--unordered"],
    ...["--retries", "2", "--retry-delay", "1s"],
  ]);
  expect(ended.code).toBe(1);
  const lines = (await readFile(times, "utf8")).trim().split("\n");
  const tries = lines.map((line) => line.split(" ").map(Number) as [number, number]);
  const [first, second, third] = tries.filter(([n]) => n === 0).map(([, at]) => at);
  expect(second! - first!).toBeGreaterThanOrEqual(500);
  expect(third! - second!).toBeGreaterThanOrEqual(1_000);
  expect(third! - first!).toBeLessThan(10_000);
  // Its 40 neighbours had ended before it was tried again.
  expect(tries.findLastIndex(([n]) => n > 0)).toBeLessThan(lines.length - 1);
  expect(tries.filter(([n, at]) => n > 0 && at > third!)).toEqual([]);
});

test("flags that cannot be meant are refused, before anything starts", async () => {
  const map = ["map", stuck, "--range", "0-3"];
  for (const [flag, value, words] of [
    ["--max-failures", "many", "not a number of items or a share"],
    ["--max-failures", "100%", "below 100%"],
    ["--max-failures", "-1", "not a number of items or a share"],
    ["--job-timeout", "0", "--job-timeout must be more than 0"],
    ["--job-timeout", "soon", '"soon" is not a duration'],
    ["--audit", "0", "not a share of the items"],
    ["--audit", "150%", "not a share of the items"],
    ["--audit", "5", "not a share of the items"],
  ] as const) {
    const { code, stderr, stdout } = await run([...map, `${flag}=${value}`]);
    expect(code, `${flag} ${value}`).toBe(2);
    expect(stderr).toContain(words);
    expect(stdout).toBe("");
  }
  for (const given of [["--job-timeout", "1s"], ["--audit", "1%"], ["--speculate"]]) {
    const { code, stderr } = await run([...map, "--inline", ...given]);
    expect(code).toBe(2);
    expect(stderr).toContain(`${given[0]!} does not go with --inline`);
  }
  const reduced = await run([
    "map",
    taskFile("arithmetic.ts"),
    "--reduce",
    "add",
    "--range",
    "0-3",
    "--audit",
    "1%",
  ]);
  expect(reduced.code).toBe(2);
  expect(reduced.stderr).toContain("--audit does not go with --reduce");
});

test("the client's options do the same, and their errors say so", async () => {
  await using client = await connect({ address: cluster.address, secretFile: cluster.path("secret") });
  const tasks = pathToFileURL(taskFile("failures.ts"));
  const failing = client.map(tasks, "odd", [1, 3, 5, 7], { maxFailures: 1 });
  await expect(Array.fromAsync(failing.outcomes())).rejects.toMatchObject({
    name: "JobFailedError",
    message: expect.stringMatching(/failed: \d of 4 items failed, more than --max-failures 1/) as string,
  });
  const slow = client.map(tasks, "stuckForEver", [1], { jobTimeoutMs: 500 });
  await expect(slow.all()).rejects.toMatchObject({
    name: "JobCancelledError",
    message: expect.stringContaining("its time is over") as string,
  });
  await expect(
    (async () => client.map(tasks, "odd", [1], { maxFailures: -1 }).all())(),
  ).rejects.toMatchObject({
    code: "bad-input",
  });
});
