// Which Node runs everycore. The sources are TypeScript that only Node 24 and later run as they are, while the
// first `node` on PATH is often older; so the official Node 24 binary comes along as an optional dependency.
// Plain JavaScript for Node 20 and later: it must load before the right Node is found.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

export const NODE_MAJOR_MIN = 24;

/** Whether a Node of this version can run the sources as they are. */
export function isRecentNode(version = process.versions.node) {
  return Number.parseInt(version, 10) >= NODE_MAJOR_MIN;
}

/**
 * The Node binary that npm installed beside us, in the nearest `node_modules` upwards of `directory`: npm hoists
 * it to the root of the workspace, or of whatever project depends on everycore.
 * @param {string} directory
 * @returns {string | undefined}
 */
export function findBundledNode(directory) {
  for (let at = directory; ; at = dirname(at)) {
    const path = join(at, "node_modules", `node-${process.platform}-${process.arch}`, "bin", "node");
    if (existsSync(path)) return path;
    if (at === dirname(at)) return undefined;
  }
}

/** One sentence for people whose platform has no bundled Node. */
export function nodeMissingMessage() {
  return (
    `everycore needs Node ${NODE_MAJOR_MIN} or later, this is Node ${process.versions.node}, and no bundled Node ` +
    `was found for ${process.platform}-${process.arch}: install Node ${NODE_MAJOR_MIN} (or "npm ci --include=optional" ` +
    `where a bundled one exists: Linux x64 and arm64).`
  );
}
