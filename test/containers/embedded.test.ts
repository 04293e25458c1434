/**
 * The command in a container, as an ordinary user without anything else on the machine: an embedded cluster
 * starts, works on each runtime that is there, and leaves no process behind.
 */
import { join } from "node:path";
import type { StartedTestContainer } from "testcontainers";
import { GenericContainer } from "testcontainers";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
let container: StartedTestContainer;

beforeAll(async () => {
  const image = await GenericContainer.fromDockerfile(root, "test/containers/Dockerfile").build();
  container = await image.start();
}, 600_000);

afterAll(async () => {
  await container?.stop();
});

async function everycore(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = ["node", "packages/cli/bin/everycore.js", ...args];
  const { exitCode, stdout, stderr } = await container.exec(command);
  return { code: exitCode, stdout, stderr };
}

/** Command lines of the container's processes, from /proc: the image has no ps. */
async function processes(): Promise<string[]> {
  const script = 'for f in /proc/[0-9]*/cmdline; do tr "\\0" " " < $f 2>/dev/null; echo; done';
  const { stdout } = await container.exec(["sh", "-c", script]);
  return stdout.split("\n").filter((line) => /nats-server|main\.ts|-host\.ts/.test(line));
}

test("run: twenty programs, in order, by an embedded cluster of an ordinary user", async () => {
  const ran = await everycore("run", "--range", "1-20", "--", "echo", "item {}");
  expect(ran.stderr).toContain("no cluster configured");
  expect(ran.stdout.trim().split("\n")).toEqual(Array.from({ length: 20 }, (_, at) => `item ${at + 1}`));
  expect(ran.code).toBe(0);
});

test("map: a TypeScript task, and nothing is left when it is over", async () => {
  const ran = await everycore("map", "examples/sum.ts:square", "--range", "1-100", "--reduce", "add");
  expect(ran.stdout.trim()).toBe('{"value":338350,"missing":0}');
  expect(ran.code).toBe(0);
  expect(await processes()).toEqual([]);
});

test("doctor says what this machine has and lacks", async () => {
  const { stdout, code } = await everycore("doctor");
  expect(stdout).toMatch(/ok\s+nats-server/);
  expect(code).toBe(0);
});
