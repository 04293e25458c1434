// The resolver over a home of its own, with little scripts in the place of servers and tools.

import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { goRoute } from "../../src/nats-server/go-install.ts";
import { inspectNatsServer, NatsServerNotFound, resolveNatsServer } from "../../src/nats-server/index.ts";
import type { Route } from "../../src/nats-server/routes.ts";

test("what the setting names is used, and named in one line", async () => {
  await using home = await makeHome();
  const path = await home.server("named/nats-server", "2.14.1");
  const lines: string[] = [];
  const environment = { ...home.environment, EVERYCORE_NATS_SERVER: path };
  const server = await resolveNatsServer({
    environment,
    log: (line) => lines.push(line),
    fetchingRoutes: [],
  });
  expect(server).toEqual({ path, version: "2.14.1", source: "setting" });
  expect(lines).toEqual([`nats-server 2.14.1 from EVERYCORE_NATS_SERVER in the environment: ${path}`]);
});

test("a setting that cannot be used is refused, although PATH has a good one", async () => {
  await using home = await makeHome();
  await home.server("bin/nats-server", "2.14.1");
  const old = await home.server("named/nats-server", "2.9.10");
  const environment = { ...home.environment, EVERYCORE_NATS_SERVER: old };
  const refused = resolveNatsServer({ environment, fetchingRoutes: [] });
  await expect(refused).rejects.toThrow(
    /EVERYCORE_NATS_SERVER cannot be used: .* is 2\.9\.10, older than 2\.12\.7/,
  );
});

test("PATH comes before the cache, unless its server is too old", async () => {
  await using home = await makeHome();
  const fetched = { environment: home.environment, fetchingRoutes: [makingRoute(home, "2.15.0")] };
  await resolveNatsServer(fetched);

  await home.server("bin/nats-server", "2.12.6");
  expect(await resolveNatsServer(fetched)).toMatchObject({ source: "cache", version: "2.15.0" });
  await home.server("bin/nats-server", "2.12.7");
  expect(await resolveNatsServer(fetched)).toMatchObject({ source: "path", version: "2.12.7" });
});

test("a binary in the cache that was changed is never run, but replaced", async () => {
  await using home = await makeHome();
  const options = { environment: home.environment, fetchingRoutes: [makingRoute(home, "2.15.0")] };
  const first = await resolveNatsServer(options);
  const witness = join(home.directory, "was-run");
  await writeFile(first.path, `#!/bin/sh\ntouch ${witness}\necho nats-server: v2.15.0\n`);

  const second = await resolveNatsServer(options);
  expect(second).toMatchObject({ path: first.path, source: "release" });
  expect(await readFile(second.path, "utf8")).not.toContain(witness);
  expect(await readdir(home.directory)).not.toContain("was-run");
});

test("two at once fetch once, and leave nothing half done", async () => {
  await using home = await makeHome();
  let fetchedCount = 0;
  const route = makingRoute(home, "2.15.0", () => (fetchedCount += 1));
  const options = { environment: home.environment, fetchingRoutes: [route] };
  const both = await Promise.all([resolveNatsServer(options), resolveNatsServer(options)]);
  expect(fetchedCount).toBe(1);
  expect(new Set(both.map((server) => server.path)).size).toBe(1);
  expect(await readdir(join(home.cache, "everycore", "nats-server"))).toEqual(["2.15.0"]);
});

test("a route that fails or gives something useless yields to the next", async () => {
  await using home = await makeHome();
  const failing = { ...makingRoute(home, "2.15.0"), provide: () => Promise.reject(new Error("broken pipe")) };
  const tooOld = makingRoute(home, "2.9.10");
  const good = { ...makingRoute(home, "2.15.2"), source: "go" } as const;
  const server = await resolveNatsServer({
    environment: home.environment,
    fetchingRoutes: [failing, tooOld, good],
  });
  expect(server).toMatchObject({ version: "2.15.2", source: "go" });
});

test("when nothing works the message names every route, its reason, and what to do", async () => {
  await using home = await makeHome();
  const failing = { ...makingRoute(home, "2.15.0"), provide: () => Promise.reject(new Error("broken pipe")) };
  const error = await resolveNatsServer({ environment: home.environment, fetchingRoutes: [failing] }).catch(
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(NatsServerNotFound);
  const { message } = error as NatsServerNotFound;
  for (const part of [
    "environment: not set",
    "not on PATH",
    "cache: nothing in",
    "test release: broken pipe",
  ]) {
    expect(message).toContain(part);
  }
  expect(message).toContain("put it on PATH");
});

test("an aborted signal ends the wait for a lock that somebody else holds", async () => {
  await using home = await makeHome();
  const lock = join(home.cache, "everycore", "nats-server", ".lock");
  await mkdir(join(lock, ".."), { recursive: true });
  await writeFile(lock, JSON.stringify({ pid: 1, host: "elsewhere", token: "t" }));
  const signal = AbortSignal.timeout(200);
  const waiting = resolveNatsServer({ environment: home.environment, fetchingRoutes: [], signal });
  await expect(waiting).rejects.toMatchObject({ name: expect.stringMatching(/AbortError|TimeoutError/) });
});

describe("go install", () => {
  test("asks Go for the pinned version, stripped, without C", async () => {
    await using home = await makeHome();
    const script = `echo "$@ CGO=$CGO_ENABLED" > ${join(home.directory, "asked")}
printf '#!/bin/sh\\necho nats-server: v2.15.2\\n' > "$GOBIN/nats-server"`;
    await home.script("bin/go", script);
    const server = await resolveNatsServer({ environment: home.environment, fetchingRoutes: [goRoute] });
    expect(server).toMatchObject({ version: "2.15.2", source: "go" });
    expect(await readFile(join(home.directory, "asked"), "utf8")).toBe(
      "install -trimpath -ldflags -s -w github.com/nats-io/nats-server/v2@v2.15.2 CGO=0\n",
    );
  });
});

test("inspect names six routes and downloads nothing", async () => {
  await using home = await makeHome();
  await home.server("bin/nats-server", "2.13.0");
  const reports = await inspectNatsServer({ environment: home.environment });
  expect(reports.map((report) => report.source)).toEqual([
    "setting",
    "path",
    "cache",
    "release",
    "debian",
    "go",
  ]);
  expect(reports[1]).toMatchObject({ state: "usable", version: "2.13.0" });
  expect(reports[5]).toMatchObject({ state: "unavailable", detail: "go is not on PATH" });
  expect(await readdir(home.directory)).toEqual(["bin"]);
});

interface Home extends AsyncDisposable {
  readonly directory: string;
  readonly cache: string;
  readonly environment: NodeJS.ProcessEnv;
  script(path: string, body: string): Promise<string>;
  /** A script that answers --version as nats-server does. */
  server(path: string, version: string): Promise<string>;
}

/** A folder that stands for a whole machine: nothing of the real PATH or cache is seen from it. */
async function makeHome(): Promise<Home> {
  const directory = await mkdtemp(join(tmpdir(), "everycore-resolver-"));
  const cache = join(directory, "cache");
  const script = async (path: string, body: string) => {
    const file = join(directory, path);
    await mkdir(join(file, ".."), { recursive: true });
    await writeFile(file, `#!/bin/sh\n${body}\n`);
    await chmod(file, 0o755);
    return file;
  };
  return {
    directory,
    cache,
    environment: { HOME: directory, XDG_CACHE_HOME: cache, PATH: join(directory, "bin") },
    script,
    server: (path, version) => script(path, `echo nats-server: v${version}`),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** A route that makes a server of that version in the scratch folder, as a download would. */
function makingRoute(home: Home, version: string, onFetch: () => void = () => {}): Route {
  const source = "release";
  const title = "test release";
  return {
    source,
    title,
    inspect: async () => ({ source, title, state: "possible", detail: home.directory }),
    provide: async ({ scratch }) => {
      onFetch();
      const path = join(scratch, "nats-server");
      await writeFile(path, `#!/bin/sh\necho nats-server: v${version}\n`);
      return { kind: "made", path };
    },
  };
}
