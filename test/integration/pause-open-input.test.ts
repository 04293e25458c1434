// `job pause` of a job whose input is still coming, by the real command: what comes is stored and waits, nothing of it
// begins, a killed coordinator keeps both, and there is a bound to what comes.

import { afterAll, beforeAll, expect, test } from "vitest";
import { connect, taskModule } from "@everycore/client";
import { pathToFileURL } from "node:url";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { Command, type Ended, everycore, jsonLines } from "../support/command.ts";
import { RunLog, codeOf, taskFile, upTo } from "../support/jobs.ts";
import type * as arithmeticModule from "../support/tasks/arithmetic.ts";
import { until } from "../support/until.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[]): Promise<Ended> =>
  everycore(args, { environment: cluster.environment });

async function jobNamed(name: string): Promise<string> {
  let id: string | undefined;
  const isThere = async (): Promise<boolean> => {
    const { jobs } = await cluster.client.listJobs();
    id = jobs.find((job) => job.name === name)?.id;
    return id !== undefined;
  };
  await until(isThere, { what: `job ${name} to be there` });
  return id!;
}

const hasTaken = (id: string, items: number): Promise<unknown> =>
  until(async () => (await cluster.client.getJob(id)).appended === items, {
    what: `${items} items of job ${id} to be stored`,
    withinMs: 30_000,
  });

const holdsNothing = (id: string): Promise<unknown> =>
  until(async () => (await cluster.client.getJob(id)).leased === 0, { what: `nothing of job ${id} to run` });

const map = (name: string, task: string, input: readonly string[]): Command =>
  new Command(["map", taskFile(task), "--name", name, ...input], { environment: cluster.environment });

test("input that comes while the job is paused waits, also through a killed coordinator, and then runs once", async () => {
  const log = new RunLog(cluster.dir, "open");
  const command = map("open", "recorded.ts:run", ["--items", "-"]);
  const write = (from: number, to: number): void => {
    for (let n = from; n < to; n += 1) command.process.stdin!.write(`${JSON.stringify(log.item(n))}\n`);
  };
  write(0, 5);
  const id = await jobNamed("open");
  await command.prints('{"index":4,"value":4}\n');
  const paused = await run(["job", "pause", id.slice(0, 8)]);
  expect(paused).toMatchObject({ code: 0, stdout: `job ${id.slice(0, 8)} paused\n` });
  write(5, 20);
  await hasTaken(id, 20);
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  await until(() => codeOf(cluster.client.getJob(id)).then((code) => code === "no error"), {
    what: "the new leader to know the job",
  });
  write(20, 30);
  await hasTaken(id, 30);
  expect(await cluster.client.getJob(id)).toMatchObject({ state: "paused", leased: 0 });
  expect((await run(["job", "get", id, "--explain"])).stdout).toMatch(/input +open: 30 items so far\n/);
  expect(log.begun()).toEqual(upTo(5));
  expect(await run(["job", "resume", id])).toMatchObject({
    code: 0,
    stdout: `job ${id.slice(0, 8)} accepting\n`,
  });
  await command.prints('{"index":29,"value":29}\n');
  command.process.stdin!.end(`${JSON.stringify(log.item(30))}\n`);
  const { code, stdout, stderr } = await command.end();
  expect(stderr).not.toContain("cancelled");
  expect(code).toBe(0);
  expect(jsonLines(stdout).length).toBe(31);
  expect(log.begun()).toEqual(upTo(31));
  expect((await run(["job", "audit", id])).code).toBe(0);
});

test("its input may end while it is paused; it is cancelled while its input is open", async () => {
  const ended = map("ended", "arithmetic.ts:square", ["--items", "-"]);
  ended.process.stdin!.write("1\n");
  const first = await jobNamed("ended");
  await ended.prints('{"index":0,"value":1}\n');
  expect((await run(["job", "pause", first])).code).toBe(0);
  ended.process.stdin!.end("2\n3\n");
  await until(async () => (await cluster.client.getJob(first)).total === 3, {
    what: "its input to be complete",
  });
  expect((await cluster.client.getJob(first)).state).toBe("paused");
  expect((await run(["job", "resume", first])).stdout).toMatch(/ (running|done)\n$/);
  expect(await ended.end()).toMatchObject({ code: 0 });

  const open = map("cancelled", "arithmetic.ts:square", ["--items", "-"]);
  open.process.stdin!.write("1\n");
  const second = await jobNamed("cancelled");
  await open.prints('{"index":0,"value":1}\n');
  expect((await run(["job", "pause", second])).code).toBe(0);
  open.process.stdin!.write("2\n");
  await hasTaken(second, 2);
  expect((await run(["job", "cancel", second])).code).toBe(0);
  expect(await open.end()).toMatchObject({ code: 3 });
  open.process.stdin!.destroy();
});

test("Ctrl-C of a command whose job is paused frees it at once", async () => {
  const command = map("left", "arithmetic.ts:square", ["--items", "-"]);
  command.process.stdin!.write("1\n");
  const id = await jobNamed("left");
  await command.prints('{"index":0,"value":1}\n');
  expect((await run(["job", "pause", id])).code).toBe(0);
  command.process.stdin!.write("2\n");
  await hasTaken(id, 2);
  command.pressCtrlC();
  expect(await command.end()).toMatchObject({ code: 3 });
  expect((await cluster.client.getJob(id)).state).toBe("cancelled");
});

test("a program's input is held back while its job is paused: no more than its lead is taken", async () => {
  await using client = await connect({ address: cluster.address, secretFile: cluster.path("secret") });
  const arithmetic = taskModule<typeof arithmeticModule>(pathToFileURL(taskFile("arithmetic.ts")));
  let taken = 0;
  async function* numbers(): AsyncGenerator<number> {
    for (; taken < 500; taken += 1) yield taken;
  }
  const running = client.map(arithmetic, "square", numbers(), { name: "held", ahead: 50 });
  const values = running[Symbol.asyncIterator]();
  expect(await values.next()).toEqual({ done: false, value: 0 });
  const id = await jobNamed("held");
  expect((await run(["job", "pause", id])).code).toBe(0);
  await holdsNothing(id);
  const consumed = 1 + (await cluster.client.getJob(id)).counts!.value;
  expect(taken).toBeLessThanOrEqual(consumed + 50);
  expect((await run(["job", "resume", id])).code).toBe(0);
  const rest: number[] = [];
  for (let next = await values.next(); next.done !== true; next = await values.next()) rest.push(next.value);
  expect(rest).toEqual(
    upTo(500)
      .slice(1)
      .map((n) => n ** 2),
  );
});

test("a paused job takes a bounded number of bytes; then whoever writes is held back until it is resumed", async () => {
  const command = map("much", "arithmetic.ts:lengthOf", ["--each-line", "-"]);
  const line = `${"x".repeat(1024 * 1024 - 1)}\n`;
  command.process.stdin!.write("first\n");
  const id = await jobNamed("much");
  await command.prints('{"index":0,"value":5}\n');
  expect((await run(["job", "pause", id])).code).toBe(0);
  for (let n = 0; n < 90; n += 1) command.process.stdin!.write(line);
  command.process.stdin!.end();
  const explained = async (): Promise<boolean> =>
    (await run(["job", "get", id, "--explain"])).stdout.includes("more waits for the resume");
  await until(explained, { what: "its input to be held back", withinMs: 60_000 });
  // 64 MB; what is on its way besides is in the command and in the pipe.
  expect((await cluster.client.getJob(id)).appended).toBeLessThanOrEqual(66);
  expect(command.process.stdin!.writableLength).toBeGreaterThan(10 * line.length);
  expect((await run(["job", "resume", id])).code).toBe(0);
  const { code, stdout } = await command.end();
  expect(code).toBe(0);
  expect(jsonLines(stdout).length).toBe(91);
});
