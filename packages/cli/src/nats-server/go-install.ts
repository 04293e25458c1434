// Built from source by the machine's Go: the slowest route (about a minute), and the one that works on platforms
// without a release. The sources are checked against Go's checksum database.

import { join } from "node:path";
import { findOnPath } from "./installed.ts";
import { type Route, type RouteContext, type RouteOutcome, unavailable } from "./routes.ts";
import { run } from "./run.ts";

export const GO_VERSION_BUILT = "2.15.2";

const MODULE = `github.com/nats-io/nats-server/v2@v${GO_VERSION_BUILT}`;
const BUILD_TIMEOUT_MS = 10 * 60_000;

export const goRoute: Route = {
  source: "go",
  title: `go install ${GO_VERSION_BUILT}`,
  inspect: async ({ environment }) => {
    const { source, title } = goRoute;
    const go = findOnPath("go", environment);
    if (go === undefined) return { source, title, state: "unavailable", detail: "go is not on PATH" };
    return { source, title, state: "possible", detail: `${go} can build it`, version: GO_VERSION_BUILT };
  },
  provide: provideByGo,
};

async function provideByGo(context: RouteContext): Promise<RouteOutcome> {
  const go = findOnPath("go", context.environment);
  if (go === undefined) return unavailable("go is not on PATH");
  const { GOOS: _os, GOARCH: _architecture, GOFLAGS: _flags, ...environment } = context.environment;
  await run(go, ["install", "-trimpath", "-ldflags", "-s -w", MODULE], {
    timeoutMs: BUILD_TIMEOUT_MS,
    cwd: context.scratch, // outside any module: a go.mod above would change what is built
    environment: { ...environment, GOBIN: context.scratch, CGO_ENABLED: "0" },
    signal: context.signal,
  });
  return { kind: "made", path: join(context.scratch, "nats-server") };
}
