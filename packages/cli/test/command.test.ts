/** The real command as a process: usage errors, and map, run and job verbs against a coordinator that is ours. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FakeCoordinator } from "../../client/test/fake-coordinator.ts";
import type { FakeTask } from "../../client/test/fake-coordinator.ts";

const main = join(import.meta.dirname, "../src/main.ts");
const square = join(import.meta.dirname, "../../../examples/square.ts");

interface Place extends AsyncDisposable {
  readonly root: string;
  readonly environment: NodeJS.ProcessEnv;
}

/** A home of the test's own: no configuration, no running `up`. */
async function place(): Promise<Place> {
  const root = await mkdtemp(join(tmpdir(), "everycore-test-cli-"));
  const environment = {
    PATH: process.env["PATH"],
    HOME: root,
    XDG_RUNTIME_DIR: root,
    XDG_STATE_HOME: root,
    XDG_CONFIG_HOME: root,
    TMPDIR: root,
  };
  return { root, environment, [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }) };
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(at: Place, args: string[], environment: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [main, ...args], {
    cwd: at.root,
    env: { ...at.environment, ...environment },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const ended = new Promise<Ended>((resolve) =>
    child.once("close", (code) => resolve({ code, stdout, stderr })),
  );
  return { child, ended };
}

async function everycore(
  at: Place,
  args: string[],
  options: { environment?: NodeJS.ProcessEnv; input?: string } = {},
): Promise<Ended> {
  const { child, ended } = start(at, args, options.environment);
  child.stdin.end(options.input ?? "");
  return ended;
}

/** Environment in which the command finds the fake. */
const pointTo = (fake: FakeCoordinator): NodeJS.ProcessEnv => ({
  EVERYCORE_ADDRESS: fake.address,
  EVERYCORE_SECRET: fake.secret,
});

const usage: [string[], number, RegExp][] = [
  [["mpa"], 2, /Did you mean map/],
  [["job", "lits"], 2, /Did you mean list/],
  [["map", "x.ts", "--rnage", "1-2"], 2, /Did you mean --range/],
  [["map", square], 2, /there are no items/],
  [["map", square, "--range", "1-2", "--items", "-"], 2, /more than once/],
  [["map", square, "--range", "9-1"], 2, /backwards/],
  [["map", square, "--range", "1-2", "--strict"], 2, /only with --reduce/],
  [["map", square, "--range", "1-2", "--detach"], 4, /everycore up/],
  [["map", square, "--items", "missing.jsonl"], 2, /no file missing\.jsonl/],
  [["status"], 4, /everycore up/],
  [["job", "get"], 2, /missing required argument/],
  [["up", "--listen", "0.0.0.0:7070"], 2, /--insecure-network/],
  [["agent"], 4, /no secret/],
  [["config", "get", "adress"], 2, /did you mean address/],
  [["map", square, "--range", "1-2", "--address", "nowhere"], 2, /HOST:PORT/],
];

test.each(usage)("everycore %j ends with %i and says what to do", async (args, code, said) => {
  await using at = await place();
  const ended = await everycore(at, args);
  expect(ended.stderr).toMatch(said);
  expect(ended).toMatchObject({ code, stdout: "" });
});

test("every verb has help with an example", async () => {
  await using at = await place();
  const { stdout } = await everycore(at, ["--help"]);
  for (const verb of [
    "map",
    "run",
    "job",
    "node",
    "status",
    "up",
    "coordinator",
    "agent",
    "doctor",
    "version",
    "config",
  ]) {
    expect(stdout).toContain(`  ${verb}`);
  }
  const verbs = ["list", "get", "wait", "results", "output", "cancel", "retry", "delete", "audit"].map(
    (verb) => ["job", verb],
  );
  for (const args of [["map"], ["run"], ["up"], ["node", "drain"], ...verbs]) {
    expect((await everycore(at, [...args, "--help"])).stdout).toMatch(/Examples?:/);
  }
}, 60_000);

test("inside a task no cluster is started", async () => {
  await using at = await place();
  const ended = await everycore(at, ["map", square, "--range", "1-2"], {
    environment: { EVERYCORE_WORKER: "1" },
  });
  expect(ended).toMatchObject({ code: 4, stderr: expect.stringContaining("inside a task") as string });
});

test("an unreachable cluster is said with its address, exit 4", async () => {
  await using at = await place();
  const ended = await everycore(at, ["job", "get", "abcd"], {
    environment: { EVERYCORE_ADDRESS: "127.0.0.1:1", EVERYCORE_SECRET: "x".repeat(16) },
  });
  expect(ended).toMatchObject({ code: 4, stderr: expect.stringContaining("127.0.0.1:1") as string });
});

const odd: FakeTask = (item) => (Number(item) % 2 === 1 ? { json: item } : { error: `${item} is even` });

test("map prints a line for each item in order, failures too, and ends with 1", async () => {
  await using at = await place();
  await using fake = await new FakeCoordinator({ task: odd }).start();
  const ended = await everycore(at, ["map", square, "--range", "1-3"], { environment: pointTo(fake) });
  expect(
    ended.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([
    { index: 0, value: 1 },
    { index: 1, error: { kind: "error", name: "Error", message: "2 is even", node: "0123456789abcdef" } },
    { index: 2, value: 3 },
  ]);
  expect(ended.code).toBe(1);
});

test("--values prints bare values and skips failures; --out writes them to a file", async () => {
  await using at = await place();
  await using fake = await new FakeCoordinator({ task: odd }).start();
  const environment = pointTo(fake);
  expect(
    await everycore(at, ["map", square, "--items", "-", "--values"], { environment, input: "1\n2\n3\n" }),
  ).toMatchObject({ code: 1, stdout: "1\n3\n" });
  expect(
    await everycore(at, ["map", square, "--items", "-", "--out", "results"], { environment, input: "5\n" }),
  ).toMatchObject({ code: 0, stdout: "" });
  expect(await readFile(join(at.root, "results"), "utf8")).toBe('{"index":0,"value":5}\n');
});

test("no items are an empty job that ends well", async () => {
  await using at = await place();
  await using fake = await new FakeCoordinator().start();
  expect(await everycore(at, ["map", square, "--items", "-"], { environment: pointTo(fake) })).toEqual({
    code: 0,
    stdout: "",
    stderr: "",
  });
});

test("a broken line of the input cancels the job and names the line", async () => {
  await using at = await place();
  await using fake = await new FakeCoordinator().start();
  await writeFile(join(at.root, "items.jsonl"), "1\n2\n{oops\n");
  const ended = await everycore(at, ["map", square, "--items", "items.jsonl"], {
    environment: pointTo(fake),
  });
  expect(ended).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("line 3 of items.jsonl") as string,
  });
  expect([...fake.jobs.values()].map((job) => job.state)).toEqual(["cancelled"]);
});

test("--detach prints the id alone, and job wait and results go on from there", async () => {
  await using at = await place();
  await using fake = await new FakeCoordinator().start();
  const environment = pointTo(fake);
  const { stdout, code } = await everycore(at, ["map", square, "--range", "4-6", "--detach"], {
    environment,
  });
  expect({ code, id: stdout }).toEqual({ code: 0, id: expect.stringMatching(/^[0-9a-f]{20}\n$/) as string });
  const id = stdout.trim().slice(0, 8);
  expect(await everycore(at, ["job", "wait", id], { environment })).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("3 values") as string,
  });
  expect(
    await everycore(at, ["job", "results", id, "--from", "1", "--values"], { environment }),
  ).toMatchObject({ code: 0, stdout: "5\n6\n" });
});

test("one Ctrl-C cancels the job: exit 3", async () => {
  await using at = await place();
  await using fake = await new FakeCoordinator().start();
  const { child, ended } = start(at, ["map", square, "--items", "-"], pointTo(fake));
  child.stdin.write("1\n"); // and stays open
  child.stdout.once("data", () => child.kill("SIGINT"));
  expect(await ended).toMatchObject({ code: 3, stderr: expect.stringContaining("cancelled; 1") as string });
  expect([...fake.jobs.values()].map((job) => job.state)).toEqual(["cancelled"]);
});

test("a reader that has seen enough is no error", async () => {
  await using at = await place();
  await using fake = await new FakeCoordinator().start();
  const { child, ended } = start(at, ["map", square, "--range", "0-200000"], pointTo(fake));
  child.stdout.once("data", () => child.stdout.destroy());
  const { stderr, code } = await ended;
  expect(stderr).toBe("");
  expect([0, 3]).toContain(code);
});
