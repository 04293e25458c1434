/**
 * Folder where Node keeps the compiled code of worker hosts, so that a worker starts in a third of the time
 * (stripped types and V8's code are read, not made). Whoever can write there runs code as this user: the folder
 * is used only if it is ours and closed to others (P8), and it is emptied when it has grown over its bound (P7).
 */
import { lstatSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { limits } from "@everycore/protocol";

/** The size is looked at once in so many starts. */
const startsBetweenLooks = 200;

let starts = 0;
let folder: string | undefined;

/** The folder, or undefined where none can be had: then workers only start more slowly. */
export function compileCache(): string | undefined {
  if (starts % startsBetweenLooks === 0)
    folder = prepareCache(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"));
  starts += 1;
  return folder;
}

export function prepareCache(base: string): string | undefined {
  const path = join(base, "everycore", "compiled");
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    if (!isOursAlone(path)) return undefined;
    if (bytesIn(path) > limits.compileCacheBytes)
      for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true });
    return path;
  } catch {
    return undefined; // a read-only or missing home
  }
}

function isOursAlone(path: string): boolean {
  const facts = lstatSync(path);
  return facts.isDirectory() && facts.uid === process.getuid?.() && (facts.mode & 0o022) === 0;
}

function bytesIn(path: string): number {
  let bytes = 0;
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    if (entry.isFile())
      bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}
