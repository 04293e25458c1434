import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { parseConfig } from "../src/config.ts";
import { memoryBytesOf, slotsOf } from "../src/machine/facts.ts";
import { isAlive, startTimeOf } from "../src/machine/processes.ts";
import { openStateDir } from "../src/machine/state-dir.ts";
import { until } from "../../../test/support/until.ts";

/** A machine as files. */
async function machine(files: Record<string, string>): Promise<AsyncDisposable & { root: string }> {
  const root = await mkdtemp(join(tmpdir(), "everycore-test-machine-"));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return { root, [Symbol.asyncDispose]: () => rm(root, { recursive: true }) };
}

const affinity = { "proc/self/status": "Name:\tx\nCpus_allowed_list:\t0-3,8\n" };

test("slots follow affinity, and say so", async () => {
  await using it = await machine(affinity);
  expect(slotsOf({ flag: undefined, root: it.root })).toMatchObject({
    slots: 5,
    reason: expect.stringContaining("affinity") as string,
  });
});

test("the smallest cgroup v2 quota along the path counts, floored, at least 1", async () => {
  const group = { ...affinity, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n" };
  await using half = await machine({ ...group, "sys/fs/cgroup/a/cpu.max": "250000 100000\n" });
  expect(slotsOf({ flag: undefined, root: half.root })).toEqual({
    slots: 2,
    reason: "cgroup v2 cpu.max of /a",
  });
  await using tiny = await machine({ ...group, "sys/fs/cgroup/a/cpu.max": "20000 100000\n" });
  expect(slotsOf({ flag: undefined, root: tiny.root }).slots).toBe(1);
});

test("a cgroup v1 quota counts, and a flag is above all", async () => {
  await using it = await machine({
    ...affinity,
    "proc/self/cgroup": "4:cpu,cpuacct:/box\n",
    "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "300000",
    "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
  });
  expect(slotsOf({ flag: undefined, root: it.root })).toEqual({
    slots: 3,
    reason: "cgroup v1 quota of /box",
  });
  expect(slotsOf({ flag: 7, root: it.root })).toEqual({ slots: 7, reason: "asked for" });
});

test("memory is bounded by the cgroup", async () => {
  await using it = await machine({
    "proc/self/cgroup": "0::/a\n",
    "sys/fs/cgroup/a/memory.max": "1048576\n",
  });
  expect(memoryBytesOf(it.root)).toBe(1_048_576);
});

test("a process is known by its start, not by its pid alone", () => {
  expect(startTimeOf(process.pid)).toBeGreaterThan(0);
  expect(startTimeOf(2 ** 22 + 1)).toBeUndefined();
});

test("an address beyond loopback is refused without TLS, by name and with a hint", () => {
  const config = { join: ["10.0.0.1:7070"], secret: "s", dataDir: "/tmp/x" };
  expect(() => parseConfig(JSON.stringify(config))).toThrow("10.0.0.1:7070 is beyond loopback");
  expect(parseConfig(JSON.stringify({ ...config, insecureNetwork: true })).join).toEqual(config.join);
});

test("a process that has ended holds no state directory, though nobody has reaped it yet", async () => {
  await using it = await machine({});
  // `sleep` takes the place of the shell and never asks for the shell's child.
  const parent = spawn("sh", ["-c", "sleep 0.2 & echo $!; exec sleep 30"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    const [line] = (await once(parent.stdout, "data")) as [Buffer];
    const pid = Number(line.toString());
    const startTime = startTimeOf(pid)!;
    expect(isAlive(pid, startTime)).toBe(true);
    expect(isAlive(pid, startTime + 1)).toBe(false); // another one with its number
    await writeFile(join(it.root, "lock"), JSON.stringify({ pid, startTime }));
    expect(() => openStateDir(it.root, "machine")).toThrow(`in use by the agent with pid ${pid}`);
    await until(() => !isAlive(pid, startTime), { what: "the child to end" });
    expect(startTimeOf(pid)).toBe(startTime); // still listed: a zombie
    openStateDir(it.root, "machine").release();
  } finally {
    parent.kill("SIGKILL");
  }
});
