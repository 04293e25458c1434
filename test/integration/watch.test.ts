// `job watch` where the output is no terminal, and plain progress of `map`: lines that a log can hold.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { Command, everycore } from "../support/command.ts";
import { RunLog, submit, taskFile } from "../support/jobs.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const start = (args: readonly string[]): Command =>
  new Command(args, { stdin: "", environment: cluster.environment });

test("job watch says where a job is, and ends with it and its exit code", async () => {
  const log = new RunLog(cluster.dir, "watched");
  const id = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: [log.item(0), log.item(1, { isHeld: true })],
  });
  const watching = start(["job", "watch", id.slice(0, 8)]);
  await watching.prints(`job ${id.slice(0, 8)} running: `);
  log.open();
  const { code, stdout } = await watching.end();
  expect(stdout).toContain(`job ${id.slice(0, 8)} done: 2 values\n`);
  expect(code).toBe(0);
});

test("watching a job whose items fail ends with 1; an unknown one with 2", async () => {
  const id = await submit(cluster.client, { task: "failures.ts:odd", range: [0, 4] });
  const watched = await everycore(["job", "watch", id], { environment: cluster.environment });
  expect(watched.code).toBe(1);
  expect(watched.stdout).toContain("2 error");
  const unknown = await everycore(["job", "watch", "00000000"], { environment: cluster.environment });
  expect(unknown.code).toBe(2);
});

test("Ctrl-C on job watch leaves with 130 and the job alone", async () => {
  const log = new RunLog(cluster.dir, "left-alone");
  const id = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: [log.item(0, { isHeld: true })],
  });
  const watching = start(["job", "watch", id]);
  await watching.prints("running");
  watching.pressCtrlC();
  const { code, stderr } = await watching.end();
  expect(code).toBe(130);
  expect(stderr).toBe("");
  expect((await cluster.client.getJob(id)).state).toBe("running");
  log.open();
  expect((await cluster.client.waitJob(id)).state).toBe("done");
});

test("map --progress plain prints lines on stderr while the job runs; an unknown word is refused", async () => {
  const slow = `${taskFile("arithmetic.ts")}:burn`;
  const { code, stderr } = await everycore(["map", slow, "--range", "100-129", "--progress", "plain"], {
    environment: cluster.environment,
  });
  expect(code).toBe(0);
  expect(stderr).toMatch(/^\d+\/30 \d+ % · /m);
  const wrong = await everycore(["map", slow, "--range", "0-1", "--progress", "loud"]);
  expect(wrong.code).toBe(2);
});

test("what completes a job's or a node's id is what the cluster has", async () => {
  const id = await submit(cluster.client, {
    task: "arithmetic.ts:square",
    range: [0, 4],
    name: "to complete",
  });
  const options = { environment: cluster.environment };
  await cluster.client.waitJob(id);
  const jobs = await everycore(["__complete", "--", "job", "get", id.slice(0, 4)], options);
  expect(jobs).toMatchObject({ code: 0, stderr: "", stdout: `${id.slice(0, 8)}\tdone to complete\n` });
  const nodes = await everycore(["__complete", "--", "node", "drain", ""], options);
  expect(nodes.stdout).toMatch(new RegExp(`^${cluster.agents[0]!.node.slice(0, 8)}\tconnected `));
  const nowhere = await everycore(["__complete", "--", "job", "get", ""], {
    environment: { EVERYCORE_ADDRESS: "127.0.0.1:1", EVERYCORE_SECRET: cluster.secret },
  });
  expect(nowhere).toMatchObject({ code: 0, stdout: "", stderr: "" });
});
