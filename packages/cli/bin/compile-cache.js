// Folder where Node keeps our compiled code: a command starts in half the time. Whoever can write there runs code
// as this user, so it is used only if it is ours and closed to others (P8). Workers share it; the agent empties it
// when it has grown (packages/node-agent/src/runtimes/compile-cache.ts).

import { lstatSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** @returns {string | undefined} undefined where none can be had: then we only start more slowly */
export function compiledFolder() {
  const path = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "everycore", "compiled");
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const facts = lstatSync(path);
    const isOurs = facts.isDirectory() && facts.uid === process.getuid?.() && (facts.mode & 0o022) === 0;
    return isOurs ? path : undefined;
  } catch {
    return undefined; // a read-only or missing home
  }
}
