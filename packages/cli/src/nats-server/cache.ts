// The cache of nats-server binaries: $XDG_CACHE_HOME/everycore/nats-server/<version>/{nats-server,origin.json}.
//
// N1  A binary in the cache is used only while its sha256 is the one recorded when it was put there: a truncated or
//     replaced file is left alone and never run.
// N2  A version's folder appears by one rename, so nobody sees half of it. The caller holds the lock of the cache.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { type Route, type RouteName, type RouteOutcome, unavailable } from "./routes.ts";
import { compareVersions, isRecentEnough, NATS_SERVER_VERSION_MIN, readVersion } from "./version.ts";

const BINARY = "nats-server";
const ORIGIN = "origin.json";

export function cacheDirectoryOf(environment: NodeJS.ProcessEnv): string {
  const caches = environment.XDG_CACHE_HOME || join(environment.HOME || homedir(), ".cache");
  return join(caches, "everycore", "nats-server");
}

export const cacheRoute: Route = {
  source: "cache",
  title: "everycore's own cache",
  inspect: async ({ cacheDirectory }) => {
    const { source, title } = cacheRoute;
    const outcome = await findCached(cacheDirectory);
    if (outcome.kind !== "found") {
      const detail = outcome.kind === "unavailable" ? outcome.reason : "";
      return { source, title, state: "unavailable", detail };
    }
    const { path, version } = outcome;
    return { source, title, state: "usable", detail: `${path} (${version})`, path, version };
  },
  provide: ({ cacheDirectory }) => findCached(cacheDirectory),
};

/** The newest version whose digest still holds. */
async function findCached(cacheDirectory: string): Promise<RouteOutcome> {
  const versions = (await entriesOf(cacheDirectory))
    .filter((name) => /^\d+\.\d+\.\d+$/.test(name) && isRecentEnough(name))
    .sort((left, right) => compareVersions(right, left));
  let reason = `nothing in ${cacheDirectory}`;
  for (const version of versions) {
    const path = join(cacheDirectory, version, BINARY);
    const recorded = await recordedDigest(join(cacheDirectory, version, ORIGIN));
    if (recorded !== undefined && recorded === (await sha256OfFile(path)))
      return { kind: "found", path, version };
    reason = `${path} does not have the digest that was recorded for it`; // N1
  }
  return unavailable(reason);
}

/** Takes a binary into the cache, unless it is too old or does not run here. */
export async function installInCache(options: {
  readonly cacheDirectory: string;
  readonly binary: string;
  readonly source: RouteName;
  readonly signal?: AbortSignal | undefined;
}): Promise<RouteOutcome> {
  const { cacheDirectory, binary, source, signal } = options;
  await chmod(binary, 0o755);
  const version = await readVersion(binary, signal);
  if (version === undefined) return unavailable("what came does not run on this machine");
  if (!isRecentEnough(version))
    return unavailable(`it gives ${version}, older than ${NATS_SERVER_VERSION_MIN}`);

  await mkdir(cacheDirectory, { recursive: true });
  const staged = await mkdtemp(join(cacheDirectory, ".new-"));
  try {
    await copyFile(binary, join(staged, BINARY));
    const origin = { sha256: await sha256OfFile(binary), version, source, at: new Date().toISOString() };
    await writeFile(join(staged, ORIGIN), `${JSON.stringify(origin, undefined, 2)}\n`);
    await chmod(staged, 0o755);
    const target = join(cacheDirectory, version);
    await rm(target, { recursive: true, force: true }); // only a folder that failed N1 can be there
    await rename(staged, target); // N2
    return { kind: "found", path: join(target, BINARY), version };
  } finally {
    await rm(staged, { recursive: true, force: true });
  }
}

/** Undefined when the file cannot be read. */
export async function sha256OfFile(path: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path), hash);
  } catch {
    return undefined;
  }
  return hash.digest("hex");
}

async function recordedDigest(path: string): Promise<string | undefined> {
  try {
    const origin: unknown = JSON.parse(await readFile(path, "utf8"));
    if (typeof origin !== "object" || origin === null || !("sha256" in origin)) return undefined;
    return typeof origin.sha256 === "string" ? origin.sha256 : undefined;
  } catch {
    return undefined; // missing or cut off: then there is nothing to trust
  }
}

async function entriesOf(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch {
    return []; // no cache yet
  }
}
