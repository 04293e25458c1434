// A lock between processes: one file, created exclusively, that names its holder. It is for installing things
// (dependencies, nats-server), where two at once would tread on each other and waiting is cheap.
//
// L1  Who waits gives up waiting for the dead: a holder of this host whose pid is gone is replaced at once, one of
//     another host (a home directory shared over NFS or between containers) after STALE_AFTER_MS.
// L2  A stale lock is removed only under a second, short-lived file; otherwise two waiters that both saw the dead
//     holder could each remove the other's fresh lock and both go on.
//
// Plain JavaScript for Node 20 and later: scripts/setup.mjs uses it before there is anything else.

import { randomUUID } from "node:crypto";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const POLL_MS = 100;
const STALE_AFTER_MS = 20 * 60_000;
/** A lock or guard without content is one whose maker died between creating and writing it. */
const UNWRITTEN_STALE_AFTER_MS = 5_000;

/**
 * Runs `action` while holding the lock file at `path`; waits for other holders first.
 * @template T
 * @param {{ path: string, signal?: AbortSignal | undefined, onWait?: ((holder: string) => void) | undefined }} options
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
export async function withProcessLock({ path, signal, onWait }, action) {
  await mkdir(dirname(path), { recursive: true });
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), token: randomUUID() });
  let told = false;
  while (!(await createdExclusively(path, mine))) {
    signal?.throwIfAborted();
    const holder = await readIfThere(path);
    if (holder === undefined) continue;
    if (await isStale(path, holder)) {
      await removeStale(path, holder);
      continue;
    }
    if (!told) onWait?.(describe(holder));
    told = true;
    await delay(POLL_MS, undefined, signal ? { signal } : {});
  }
  try {
    return await action();
  } finally {
    if ((await readIfThere(path)) === mine) await rm(path, { force: true });
  }
}

/** @param {string} path @param {string} content */
async function createdExclusively(path, content) {
  try {
    await writeFile(path, content, { flag: "wx" });
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  }
}

/** @param {string} path @param {string} holder */
async function isStale(path, holder) {
  const ageMs = await ageOf(path);
  if (holder === "") return ageMs > UNWRITTEN_STALE_AFTER_MS;
  const { pid, host } = parse(holder);
  if (host === hostname() && pid !== undefined) return !isAlive(pid);
  return ageMs > STALE_AFTER_MS;
}

/** L2. @param {string} path @param {string} holder */
async function removeStale(path, holder) {
  const guard = `${path}.break`;
  if (!(await createdExclusively(guard, ""))) {
    if ((await ageOf(guard)) > UNWRITTEN_STALE_AFTER_MS) await rm(guard, { force: true });
    await delay(POLL_MS);
    return;
  }
  try {
    if ((await readIfThere(path)) === holder) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

/** @param {string} path */
async function readIfThere(path) {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** @param {string} path */
async function ageOf(path) {
  try {
    return Date.now() - (await stat(path)).mtimeMs;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return 0;
    throw error;
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/** @param {string} holder @returns {{ pid?: number, host?: string }} */
function parse(holder) {
  try {
    return JSON.parse(holder);
  } catch {
    return {}; // not ours, or cut off: only its age counts
  }
}

/** @param {string} holder */
function describe(holder) {
  const { pid, host } = parse(holder);
  return pid === undefined ? "another process" : `process ${pid} on ${host}`;
}

/** @param {unknown} error @returns {unknown} */
function codeOf(error) {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
