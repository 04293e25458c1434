// The release route against a server of the test's own.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createReleaseRoute, targetOf } from "../../src/nats-server/release.ts";

const VERSION = "2.15.0";
const target = targetOf(process.platform, process.arch);

test("a tarball with the pinned digest is unpacked", async () => {
  await using place = await makePlace();
  const tarball = await place.tarball("a server");
  await using web = await serve((_request, response) => response.end(tarball));
  const outcome = await routeTo(web.url, digestOf(tarball)).provide(place.context);
  if (outcome.kind !== "made") throw new Error(`unexpected: ${JSON.stringify(outcome)}`);
  expect(await readFile(outcome.path, "utf8")).toBe("a server");
});

test("any other tarball is refused unopened", async () => {
  await using place = await makePlace();
  const tarball = await place.tarball("something else");
  await using web = await serve((_request, response) => response.end(tarball));
  const outcome = await routeTo(web.url, "0".repeat(64)).provide(place.context);
  expect(outcome).toMatchObject({ kind: "unavailable", reason: expect.stringContaining("not the pinned") });
});

test("a server that does not answer is given up in time", async () => {
  await using place = await makePlace();
  await using web = await serve(() => {});
  const outcome = await routeTo(web.url, "0".repeat(64)).provide(place.context);
  expect(outcome).toMatchObject({
    kind: "unavailable",
    reason: expect.stringContaining("no answer in time"),
  });
});

test("a refusal and a closed port are reasons, not errors", async () => {
  await using place = await makePlace();
  const web = await serve((_request, response) => response.writeHead(403).end());
  const route = routeTo(web.url, "0".repeat(64));
  expect(await route.provide(place.context)).toMatchObject({ reason: expect.stringContaining("HTTP 403") });
  await web[Symbol.asyncDispose]();
  expect(await route.provide(place.context)).toMatchObject({
    reason: expect.stringContaining("ECONNREFUSED"),
  });
});

function routeTo(url: string, sha256: string) {
  return createReleaseRoute({ version: VERSION, url, sha256: { [target]: sha256 }, answerTimeoutMs: 300 });
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function makePlace() {
  const scratch = await mkdtemp(join(tmpdir(), "everycore-release-"));
  return {
    context: { environment: process.env, cacheDirectory: scratch, scratch, log: () => {} },
    tarball: async (content: string) => {
      const folder = `nats-server-v${VERSION}-${target}`;
      const source = join(scratch, "source");
      await mkdir(join(source, folder), { recursive: true });
      await writeFile(join(source, folder, "nats-server"), content);
      const archive = join(scratch, "made.tar.gz");
      execFileSync("tar", ["-czf", archive, "-C", source, folder]);
      return readFile(archive);
    },
    [Symbol.asyncDispose]: () => rm(scratch, { recursive: true, force: true }),
  };
}

async function serve(listener: RequestListener) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
