// Ctrl-C, as the terminal sends it: to the whole process group.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { Command, makeTestUser } from "../support/command.ts";
import { RunLog, submit, taskFile } from "../support/jobs.ts";
import { processesOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const start = (args: readonly string[]): Command =>
  new Command(args, { stdin: "", environment: cluster.environment });

test("one Ctrl-C cancels the job of map and exits 3, saying how far it was", async () => {
  const command = start(["map", `${taskFile("failures.ts")}:stuck`, "--range", "1-9"]);
  await command.prints('{"index":1,"value":2}\n');
  command.pressCtrlC();
  const { code, stderr, stdout } = await command.end();
  expect(code).toBe(3);
  expect(stderr).toMatch(/job [0-9a-f]{8} cancelled; 2 of 9 items had ended/);
  expect(stdout).not.toContain("cancelled");
  const { jobs } = await cluster.client.listJobs({ limit: 1 });
  expect(jobs[0]).toMatchObject({ state: "cancelled", counts: { value: 2, cancelled: 7 } });
});

test("a second Ctrl-C leaves at once with 130", async () => {
  const command = start(["map", `${taskFile("failures.ts")}:stuckForEver`, "--range", "1-3"]);
  await until(() => processesOf(cluster.agents[0]!.dataDir).length >= 2, { what: "a worker to run" });
  await until(async () => (await cluster.client.listJobs({ state: "running" })).jobs.length === 1, {
    what: "the job to run",
  });
  await cluster.coordinator.kill("SIGSTOP"); // so that the cancel cannot be answered
  command.pressCtrlC();
  await until(() => command.stderr.includes("cancelling"), { what: "the first Ctrl-C to be taken" });
  command.pressCtrlC();
  const { code } = await command.end();
  await cluster.coordinator.kill("SIGCONT");
  expect(code).toBe(130);
  for (const { id } of (await cluster.client.listJobs({ state: "running" })).jobs) {
    await cluster.client.cancelJob(id, "the test is over");
  }
});

test("Ctrl-C on job wait, job results leaves with 130 and the job alone", async () => {
  const log = new RunLog(cluster.dir, "left-alone");
  const id = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: [log.item(0), log.item(1, { isHeld: true })],
  });
  const waiting = start(["job", "wait", id]);
  const reading = start(["job", "results", id]);
  await reading.prints('{"index":0,"value":0}\n');
  await waiting.isConnected(cluster.address);
  for (const command of [waiting, reading]) command.pressCtrlC();
  expect((await waiting.end()).code).toBe(130);
  expect((await reading.end()).code).toBe(130);
  expect((await cluster.client.getJob(id)).state).toBe("running");
  log.open();
  expect((await cluster.client.waitJob(id)).state).toBe("done");
});

test("Ctrl-C on an embedded map ends everything that it had started", async () => {
  await using user = await makeTestUser();
  const command = user.start(["map", `${taskFile("failures.ts")}:stuck`, "--range", "1-9", "-q"], {
    stdin: "",
  });
  await command.prints('{"index":1,"value":2}\n');
  command.pressCtrlC();
  expect((await command.end()).code).toBe(3);
  expect(processesOf(user.home)).toEqual([]);
});
