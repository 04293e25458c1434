// What a user gets wrong on the first day: each is one sentence that names what was given and what would do.

import { mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore } from "../support/command.ts";
import { codeOf, submit, taskFile, upTo } from "../support/jobs.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[], stdin = ""): Promise<Ended> =>
  everycore(args, { stdin, environment: cluster.environment, cwd: cluster.dir });

const square = `${taskFile("arithmetic.ts")}:square`;

/** No stack trace, no output, one or two lines. */
function expectSentence({ code, stdout, stderr }: Ended, exit: number, text: RegExp): void {
  expect(stderr).toMatch(text);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(stdout).toBe("");
  expect(code).toBe(exit);
}

describe("names that lead nowhere", () => {
  test("a file", async () =>
    expectSentence(await run(["map", "nowhere.ts", "--range", "0-1"]), 2, /there is no file nowhere\.ts/));
  test("an input file", async () =>
    expectSentence(await run(["map", square, "--items", "no.jsonl"]), 2, /there is no file no\.jsonl/));
  test("an export, with the one that was meant", async () => {
    expectSentence(
      await run(["map", `${taskFile("arithmetic.ts")}:sqare`, "--range", "0-1"]),
      2,
      /no export sqare\n.*did you mean square/,
    );
    const python = await run(["map", `${taskFile("plain.py")}:sqare`, "--range", "0-1"]);
    expect(python.stderr).toMatch(/sqare/);
    expect(python.stderr).toMatch(/square/);
    expect([1, 2]).toContain(python.code);
  });
  test("a runtime", async () => {
    await writeFile(cluster.path("task.rb"), "puts 1\n");
    expectSentence(
      await run(["map", "task.rb", "--range", "0-1"]),
      2,
      /task\.rb is neither JavaScript, TypeScript nor Python/,
    );
  });
  test("a job, for every verb", async () => {
    for (const verb of ["get", "wait", "results", "output", "cancel", "retry", "delete", "audit"]) {
      expectSentence(await run(["job", verb, "00000000000000000000"]), 2, /00000000000000000000/);
    }
    expectSentence(await run(["job", "get", "not-an-id"]), 2, /not-an-id/);
  });
  test("a node", async () => {
    for (const verb of ["get", "drain"])
      expectSentence(await run(["node", verb, "0000000000000000"]), 2, /0000000000000000/);
  });
  test("a prefix that fits several jobs is ambiguous", async () => {
    const ids = await Promise.all(
      upTo(40).map(() => submit(cluster.client, { task: "arithmetic.ts:noop", range: [0, 0] })),
    );
    const counts = new Map<string, number>();
    for (const id of ids) counts.set(id.slice(0, 1), (counts.get(id.slice(0, 1)) ?? 0) + 1);
    const [shared] = [...counts].find(([, count]) => count > 1)!;
    const { code, stderr } = await run(["job", "get", shared]);
    expect(stderr).toMatch(new RegExp(shared));
    expect(code).toBe(2);
  });
  test("a coordinator", async () => {
    const { code, stderr } = await everycore(["status"], {
      environment: { EVERYCORE_ADDRESS: "127.0.0.1:1", EVERYCORE_SECRET: "0".repeat(64) },
    });
    expect(stderr).toMatch(/127\.0\.0\.1:1/);
    expect(code).toBe(4);
  });
});

describe("a task that does not load is one failure of the job, not one per item", () => {
  test("a syntax error is said before anything is submitted, with file and line", async () => {
    await writeFile(cluster.path("syntax.ts"), "export default (n: number) => {\n  return n +;\n};\n");
    expectSentence(await run(["map", "syntax.ts", "--range", "0-1"]), 2, /syntax\.ts:2/);
    await writeFile(cluster.path("syntax.py"), "def run(n):\n    return n +\n");
    const python = await run(["map", "syntax.py:run", "--range", "0-1"]);
    expect(python.stderr).toMatch(/syntax\.py:2.*SyntaxError/);
    expect(python.code).toBe(2);
  });
  test("a missing import of TypeScript is said before anything is submitted", async () => {
    await writeFile(
      cluster.path("missing.ts"),
      'import { x } from "./nowhere.ts";\nexport default () => x;\n',
    );
    expectSentence(await run(["map", "missing.ts", "--range", "0-1"]), 2, /missing\.ts:1.*nowhere/);
  });
  for (const [task, text] of [
    ["no_load.ts:default", /this module cannot be loaded here/],
    ["no_load.py:run", /everycore_module_that_nobody_has/],
    ["dies_loading.ts:default", /./],
  ] as const) {
    test(`${task} fails the job once, whatever the number of items`, async () => {
      const job = await submit(cluster.client, { task, range: [0, 9_999] });
      const info = await cluster.client.waitJob(job, { timeoutMs: 30_000 });
      expect(info.state).toBe("failed");
      expect(info.reason).toMatch(text);
      expect(info.counts).toMatchObject({ error: 0, crash: 0, cancelled: 10_000 });
      const printed = await run(["job", "wait", job]);
      expect(printed.code).toBe(1);
      expect(printed.stdout).toMatch(text);
    });
  }
  test("the command says it in one sentence and exits 1", async () => {
    const { code, stderr } = await run(["map", taskFile("no_load.ts"), "--range", "0-99999"]);
    expect(stderr).toMatch(/this module cannot be loaded here/);
    expect(stderr.split("\n").length).toBeLessThan(40);
    expect(code).toBe(1);
  });
  test("an export that is no function", async () => {
    const job = await submit(cluster.client, { task: "failures.ts:notAFunction", range: [0, 99] });
    const info = await cluster.client.waitJob(job, { timeoutMs: 30_000 });
    expect(info).toMatchObject({ state: "failed", reason: expect.stringMatching(/notAFunction/) as string });
  });
});

describe("input", () => {
  test("a range backwards, a range that is none", async () => {
    expectSentence(await run(["map", square, "--range", "9-1"]), 2, /9-1 runs backwards\n.*1-9/);
    expectSentence(await run(["map", square, "--range", "all"]), 2, /"all" is not a range/);
    expectSentence(await run(["map", square, "--range", "0-9999999999999"]), 2, /9999999999999/);
  });
  test("no items, and items twice", async () => {
    expectSentence(await run(["map", square]), 2, /there are no items/);
    expectSentence(await run(["map", square, "--range", "0-1", "--items", "-"]), 2, /more than once/);
  });
  test("a broken JSON line is named by its number; the job is cancelled, not half done", async () => {
    const { code, stderr } = await run(["map", square, "--items", "-"], "1\n2\n{broken\n4\n");
    expect(stderr).toMatch(/line 3 of - is not JSON/);
    expect(code).toBe(2);
    const { jobs } = await cluster.client.listJobs({ limit: 1 });
    expect(["cancelled", "done"]).toContain(jobs[0]!.state);
    expect(await codeOf(cluster.client.getJob("ffffffffffffffffffff"))).toBe("not-found");
  });
  test("a folder instead of a file", async () => {
    await mkdir(cluster.path("folder"), { recursive: true });
    expectSentence(await run(["map", square, "--each-line", "folder"]), 2, /folder is a folder/);
  });
});

describe("flags", () => {
  test("an unknown flag or verb says what was meant", async () => {
    const flag = await run(["map", square, "--rnge", "0-1"]);
    expect(flag.stderr).toMatch(/--range/);
    expect(flag.code).toBe(2);
    const verb = await run(["jobs"]);
    expect(verb.stderr).toMatch(/job/);
    expect(verb.code).toBe(2);
  });
  test("values out of bounds", async () => {
    expectSentence(
      await run(["map", square, "--range", "0-1", "--retries", "5000"]),
      2,
      /--retries is "5000"/,
    );
    expectSentence(
      await run(["map", square, "--range", "0-1", "--item-timeout", "soon"]),
      2,
      /"soon" is not a duration/,
    );
    expectSentence(
      await run(["map", square, "--range", "0-1", "--seed", "lucky"]),
      2,
      /"lucky" is not a seed/,
    );
  });
});
