// The project's own release: the official tarball, pinned by version and digest.
// Where the internet is closed this must fail within seconds, because two more routes wait behind it.

import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { reasonOf, type Route, type RouteContext, type RouteOutcome, unavailable } from "./routes.ts";
import { run } from "./run.ts";

/** What is pinned. Tests serve one of their own. */
export interface Release {
  readonly version: string;
  /** Folder of the tarballs, without a slash at the end. */
  readonly url: string;
  /** By target, such as linux-amd64. */
  readonly sha256: Readonly<Record<string, string>>;
  /** How long a server may take to begin its answer. */
  readonly answerTimeoutMs: number;
}

const OFFICIAL: Release = {
  version: "2.15.0",
  url: "https://github.com/nats-io/nats-server/releases/download/v2.15.0",
  // as published with the release; several independent repositories record the same
  sha256: {
    "linux-amd64": "5d2c51caca950333aba84911df7d377f826f3a59ec36061c6539105084f65c92",
    "linux-arm64": "cdc208f5a3f42963a52b6ab06ef65626bb870315dc936e26ba571780c6351112",
    "darwin-arm64": "e1c4e22d70bd44abfa0bcb3c16f7cf0c66f648c2e728c58924e8a1ce88913cc8",
  },
  answerTimeoutMs: 8_000,
};

const DOWNLOAD_TIMEOUT_MS = 120_000;
const UNPACK_TIMEOUT_MS = 30_000;
const TARBALL_BYTES_MAX = 64 * 1024 * 1024;

export const releaseRoute: Route = createReleaseRoute(OFFICIAL);

export function createReleaseRoute(release: Release): Route {
  const { version } = release;
  const source = "release";
  const title = `official release ${version}`;
  return {
    source,
    title,
    inspect: async () => {
      const target = targetOf(process.platform, process.arch);
      if (release.sha256[target] === undefined) {
        return { source, title, state: "unavailable", detail: `no pinned release for ${target}` };
      }
      return { source, title, state: "possible", detail: tarballUrl(release, target), version };
    },
    provide: (context) => provideRelease(release, context),
  };
}

async function provideRelease(release: Release, context: RouteContext): Promise<RouteOutcome> {
  const { scratch, signal } = context;
  const target = targetOf(process.platform, process.arch);
  const expected = release.sha256[target];
  if (expected === undefined) return unavailable(`no pinned release for ${target}`);
  const url = tarballUrl(release, target);
  let tarball: Uint8Array;
  try {
    tarball = await download(url, release.answerTimeoutMs, signal);
  } catch (error) {
    signal?.throwIfAborted();
    return unavailable(`${url}: ${describeNetworkError(error)}`);
  }
  const actual = createHash("sha256").update(tarball).digest("hex");
  if (actual !== expected)
    return unavailable(`the tarball's sha256 is ${actual}, not the pinned ${expected}`);

  const archive = join(scratch, "release.tar.gz");
  await writeFile(archive, tarball);
  await run("tar", ["-xzf", archive, "-C", scratch], { timeoutMs: UNPACK_TIMEOUT_MS, signal });
  return { kind: "made", path: join(scratch, `nats-server-v${release.version}-${target}`, "nats-server") };
}

/** Two deadlines: a server that does not answer is given up soon, one that sends slowly is not. */
async function download(
  url: string,
  answerTimeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const answered = new AbortController();
  const answerTimer = setTimeout(() => answered.abort(new Error("no answer in time")), answerTimeoutMs);
  const signals = [answered.signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS), ...(signal ? [signal] : [])];
  try {
    const response = await fetch(url, { signal: AbortSignal.any(signals) });
    clearTimeout(answerTimer);
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    if (Number(response.headers.get("content-length") ?? 0) > TARBALL_BYTES_MAX) throw new Error("too large");
    return new Uint8Array(await response.arrayBuffer());
  } finally {
    clearTimeout(answerTimer);
  }
}

/** fetch hides the reason ("fetch failed") in its cause. */
function describeNetworkError(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? cause.message || reasonOf(error) : reasonOf(error);
}

/** As the project names its targets. */
export function targetOf(platform: string, architecture: string): string {
  return `${platform}-${architecture === "x64" ? "amd64" : architecture}`;
}

function tarballUrl(release: Release, target: string): string {
  return `${release.url}/nats-server-v${release.version}-${target}.tar.gz`;
}
