// No cluster configured: map and run start their own, say so in one line, and leave nothing behind.

import { readdir, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { makeTestUser } from "../support/command.ts";
import { taskFile } from "../support/jobs.ts";
import { processesOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

test("map without a cluster starts one, says so in one line, and leaves no process and no folder", async () => {
  await using user = await makeTestUser();
  const { code, stdout, stderr } = await user.run([
    "map",
    `${taskFile("arithmetic.ts")}:square`,
    "--range",
    "1-3",
    "--values",
  ]);
  expect(stdout).toBe("1\n4\n9\n");
  expect(stderr).toMatch(/^no cluster configured: using \d+ cores? of this machine\n$/);
  expect(code).toBe(0);
  expect(await readdir(user.path("tmp"))).toEqual([]);
});

test("run without a cluster works in the caller's folder and with the caller's environment", async () => {
  await using user = await makeTestUser();
  await writeFile(user.path("names.txt"), "one.txt\ntwo.txt\n");
  for (const name of ["one.txt", "two.txt"]) await writeFile(user.path(name), "x".repeat(1000));
  const zipped = await user.run(["run", "--quiet", "--each-line", "names.txt", "--", "gzip", "{}"]);
  expect(zipped).toMatchObject({ code: 0, stdout: "", stderr: "" });
  expect((await readdir(user.home)).filter((name) => name.endsWith(".gz"))).toEqual([
    "one.txt.gz",
    "two.txt.gz",
  ]);
  const environment = await user.run(["run", "-q", "--range", "1-1", "--", "printenv", "MARK"], {
    environment: { MARK: "seen" },
  });
  expect(environment.stdout).toContain("seen");
});

test("what tasks print is on stderr when the job has ended, not lost with its cluster; --quiet leaves it out", async () => {
  await using user = await makeTestUser();
  await writeFile(user.path("says.py"), "def says(n):\n    print('item', n)\n    return n\n");
  const task = ["map", "says.py", "--range", "1-3", "--values"];
  const mapped = await user.run(task);
  expect(mapped).toMatchObject({ code: 0, stdout: "1\n2\n3\n" });
  expect(mapped.stderr.split("\n").slice(1).toSorted()).toEqual(["", "item 1", "item 2", "item 3"]);
  expect(await user.run([...task, "--quiet"])).toMatchObject({ code: 0, stdout: "1\n2\n3\n", stderr: "" });
  const program = await user.run(["run", "--range", "1-1", "--", "sh", "-c", "echo out; echo err >&2"]);
  expect(program).toMatchObject({
    code: 0,
    stdout: "out\n",
    stderr: expect.stringMatching(/\nerr\n$/) as string,
  });
});

test("a program that there is not is said once, in our own words", async () => {
  await using user = await makeTestUser();
  const { code, stderr } = await user.run(["run", "-q", "--range", "1-50", "--", "no-such-program"]);
  expect(stderr).toMatch(
    /^everycore: job [0-9a-f]{8} failed: no program "no-such-program" that can be run on this node\n$/,
  );
  expect(code).toBe(1);
});

test("a killed command takes its cluster with it", async () => {
  await using user = await makeTestUser();
  const command = user.start(["map", `${taskFile("failures.ts")}:stuckForEver`, "--range", "0-3", "-q"], {
    stdin: "",
  });
  await until(() => processesOf(user.home).length >= 5, {
    withinMs: 30_000,
    what: "command, nats-server, coordinator, agent and a worker to run",
  });
  command.process.kill("SIGKILL");
  await command.end();
  await until(() => processesOf(user.home).length === 0, {
    withinMs: 10_000,
    what: "the embedded cluster to end",
  });
});

test("--detach without a cluster is refused with the hint to start one", async () => {
  await using user = await makeTestUser();
  const { code, stdout, stderr } = await user.run([
    "map",
    `${taskFile("arithmetic.ts")}:square`,
    "--range",
    "1-3",
    "--detach",
  ]);
  expect(stdout).toBe("");
  expect(stderr).toContain("everycore up");
  expect(code).toBe(4);
});
