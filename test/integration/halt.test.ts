// `--halt` and `--joblog` of `run` and `map`, by the real command.

import { readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { Command, type Ended, everycore } from "../support/command.ts";
import { RunLog, taskFile } from "../support/jobs.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[]): Promise<Ended> =>
  everycore(args, { environment: cluster.environment, cwd: cluster.dir });

test("a joblog has a line for each item: host, run time, bytes, exit value, signal, command", async () => {
  await writeFile(cluster.path("words.txt"), "good\nbad\nkilled\n");
  const script = 'case $0 in bad) exit 7;; killed) kill -TERM $$;; *) echo "$0";; esac';
  const log = cluster.path("log.tsv");
  const { code } = await run(["run", "--each-line", "words.txt", "--joblog", log, "--", "sh", "-c", script]);
  expect(code).toBe(1);
  const [head, ...lines] = (await readFile(log, "utf8")).trimEnd().split("\n");
  expect(head).toBe("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand");
  const rows = lines.map((line) => line.split("\t"));
  expect(rows.map(([seq, host]) => [seq, host])).toEqual(["1", "2", "3"].map((seq) => [seq, hostname()]));
  expect(rows.map((row) => row.slice(4, 8))).toEqual([
    ["4", "5", "0", "0"],
    ["3", "0", "7", "0"],
    ["6", "0", "0", "15"],
  ]);
  expect(rows[0]![8]).toBe(`sh -c ${script} good`);
  for (const [, , start, ms] of rows) {
    expect(Math.abs(Number(start) - Date.now() / 1_000)).toBeLessThan(60);
    expect(Number(ms)).toBeLessThan(30);
  }
});

test("--halt now,fail=1 ends the job at its first failure, whatever runs; exit 1, and it says so", async () => {
  const log = new RunLog(cluster.dir, "now");
  const items = [{ poison: true }, ...Array.from({ length: 5 }, (_, n) => log.item(n, { isHeld: true }))];
  await writeFile(cluster.path("now.jsonl"), items.map((item) => `${JSON.stringify(item)}\n`).join(""));
  const { code, stderr, stdout, ms } = await run([
    ...["map", `${taskFile("recorded.ts")}:run`],
    ...["--items", "now.jsonl", "--halt", "now,fail=1"],
  ]);
  expect(code).toBe(1);
  expect(ms).toBeLessThan(30_000);
  expect(stderr).toMatch(/job [0-9a-f]{8} halted \(--halt now,fail=1\): 1 item failed, 5 were not run/);
  expect(stdout.trimEnd().split("\n").length).toBe(1);
});

test("--halt soon lets what runs come to its end and begins nothing more", async () => {
  const log = new RunLog(cluster.dir, "soon");
  const items = [{ poison: true }, ...Array.from({ length: 50 }, (_, n) => log.item(n, { ms: 300 }))];
  await writeFile(cluster.path("soon.jsonl"), items.map((item) => `${JSON.stringify(item)}\n`).join(""));
  const command = new Command(
    ["map", `${taskFile("recorded.ts")}:run`, "--items", "soon.jsonl", "--halt", "soon,fail=1"],
    { environment: cluster.environment, cwd: cluster.dir, stdin: "" },
  );
  const { code, stderr, stdout } = await command.end();
  expect(code).toBe(1);
  expect(stderr).toContain("halted (--halt soon,fail=1): 1 item failed");
  const begun = log.begun().length;
  expect(begun).toBeLessThan(50);
  expect(stdout.split("\n").filter((line) => line.includes('"value"')).length).toBe(begun);
});

test("--halt soon does so while the input is still coming too", async () => {
  const log = new RunLog(cluster.dir, "open");
  const command = new Command(
    ["map", `${taskFile("recorded.ts")}:run`, "--items", "-", "--halt", "soon,fail=1"],
    { environment: cluster.environment, cwd: cluster.dir },
  );
  const items = [{ poison: true }, ...Array.from({ length: 50 }, (_, n) => log.item(n, { ms: 300 }))];
  for (const item of items) command.process.stdin!.write(`${JSON.stringify(item)}\n`);
  const { code, stderr, stdout } = await command.end();
  command.process.stdin!.destroy();
  expect(code).toBe(1);
  expect(stderr).toContain("halted (--halt soon,fail=1): 1 item failed");
  const begun = log.begun().length;
  expect(begun).toBeLessThan(50);
  expect(stdout.split("\n").filter((line) => line.includes('"value"')).length).toBe(begun);
});

test("--halt and --joblog are refused where nobody follows the job, or nothing is to be logged", async () => {
  const square = `${taskFile("arithmetic.ts")}:square`;
  const base = ["map", square, "--range", "0-9"];
  expect((await run([...base, "--detach", "--halt", "now,fail=1"])).code).toBe(2);
  expect((await run([...base, "--halt", "later"])).stderr).toContain("does not say when to halt");
  expect((await run([...base, "--reduce", "add", "--joblog", "x.tsv"])).code).toBe(2);
});
