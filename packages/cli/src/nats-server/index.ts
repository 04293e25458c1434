// Finds or fetches the nats-server that everycore starts (embedded clusters, `everycore up`, tests).
//
// R1  What the user names is used or refused; every other route is a convenience and yields to the next.
// R2  What is on the machine comes before what must be fetched, signed or pinned before built.
// R3  Nothing is installed outside our own cache, and nothing needs root.
// R4  Fetching happens under a lock, so two commands that start together fetch once.
//
// Each route is one file and one Route; this file knows only their order.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { withProcessLock } from "../../bin/process-lock.js";
import { cacheDirectoryOf, cacheRoute, installInCache } from "./cache.ts";
import { debianRoute } from "./debian.ts";
import { goRoute } from "./go-install.ts";
import { pathRoute, SETTING, settingRoute } from "./installed.ts";
import { releaseRoute } from "./release.ts";
import {
  type NatsServer,
  reasonOf,
  type Route,
  type RouteContext,
  type RouteReport,
  scratchParent,
} from "./routes.ts";
import { NATS_SERVER_VERSION_MIN } from "./version.ts";

export type { NatsServer, RouteName, RouteReport } from "./routes.ts";
export { NATS_SERVER_VERSION_MIN } from "./version.ts";

const LOCAL_ROUTES: readonly Route[] = [settingRoute, pathRoute, cacheRoute];
const FETCHING_ROUTES: readonly Route[] = [releaseRoute, debianRoute, goRoute];

export interface ResolveOptions {
  /** Gets the choice in one line, and a line for each slow step before it begins. Default: silent. */
  readonly log?: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  readonly environment?: NodeJS.ProcessEnv;
  /** The routes that download or build, in their order. Default: release, debian, go. Tests pass their own. */
  readonly fetchingRoutes?: readonly Route[];
}

/** No route gave a server; the message names each with its reason and says what to do. */
export class NatsServerNotFound extends Error {
  override readonly name = "NatsServerNotFound";
}

/** A server of at least NATS_SERVER_VERSION_MIN. The first call on a machine may download one. */
export async function resolveNatsServer(options: ResolveOptions = {}): Promise<NatsServer> {
  const context = contextOf(options);
  const { fetchingRoutes = FETCHING_ROUTES } = options;
  const reasons: string[] = [];
  const local = await askLocal(context, reasons);
  if (local) return local;
  const path = join(context.cacheDirectory, ".lock");
  const onWait = (holder: string) => context.log(`nats-server: waiting for ${holder}, which is fetching it`);
  try {
    return await withProcessLock({ path, signal: options.signal, onWait }, () =>
      fetchServer(context, fetchingRoutes, reasons),
    );
  } catch (error) {
    // the file system's refusals (a cache that cannot be written) are the user's to mend; the rest is not of that kind
    if (!(error instanceof Error && "syscall" in error)) throw error;
    throw new NatsServerNotFound(explain([...reasons, `cache: ${reasonOf(error)}`]), { cause: error });
  }
}

/** What each route would give now; downloads nothing. */
export async function inspectNatsServer(options: ResolveOptions = {}): Promise<readonly RouteReport[]> {
  const context = contextOf(options);
  return Promise.all([...LOCAL_ROUTES, ...FETCHING_ROUTES].map((route) => route.inspect(context)));
}

function contextOf(options: ResolveOptions): RouteContext {
  const environment = options.environment ?? process.env;
  const cacheDirectory = cacheDirectoryOf(environment);
  return {
    environment,
    cacheDirectory,
    scratch: scratchParent(environment),
    log: options.log ?? (() => {}),
    signal: options.signal,
  };
}

async function askLocal(context: RouteContext, reasons: string[]): Promise<NatsServer | undefined> {
  for (const route of LOCAL_ROUTES) {
    const outcome = await route.provide(context);
    if (outcome.kind === "found") return chosen(context, route, outcome);
    if (outcome.kind === "unavailable") reasons.push(`${route.title}: ${outcome.reason}`);
    if (route === settingRoute && context.environment[SETTING]) {
      throw new NatsServerNotFound(`${SETTING} cannot be used: ${reasons.at(-1)}. Correct or unset it.`); // R1
    }
  }
  return undefined;
}

/** The caller holds the lock (R4). */
async function fetchServer(
  outer: RouteContext,
  routes: readonly Route[],
  reasons: string[],
): Promise<NatsServer> {
  const already = await cacheRoute.provide(outer); // whoever held the lock before may have fetched it
  if (already.kind === "found") return chosen(outer, cacheRoute, already);
  for (const route of routes) {
    const report = await route.inspect(outer);
    if (report.state === "unavailable") {
      reasons.push(`${route.title}: ${report.detail}`);
      continue;
    }
    outer.log(`nats-server: trying ${route.title}`);
    const server = await fetchBy(route, outer, reasons);
    if (server) return server;
  }
  throw new NatsServerNotFound(explain(reasons));
}

async function fetchBy(
  route: Route,
  outer: RouteContext,
  reasons: string[],
): Promise<NatsServer | undefined> {
  await mkdir(outer.cacheDirectory, { recursive: true });
  const scratch = await mkdtemp(join(outer.scratch, "everycore-nats-server-"));
  const context = { ...outer, scratch };
  try {
    let outcome = await route.provide(context);
    if (outcome.kind === "made") {
      const { cacheDirectory, signal } = context;
      outcome = await installInCache({ cacheDirectory, binary: outcome.path, source: route.source, signal });
    }
    if (outcome.kind === "found") return chosen(context, route, outcome);
    if (outcome.kind === "unavailable") reasons.push(`${route.title}: ${outcome.reason}`);
  } catch (error) {
    context.signal?.throwIfAborted();
    reasons.push(`${route.title}: ${reasonOf(error)}`);
  } finally {
    await removeScratch(scratch);
  }
  return undefined;
}

/** Go's module cache is read-only by design; a build that was cut short may leave some of it here. */
async function removeScratch(scratch: string): Promise<void> {
  await rm(scratch, { recursive: true, force: true, maxRetries: 2 }).catch(() => {});
}

function chosen(context: RouteContext, route: Route, found: { path: string; version: string }): NatsServer {
  context.log(`nats-server ${found.version} from ${route.title}: ${found.path}`);
  return { path: found.path, version: found.version, source: route.source };
}

function explain(reasons: readonly string[]): string {
  return [
    `No nats-server ${NATS_SERVER_VERSION_MIN} or later was found or could be fetched:`,
    ...reasons.map((reason) => `  - ${reason}`),
    `Install one (https://docs.nats.io/running-a-nats-service/introduction/installation) and put it on PATH,`,
    `or name its file in ${SETTING}.`,
  ].join("\n");
}
