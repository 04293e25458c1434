// How a program finds its cluster: by name, by its environment, as `up`, or one of its own that leaves nothing behind,
// whatever the program does.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, writeFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { connect, range } from "@everycore/client";
import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { type TestUser, makeTestUser } from "../support/command.ts";
import { codeOf, taskFile } from "../support/jobs.ts";
import { processesOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

const client = import.meta.resolve("@everycore/client");
const arithmetic = pathToFileURL(taskFile("arithmetic.ts")).href;

/** A program that hangs is ended, so that its test fails by its exit code and leaves nothing. */
const endsWithinMs = 60_000;

/** A user's program: `body` runs with connect, range and the URL of a task at hand. */
class Program {
  readonly process: ChildProcess;
  stdout = "";
  stderr = "";

  constructor(user: TestUser, file: string, environment: NodeJS.ProcessEnv) {
    this.process = spawn(process.execPath, [file], {
      cwd: user.home,
      env: { ...process.env, ...user.environment, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.process.stdout!.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    this.process.stderr!.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
  }

  static async start(user: TestUser, body: string, environment: NodeJS.ProcessEnv = {}): Promise<Program> {
    const file = user.path("program.mjs");
    const head = `import { connect, range } from ${JSON.stringify(client)};
const task = new URL(${JSON.stringify(arithmetic)});\n`;
    await writeFile(file, head + body);
    return new Program(user, file, environment);
  }

  async end(): Promise<number | null> {
    const force = setTimeout(() => this.process.kill("SIGKILL"), endsWithinMs);
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, "close");
    clearTimeout(force);
    return this.process.exitCode;
  }
}

const oneLine = /^no cluster configured: using \d+ cores? of this machine\n$/;

test("without a cluster one is started, said so in one line, and is gone after close()", async () => {
  await using user = await makeTestUser();
  const program = await Program.start(
    user,
    `await using cluster = await connect();
     console.log(cluster.isEmbedded, await cluster.map(task, "square", range(4)).all());`,
  );
  expect(await program.end()).toBe(0);
  expect(program.stdout).toBe("true [ 0, 1, 4, 9 ]\n");
  expect(program.stderr).toMatch(oneLine);
  expect(processesOf(user.home)).toEqual([]);
  expect(await readdir(user.path("tmp"))).toEqual([]);
});

test("a program that forgets close() ends by itself, and its cluster with it", async () => {
  await using user = await makeTestUser();
  const program = await Program.start(
    user,
    `const cluster = await connect({ quiet: true, slots: 1 });
     console.log(await cluster.map(task, "square", range(3)).all(), (await cluster.nodes())[0].slots);`,
  );
  expect(await program.end()).toBe(0);
  expect(program.stdout).toBe("[ 0, 1, 4 ] 1\n");
  expect(program.stderr).toBe("");
  await until(() => processesOf(user.home).length === 0, { what: "the embedded cluster to end" });
  await until(async () => (await readdir(user.path("tmp"))).length === 0, {
    what: "its folder to be removed",
  });
});

test.each([
  ["is killed", "SIGKILL"],
  ["gets Ctrl-C", "SIGINT"],
] as const)("a program that %s in the middle of a map takes its cluster with it", async (_what, signal) => {
  await using user = await makeTestUser();
  const program = await Program.start(
    user,
    `const cluster = await connect({ quiet: true });
     console.log("connected");
     await cluster.map(task, "burn", [100_000, 100_000]).all();`,
  );
  await until(() => program.stdout !== "" && processesOf(user.home).length >= 6, {
    withinMs: 30_000,
    what: "program, its cluster and a worker to run",
  });
  program.process.kill(signal);
  await program.end();
  await until(() => processesOf(user.home).length === 0, { what: "the embedded cluster to end" });
});

test("an aborted connect() leaves nothing behind", async () => {
  await using user = await makeTestUser();
  const program = await Program.start(
    user,
    `const connecting = connect({ quiet: true, signal: AbortSignal.timeout(250) });
     console.log(await connecting.then(() => "connected", (error) => error.name));`,
  );
  expect(await program.end()).toBe(0);
  expect(["TimeoutError\n", "connected\n"]).toContain(program.stdout);
  await until(() => processesOf(user.home).length === 0, { what: "all of it to end" });
});

test("why an embedded cluster cannot start is said as the command says it", async () => {
  await using user = await makeTestUser();
  const program = await Program.start(
    user,
    `console.log(await connect().then(() => "connected", (error) => error.code + ": " + error.message));`,
    { EVERYCORE_SLOTS: "many" },
  );
  await program.end();
  expect(program.stdout).toBe('bad-input: slots is "many", not a whole number from 1 to 4096\n');
});

test("a running `up` is found, and so is a cluster of the environment; neither ends with the program", async () => {
  await using user = await makeTestUser();
  const up = user.start(["up", "--slots", "1"]);
  await up.prints("everycore is up");
  const body = `await using cluster = await connect();
     console.log(cluster.isEmbedded, await cluster.map(task, "square", range(3)).all());`;
  const byUp = await Program.start(user, body);
  expect(await byUp.end()).toBe(0);
  expect(byUp.stdout).toBe("false [ 0, 1, 4 ]\n");
  expect(byUp.stderr).toBe("");
  await using cluster = await startCluster({ slots: 1 });
  const byName = await Program.start(user, body, cluster.environment);
  expect(await byName.end()).toBe(0);
  expect(await cluster.client.listJobs()).toMatchObject({ total: 1 });
  process.kill(up.process.pid!, "SIGINT");
  await up.end();
});

test("a program that forgets to close a connection to a cluster that stays ends by itself", async () => {
  await using user = await makeTestUser();
  await using cluster = await startCluster({ slots: 1 });
  const program = await Program.start(
    user,
    `const cluster = await connect();
     for await (const value of cluster.map(task, "square", range(3))) console.log(value);`,
    cluster.environment,
  );
  expect(await program.end()).toBe(0);
  expect(program.stdout).toBe("0\n1\n4\n");
});

test("inside a task nothing is started", async () => {
  await using cluster = await startCluster({ slots: 1 });
  await using client = await connect({ address: cluster.address, secret: cluster.secret });
  const nested = new URL("../support/tasks/nested-connect.ts", import.meta.url);
  expect(await client.map(nested, "default", [1]).all()).toEqual([
    "unreachable: inside a task no cluster is started, and none is configured",
  ]);
});

test("a wrong address, a wrong secret and contradicting options are said at once", async () => {
  await using cluster = await startCluster({ slots: 1 });
  const { address, secret } = cluster;
  expect(await codeOf(connect({ address: "127.0.0.1:1", secret }))).toBe("unreachable");
  expect(await codeOf(connect({ address, secret: "x".repeat(32) }))).toBe("refused");
  expect(await codeOf(connect({ address: "nonsense", secret }))).toBe("bad-input");
  expect(await codeOf(connect({ address, secret, secretFile: "x" }))).toBe("bad-input");
  expect(await codeOf(connect({ address, secretFile: fileURLToPath(import.meta.url) }))).toBe("refused");
  await using fine = await connect({ address, secretFile: cluster.path("secret") });
  expect(await fine.map(new URL(arithmetic), "square", range(2)).all()).toEqual([0, 1]);
});
