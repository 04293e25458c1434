// Items and values far larger than a message: cut into pieces on their way, whole at both ends.

import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { limits } from "@everycore/protocol";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { natsUser } from "../../packages/cli/src/local/nats-config.ts";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { everycore, jsonLines } from "../support/command.ts";
import { collect, runJob, submit, taskFile, valuesOf } from "../support/jobs.ts";
import { readProcess } from "../support/processes.ts";

const MB = 1024 * 1024;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ slots: 2 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

test("items of 1 MB in and out keep every byte", async () => {
  const items = Array.from({ length: 24 }, (_, n) => `${n}:`.padEnd(MB, String.fromCharCode(97 + (n % 26))));
  const { outcomes } = await runJob(cluster.client, { task: "arithmetic.ts:identity", items });
  expect(outcomes.map((outcome) => outcome.value() === items[outcome.index])).toEqual(items.map(() => true));
});

test("items of several sizes around every limit of a message arrive whole", async () => {
  const sizes = [
    0,
    1,
    128 * 1024 - 1,
    128 * 1024,
    256 * 1024,
    256 * 1024 + 1,
    512 * 1024,
    512 * 1024 + 1,
    MB,
    3 * MB,
  ];
  const { outcomes } = await runJob(cluster.client, {
    task: "arithmetic.ts:lengthOf",
    items: sizes.map((size) => "x".repeat(size)),
  });
  expect(valuesOf(outcomes)).toEqual(sizes);
});

test("values of several sizes around every limit of a message arrive whole", async () => {
  const sizes = [
    0,
    1,
    64 * 1024,
    256 * 1024,
    512 * 1024 - 6,
    512 * 1024,
    512 * 1024 + 1,
    MB,
    4 * MB,
    5 * MB + 1,
  ];
  const { outcomes } = await runJob(cluster.client, { task: "arithmetic.ts:ofLength", items: sizes });
  expect(outcomes.map((outcome) => (outcome.value() as Buffer).length)).toEqual(sizes);
  expect(outcomes.every((outcome) => (outcome.value() as Buffer).every((byte) => byte === 0x61))).toBe(true);
});

test("a value of 100 MB arrives whole; the coordinator never holds it", { timeout: 90_000 }, async () => {
  const job = await submit(cluster.client, { task: "arithmetic.ts:ofLength", items: [100 * MB] });
  const { outcomes } = await collect(cluster.client, job);
  const bytes = outcomes[0]!.value() as Buffer;
  expect(bytes.length).toBe(100 * MB);
  expect(createHash("sha256").update(bytes).digest("hex")).toBe(
    createHash("sha256")
      .update(Buffer.alloc(100 * MB, 0x61))
      .digest("hex"),
  );
  expect(readProcess(cluster.coordinator.pid)!.residentBytes / MB).toBeLessThan(350);
  await cluster.client.deleteJob(job);
});

test("big bytes of a Python generator and of a program arrive whole", async () => {
  const python = await runJob(cluster.client, { task: "plain.py:big", range: [0, 3] });
  expect(python.outcomes.map((outcome) => (outcome.value() as Buffer).length)).toEqual([3e6, 3e6, 3e6, 3e6]);
  expect((python.outcomes[2]!.value() as Buffer).every((byte) => byte === 0x63)).toBe(true);
  const program = await runJob(cluster.client, {
    task: ["head", "-c", "{}", "/dev/zero"],
    items: ["5000000", "0", "16777216"],
  });
  expect(program.outcomes.map((outcome) => (outcome.value() as Buffer).length)).toEqual([
    5_000_000, 0, 16_777_216,
  ]);
});

test("an item over the limit is refused with its line and the limit; the job is no half one", async () => {
  await writeFile(cluster.path("long.txt"), `short\n${"x".repeat(17 * MB)}\n`);
  const { code, stderr, stdout } = await everycore(
    ["map", `${taskFile("arithmetic.ts")}:lengthOf`, "--each-line", "long.txt"],
    { environment: cluster.environment, cwd: cluster.dir },
  );
  expect(stderr).toMatch(new RegExp(`line 2 of long\\.txt is longer than ${limits.itemBytesMax} bytes`));
  expect(code).toBe(2);
  expect(jsonLines(stdout).length).toBeLessThanOrEqual(1);
  const { jobs } = await cluster.client.listJobs();
  expect(jobs.filter(({ state }) => state === "running" || state === "accepting")).toEqual([]);
});

test("a file over 8 MB gets a log segment of its own, a smaller one shares", async () => {
  const { user, password: pass } = natsUser(cluster.secret, "coordinator");
  const nats = await connect({ servers: cluster.nats.url, user, pass });
  try {
    const own = async (): Promise<string[]> => {
      const names: string[] = [];
      for await (const { config } of (await jetstreamManager(nats)).streams.list())
        if (config.name.startsWith("EC_LOG_j")) names.push(config.name);
      return names;
    };
    const map = async (lines: number): Promise<void> => {
      const file = `${cluster.dir}/lines-${lines}.txt`;
      await writeFile(file, `${"x".repeat(MB)}\n`.repeat(lines));
      const args = ["map", `${taskFile("arithmetic.ts")}:lengthOf`, "--each-line", file];
      const { code, stderr } = await everycore(args, { environment: cluster.environment });
      expect(code, stderr).toBe(0);
    };
    const before = await own();
    await map(7);
    expect(await own()).toEqual(before);
    await map(9);
    expect((await own()).length).toBe(before.length + 1);
  } finally {
    await nats.close();
  }
});
