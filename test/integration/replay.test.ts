// `job replay`: one item of a job once more, here, by the same code, input and seed; nothing of it is recorded.

import { readdirSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { Command, type CommandOptions, type Ended, everycore } from "../support/command.ts";
import { RunLog, collect, submit } from "../support/jobs.ts";
import { processesOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 2 });
  await mkdir(cluster.path("tmp"));
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const options = (more: CommandOptions = {}): CommandOptions => ({
  ...more,
  environment: { ...cluster.environment, TMPDIR: cluster.path("tmp"), EVERYCORE_SECRET: cluster.secret },
});

const replay = (job: string, item: number, flags: string[] = [], more?: CommandOptions): Promise<Ended> =>
  everycore(["job", "replay", job, "--item", String(item), ...flags], options(more));

/** The line of an item as `job results` prints it, without the node that only the cluster knows. */
async function lineOf(job: string, item: number): Promise<string> {
  const { stdout } = await everycore(["job", "results", job, "--from", String(item)], options());
  return `${stdout.split("\n", 1)[0]}\n`.replace(/"node":"[0-9a-f]*"/, '"node":""');
}

const ended = async (job: string): Promise<string> => (await cluster.client.waitJob(job)).id;

test("an item of a range, of JSON lines and of text lines gives what it gave, random numbers included", async () => {
  const range = await ended(await submit(cluster.client, { task: "arithmetic.ts:random", range: [50, 60] }));
  const items = [{ deep: [1, "ü"] }, null, 2];
  const json = await ended(await submit(cluster.client, { task: "arithmetic.ts:identity", items }));
  const text = await ended(
    await submit(cluster.client, { task: ["echo", "[{}]"], items: ["a b", "", "c;d"] }),
  );
  const random = await replay(range, 7);
  expect(random).toMatchObject({ code: 0, stdout: await lineOf(range, 7) });
  expect(random.stderr).toBe(`item 7 of job ${range.slice(0, 8)}: the cluster has the same value\n`);
  for (const index of [0, 1, 2])
    expect(await replay(json, index)).toMatchObject({ code: 0, stdout: await lineOf(json, index) });
  expect(await replay(text, 2)).toMatchObject({ code: 0, stdout: "[c;d]\n" });
  expect(await replay(text, 1)).toMatchObject({ code: 0, stdout: "[]\n" });
});

test("Python: the same numbers, the same exception with its traceback", async () => {
  const dice = await ended(await submit(cluster.client, { task: "plain.py:dice", range: [0, 9] }));
  expect(await replay(dice, 4)).toMatchObject({ code: 0, stdout: await lineOf(dice, 4) });
  const odd = await ended(await submit(cluster.client, { task: "plain.py:odd", range: [0, 3] }));
  const { code, stdout, stderr } = await replay(odd, 3);
  expect({ code, stdout }).toEqual({ code: 1, stdout: await lineOf(odd, 3) });
  expect(stderr).toMatch(/plain\.py", line \d+, in odd/);
  expect(stderr).toContain("the cluster has the same error");
});

test("--pdb opens the debugger where the item raised", async () => {
  const job = await ended(await submit(cluster.client, { task: "plain.py:odd", range: [0, 3] }));
  const { code, stdout, stderr } = await replay(job, 1, ["--pdb"], { stdin: "p n * 1000\nq\n" });
  expect({ code, stdout }).toEqual({ code: 1, stdout: await lineOf(job, 1) });
  expect(stderr).toMatch(/\(Pdb\) 1000\n/);
});

test("--inspect-brk waits for a debugger and stops in front of the task", async () => {
  const job = await ended(await submit(cluster.client, { task: "arithmetic.ts:square", range: [0, 3] }));
  const args = ["job", "replay", job, "--item", "3", "--inspect-brk", "--inspect-port", "0"];
  const command = new Command(args, options({ stdin: "" }));
  const url = (): string | undefined => /ws:\/\/\S+/.exec(command.stderr)?.[0];
  await until(() => url() !== undefined, { what: "the inspector to listen" });
  const socket = new WebSocket(url()!);
  const send = (id: number, method: string): void => socket.send(JSON.stringify({ id, method }));
  const stopped = Promise.withResolvers<string>();
  socket.addEventListener("message", ({ data }) => {
    const { method, params } = JSON.parse(String(data)) as {
      method?: string;
      params: { callFrames: { functionName: string }[] };
    };
    if (method === "Debugger.paused") stopped.resolve(params.callFrames[1]!.functionName);
  });
  socket.addEventListener("open", () => {
    send(1, "Debugger.enable");
    send(2, "Runtime.runIfWaitingForDebugger");
  });
  expect(await stopped.promise).toBe("run"); // of the host's runner: the next step is into the task
  expect(command.stdout).toBe("");
  send(3, "Debugger.resume");
  await until(() => command.stdout !== "", { what: "the item to go on" });
  socket.close();
  expect(await command.end()).toMatchObject({ code: 0, stdout: '{"index":3,"value":9}\n' });
});

test("a program: its exit code, what it printed, and its environment", async () => {
  const script = 'echo "$1 $COLOR"; echo complaint >&2; test "$1" != b';
  const env = { PATH: process.env["PATH"]!, COLOR: "blue" };
  const task = ["sh", "-c", script, "sh", "{}"];
  const job = await ended(await submit(cluster.client, { task, items: ["a", "b"], env }));
  expect(await replay(job, 0)).toMatchObject({ code: 0, stdout: "a blue\n" });
  const failed = await replay(job, 1);
  expect(failed).toMatchObject({ code: 1, stdout: "b blue\n" });
  expect(failed.stderr).toBe(
    `complaint\nitem 1: exit code 1\nitem 1 of job ${job.slice(0, 8)}: the cluster has the same error\n`,
  );
});

test("an item that kills its worker does it again here, and the command lives", async () => {
  const job = await ended(await submit(cluster.client, { task: "deaths.ts:segfault", range: [0, 7] }));
  const { code, stdout, stderr } = await replay(job, 5);
  expect(code).toBe(1);
  expect(stdout).toContain('"kind":"crash"');
  expect(stdout).toContain("killed by SIGSEGV");
  expect(stderr).toContain("about to touch memory that is not mine");
  expect(stderr).toContain("the cluster has the same crash");
});

test("one try, whatever the job's retries: what a retry has saved shows its first face", async () => {
  const log = new RunLog(cluster.dir, "flaky");
  const failures = cluster.path("flaky.failed");
  const items = [{ ...log.item(0), failures }];
  const job = await submit(cluster.client, { task: "recorded.ts:flaky", items, retries: 2 });
  expect((await collect(cluster.client, job)).info).toMatchObject({ retries: 1, counts: { value: 1 } });
  expect(await replay(job, 0)).toMatchObject({ code: 0, stdout: '{"index":0,"value":0}\n' });
  expect(log.begun()).toEqual([0, 0, 0]); // its two tries on the cluster, and one here
});

test("while the job runs, with an item that never ends: --timeout ends it here, Ctrl-C leaves", async () => {
  const job = await submit(cluster.client, { task: "failures.ts:stuck", range: [0, 3] });
  expect(await replay(job, 2)).toMatchObject({ code: 0, stdout: '{"index":2,"value":2}\n' });
  const late = await replay(job, 3, ["--timeout", "300ms"]);
  expect(late.code).toBe(1);
  expect(late.stdout).toContain('"kind":"timeout"');
  expect(late.stderr).toContain("the cluster has no outcome of it yet");
  const hosts = () => processesOf(cluster.path("tmp")).filter(({ command }) => command.includes("js-host"));
  const command = new Command(["job", "replay", job, "--item", "3"], options({ stdin: "" }));
  await until(() => hosts().length > 0, { what: "the item to run" });
  command.pressCtrlC();
  expect(await command.end()).toMatchObject({ code: 130, stdout: "" });
  expect(hosts()).toEqual([]);
  await cluster.client.cancelJob(job, "the test is over");
  await cluster.client.waitJob(job);
});

test("an item of a reduction is run by itself; the reduction has no input", async () => {
  const reduce = { task: "arithmetic.ts:square", reduce: "add", range: [1, 10] as const };
  const job = await ended(await submit(cluster.client, reduce));
  const { code, stdout, stderr } = await replay(job, 3);
  expect({ code, stdout }).toEqual({ code: 0, stdout: '{"index":3,"value":16}\n' });
  expect(stderr).toContain("it went into the reduction");
  expect(await replay(job, 10)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("is its reduction") as string,
  });
});

test("a large item arrives whole", async () => {
  const items = ["x", "y".repeat(3_000_000)];
  const job = await ended(await submit(cluster.client, { task: "arithmetic.ts:lengthOf", items }));
  expect(await replay(job, 1)).toMatchObject({ code: 0, stdout: '{"index":1,"value":3000000}\n' });
});

test("a task that cannot be loaded says so, and what it needs is named", async () => {
  const job = await submit(cluster.client, { task: "dies_loading.ts", range: [0, 3] });
  expect((await cluster.client.waitJob(job)).state).toBe("failed");
  const { code, stdout, stderr } = await replay(job, 1);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain("cannot be loaded here");
});

test("no such job, no such item, a debugger of another language: one sentence and exit 2", async () => {
  const job = await ended(await submit(cluster.client, { task: "arithmetic.ts:square", range: [0, 3] }));
  const none = await replay(job, 4);
  expect(none).toMatchObject({ code: 2, stdout: "" });
  expect(none.stderr).toBe(
    `everycore: job ${job.slice(0, 8)} has 4 items and no item 4\n  hint: its items are 0 to 3\n`,
  );
  expect(await replay("ffffffff", 0)).toMatchObject({ code: 2, stdout: "" });
  expect((await replay(job, 0, ["--pdb"])).stderr).toContain("--pdb means something only for Python tasks");
  expect((await replay(job, 0, ["--inspect-port", "9"])).code).toBe(2);
});

test("a coordinator that was started again still has the item; nothing is left behind here", async () => {
  const job = await ended(
    await submit(cluster.client, { task: "arithmetic.ts:identity", items: [[7], "b"] }),
  );
  await cluster.restartCoordinator();
  expect(await replay(job, 0)).toMatchObject({ code: 0, stdout: '{"index":0,"value":[7]}\n' });
  expect(await cluster.client.getJob(job)).toMatchObject({ counts: { value: 2 }, round: 0, leasesSent: 0 });
  expect(readdirSync(cluster.path("tmp"))).toEqual([]);
});
