import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { withProcessLock } from "../bin/process-lock.js";

const lockModule = fileURLToPath(new URL("../bin/process-lock.js", import.meta.url));

test("processes that start together take turns", async () => {
  await using place = await makePlace();
  const file = join(place.directory, "count");
  await writeFile(file, "0");
  // read, wait, write: without the lock, increments get lost
  const script = `
    import { readFileSync, writeFileSync } from "node:fs";
    import { withProcessLock } from ${JSON.stringify(lockModule)};
    await withProcessLock({ path: ${JSON.stringify(place.lock)} }, async () => {
      const count = Number(readFileSync(${JSON.stringify(file)}, "utf8"));
      await new Promise((resolve) => setTimeout(resolve, 30));
      writeFileSync(${JSON.stringify(file)}, String(count + 1));
    });`;
  const run = () => promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  await Promise.all(Array.from({ length: 6 }, run));
  expect(await readFile(file, "utf8")).toBe("6");
  expect(await readdir(place.directory)).toEqual(["count"]);
});

test("the lock of a dead process is taken over at once, by one of many waiters at a time", async () => {
  await using place = await makePlace();
  const dead = spawn(process.execPath, ["-e", ""]);
  await once(dead, "exit");
  await writeFile(place.lock, JSON.stringify({ pid: dead.pid, host: hostname(), token: "t" }));
  let insideCount = 0;
  let insideMax = 0;
  const waiter = () =>
    withProcessLock({ path: place.lock }, async () => {
      insideCount += 1;
      insideMax = Math.max(insideMax, insideCount);
      await new Promise((resolve) => setTimeout(resolve, 5));
      insideCount -= 1;
    });
  await Promise.all(Array.from({ length: 5 }, waiter));
  expect(insideMax).toBe(1);
});

test("another host's lock is waited for while it is fresh, and taken over when it is old", async () => {
  await using place = await makePlace();
  await writeFile(place.lock, JSON.stringify({ pid: 1, host: "elsewhere", token: "t" }));
  const holders: string[] = [];
  const onWait = (holder: string) => holders.push(holder);
  const options = { path: place.lock, signal: AbortSignal.timeout(250), onWait };
  await expect(withProcessLock(options, async () => {})).rejects.toThrow();
  expect(holders).toEqual(["process 1 on elsewhere"]);

  const longAgo = new Date(Date.now() - 60 * 60_000);
  await utimes(place.lock, longAgo, longAgo);
  expect(await withProcessLock({ path: place.lock }, async () => "taken")).toBe("taken");
});

test("a failing action gives the lock back", async () => {
  await using place = await makePlace();
  const failing = withProcessLock({ path: place.lock }, () => Promise.reject(new Error("no")));
  await expect(failing).rejects.toThrow("no");
  expect(await readdir(place.directory)).toEqual([]);
});

async function makePlace() {
  const directory = await mkdtemp(join(tmpdir(), "everycore-lock-"));
  return {
    directory,
    lock: join(directory, "lock"),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
