// How results are printed and read in: flags of output, stdin, live pipes, exit codes.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { Command, type Ended, everycore, jsonLines } from "../support/command.ts";
import { taskFile, upTo } from "../support/jobs.ts";
import { until } from "../support/until.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 2 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[], stdin = ""): Promise<Ended> =>
  everycore(args, { stdin, environment: cluster.environment, cwd: cluster.dir });

const square = `${taskFile("arithmetic.ts")}:square`;
const odd = `${taskFile("failures.ts")}:odd`;

test("failed items stand in their place as errors with kind, name, message and node; exit 1", async () => {
  const { code, stdout, stderr } = await run(["map", odd, "--range", "0-3"]);
  const node = cluster.agents[0]!.node;
  expect(jsonLines(stdout)).toEqual([
    { index: 0, value: 0 },
    { index: 1, error: { kind: "error", name: "RangeError", message: "1 is odd", node } },
    { index: 2, value: 2 },
    { index: 3, error: { kind: "error", name: "RangeError", message: "3 is odd", node } },
  ]);
  // The first one's trace, in the user's own frames: a result line has no room for it.
  expect(stderr).toMatch(
    /^2 of 4 items failed \(2 error\); the first is item 1:\n {2}RangeError: 1 is odd\n {6}at \S*odd \(failures\.ts:6:\d+\)\n {2}run it here: everycore job replay [0-9a-f]{8} --item 1\n$/,
  );
  expect(code).toBe(1);
});

test("--values prints bare values and skips failures, which still make the exit code 1", async () => {
  const { code, stdout } = await run(["map", odd, "--range", "0-5", "--values"]);
  expect(stdout).toBe("0\n2\n4\n");
  expect(code).toBe(1);
});

test("--quiet leaves stderr empty", async () => {
  const { code, stderr } = await run(["map", odd, "--range", "0-3", "--quiet"]);
  expect(stderr).toBe("");
  expect(code).toBe(1);
});

test("--unordered prints every item once, in whatever order", async () => {
  const { code, stdout } = await run(["map", square, "--range", "0-99", "--unordered"]);
  const lines = jsonLines(stdout) as { index: number; value: number }[];
  expect(lines.toSorted((left, right) => left.index - right.index)).toEqual(
    upTo(100).map((n) => ({ index: n, value: n * n })),
  );
  expect(code).toBe(0);
});

test("--out writes the same lines to a file and nothing to stdout", async () => {
  const { code, stdout } = await run(["map", square, "--range", "1-2", "--out", "results.jsonl"]);
  expect(stdout).toBe("");
  expect(await readFile(cluster.path("results.jsonl"), "utf8")).toBe(
    '{"index":0,"value":1}\n{"index":1,"value":4}\n',
  );
  expect(code).toBe(0);
});

test("items are read from a file and from stdin alike; blank lines between JSON values are skipped", async () => {
  await writeFile(cluster.path("items.jsonl"), '2\n\n{"a":[1,null]}\n"text"');
  const identity = `${taskFile("arithmetic.ts")}:identity`;
  const expected = '2\n{"a":[1,null]}\n"text"\n';
  const fromFile = await run(["map", identity, "--items", "items.jsonl", "--values"]);
  expect(fromFile.stdout).toBe(expected);
  const fromStdin = await run(["map", identity, "--items", "-", "--values"], '2\n\n{"a":[1,null]}\n"text"');
  expect(fromStdin.stdout).toBe(expected);
});

test("a live pipe gets its results while it is still open", async () => {
  const command = new Command(["map", square, "--items", "-"], { environment: cluster.environment });
  command.process.stdin!.write("3\n");
  await command.prints('{"index":0,"value":9}\n');
  command.process.stdin!.write("4\n5\n");
  await command.prints('{"index":2,"value":25}\n');
  command.process.stdin!.end("6\n");
  const { code, stdout } = await command.end();
  expect(jsonLines(stdout)).toHaveLength(4);
  expect(code).toBe(0);
});

test("empty input is an empty, successful job", async () => {
  for (const flag of ["--items", "--each-line"]) {
    const { code, stdout, stderr } = await run(["map", square, flag, "-"]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "", stderr: "" });
  }
  await writeFile(cluster.path("empty.txt"), "");
  const program = await run(["run", "--each-line", "empty.txt", "--", "echo", "{}"]);
  expect(program).toMatchObject({ code: 0, stdout: "" });
});

test("a reader that has seen enough ends the command without an error", async () => {
  const command = new Command(["map", square, "--range", "0-1999999", "--values"], {
    environment: cluster.environment,
    stdin: "",
  });
  await command.prints("1\n");
  command.process.stdout!.destroy();
  const { code, signal } = await command.end();
  expect(signal).toBeNull();
  expect([0, 1, 3]).toContain(code);
  const { jobs } = await cluster.client.listJobs({ state: "running" });
  expect(jobs).toEqual([]); // whoever reads our output no more wants the job no more
});

test("bytes, huge integers and infinities are spelled out, so that every line is JSON", async () => {
  await writeFile(
    cluster.path("kinds.ts"),
    `const kinds = [new Uint8Array([1, 2]), 2n ** 60n, Number.NaN, -Infinity, -0, [new Uint8Array([3])], null, undefined];
     export default (n: number) => kinds[n];`,
  );
  const { stdout, code } = await run(["map", "kinds.ts", "--range", "0-7", "--values"]);
  const [bytes, big, nan, infinity, zero, nested, nothing, absent] = jsonLines(stdout);
  expect(bytes).toEqual({ $bytes: "AQI=" });
  expect(big).toEqual({ $num: String(2n ** 60n) });
  expect(nan).toEqual({ $num: "NaN" });
  expect(infinity).toEqual({ $num: "-Infinity" });
  expect(zero === 0).toBe(true);
  expect(nested).toEqual([{ $bytes: "Aw==" }]);
  expect(nothing).toBeNull();
  expect(absent).toBeNull();
  expect(code).toBe(0);
});

test("the same seed gives the same random numbers, another seed others", async () => {
  const random = `${taskFile("arithmetic.ts")}:random`;
  const once = async (seed: string) => (await run(["map", random, "--range", "0-9", "--seed", seed])).stdout;
  const [first, second, other] = [await once("7"), await once("7"), await once("8")];
  expect(second).toBe(first);
  expect(other).not.toBe(first);
  expect(
    new Set(jsonLines(first).map((line) => JSON.stringify((line as { value: unknown }).value))).size,
  ).toBe(10);
});

test("what a task prints without ever yielding is all there, and what is printed before a crash too", async () => {
  const task = join(cluster.dir, "prints.ts");
  await writeFile(
    task,
    `export default (n: number) => {
  process.stdout.write("x".repeat(1_000_000));
  process.stderr.write("y".repeat(300_000));
  if (n === 3) process.abort();
};
`,
  );
  const ended = await run(["map", task, "--range", "0-7", "--values", "--detach"]);
  const job = ended.stdout.trim();
  expect((await run(["job", "wait", job])).code).toBe(1);
  // Item 3 was tried twice.
  const wanted = { x: 9_000_000, y: 2_700_000 };
  await until(
    async () => {
      const { stdout, stderr } = await run(["job", "output", job]);
      const count = (letter: string): number => (stdout + stderr).split(letter).length - 1;
      const printed = { x: count("x"), y: count("y") };
      return printed.x >= wanted.x && printed.y >= wanted.y ? printed : undefined;
    },
    { what: "all that was printed" },
  );
});
