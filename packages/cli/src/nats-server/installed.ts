// Routes to a server that the machine has already: the explicit setting, and PATH.

import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { type Route, type RouteContext, type RouteOutcome, unavailable } from "./routes.ts";
import { isRecentEnough, NATS_SERVER_VERSION_MIN, readVersion } from "./version.ts";

export const SETTING = "EVERYCORE_NATS_SERVER";

/** What the user names is used or refused, never silently replaced by another: see resolveNatsServer. */
export const settingRoute: Route = {
  source: "setting",
  title: `${SETTING} in the environment`,
  inspect: (context) => reportInstalled(settingRoute, context),
  provide: async ({ environment, signal }) => {
    const setting = environment[SETTING];
    if (!setting) return unavailable("not set");
    return checkBinary(resolve(setting), signal);
  },
};

export const pathRoute: Route = {
  source: "path",
  title: "nats-server on PATH",
  inspect: (context) => reportInstalled(pathRoute, context),
  provide: async ({ environment, signal }) => {
    const path = findOnPath("nats-server", environment);
    if (path === undefined) return unavailable("not on PATH");
    return checkBinary(path, signal);
  },
};

/** The first executable file of that name on PATH. */
export function findOnPath(name: string, environment: NodeJS.ProcessEnv): string | undefined {
  const directories = (environment.PATH ?? "").split(delimiter).filter((directory) => directory !== "");
  return directories.map((directory) => join(directory, name)).find(isExecutableFile);
}

async function checkBinary(path: string, signal: AbortSignal | undefined): Promise<RouteOutcome> {
  if (!isExecutableFile(path)) return unavailable(`${path} is not an executable file`);
  const version = await readVersion(path, signal);
  if (version === undefined) return unavailable(`${path} does not answer to --version as a nats-server`);
  if (!isRecentEnough(version)) {
    return unavailable(`${path} is ${version}, older than ${NATS_SERVER_VERSION_MIN}`);
  }
  return { kind: "found", path, version };
}

async function reportInstalled(route: Route, context: RouteContext) {
  const { source, title } = route;
  const outcome = await route.provide(context);
  if (outcome.kind !== "found") {
    const detail = outcome.kind === "unavailable" ? outcome.reason : "";
    return { source, title, state: "unavailable", detail } as const;
  }
  const { path, version } = outcome;
  return { source, title, state: "usable", detail: `${path} (${version})`, path, version } as const;
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
