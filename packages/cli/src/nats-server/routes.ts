// The words that all routes to a nats-server share.

import { tmpdir } from "node:os";

/** A server that can be started: where it is, what it says it is, and which route gave it. */
export interface NatsServer {
  readonly path: string;
  readonly version: string;
  readonly source: RouteName;
}

export type RouteName = "setting" | "path" | "cache" | "release" | "debian" | "go";

/**
 * How asking a route ended. `found`: a server in place. `made`: a fresh binary in a scratch folder, which the cache
 * has yet to take in. `unavailable`: not by this route, and why; the next one is asked.
 */
export type RouteOutcome =
  | { readonly kind: "found"; readonly path: string; readonly version: string }
  | { readonly kind: "made"; readonly path: string }
  | { readonly kind: "unavailable"; readonly reason: string };

/** What a route works with. `scratch` is a private folder, removed when the resolver is done. */
export interface RouteContext {
  readonly environment: NodeJS.ProcessEnv;
  readonly cacheDirectory: string;
  readonly scratch: string;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** What `everycore doctor` shows of a route; nothing was downloaded to find out. */
export interface RouteReport {
  readonly source: RouteName;
  readonly title: string;
  /** usable: a server is there now. possible: it could be fetched or built. unavailable: neither. */
  readonly state: "usable" | "possible" | "unavailable";
  readonly detail: string;
  readonly path?: string;
  readonly version?: string;
}

/** One way to a server. `inspect` never downloads and never fails; `provide` may take minutes. */
export interface Route {
  readonly source: RouteName;
  readonly title: string;
  inspect(context: RouteContext): Promise<RouteReport>;
  provide(context: RouteContext): Promise<RouteOutcome>;
}

export function unavailable(reason: string): RouteOutcome {
  return { kind: "unavailable", reason };
}

/** The last resort for scratch folders when the cache cannot be written. */
export function scratchParent(environment: NodeJS.ProcessEnv): string {
  return environment.TMPDIR || tmpdir();
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
