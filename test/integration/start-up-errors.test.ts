// What a role says when it cannot start: one sentence, a hint, the right exit code; no stack trace, no hanging.

import { chmodSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { natsUser } from "../../packages/cli/src/local/nats-config.ts";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { everycore, makeTestUser } from "../support/command.ts";
import { startNatsServer } from "../support/nats-server.ts";
import { Role, RoleFailed } from "../support/role.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 1, slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

function coordinator(change: Readonly<Record<string, unknown>>): Role {
  const { secret, nats } = cluster;
  const urls = [nats.url];
  const config = {
    listen: "127.0.0.1:0",
    httpListen: "127.0.0.1:0",
    nats: { urls, ...natsUser(secret, "coordinator") },
    agentNats: { urls, ...natsUser(secret, "agent") },
    secret,
    dataDir: cluster.path("second-coordinator"),
    logLevel: "info",
    lifeline: true,
    insecureNetwork: false,
    ...change,
  };
  return new Role({ role: "coordinator", config, logFile: cluster.path("second-coordinator.log") });
}

function agent(change: Readonly<Record<string, unknown>>): Role {
  const config = { ...cluster.agentConfig({ dataDir: cluster.path("second-agent"), slots: 1 }), ...change };
  return new Role({ role: "node-agent", config, logFile: cluster.path("second-agent.log") });
}

async function failureOf(role: Role): Promise<RoleFailed> {
  try {
    await role.start();
  } catch (error) {
    if (error instanceof RoleFailed) return error;
    throw error;
  }
  await role.stop();
  throw new Error("it started");
}

async function listening(handle: (server: Server) => void): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer();
  handle(server);
  const ready = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", ready.resolve);
  await ready.promise;
  const { port } = server.address() as AddressInfo; // a TCP server's address
  return { port, [Symbol.asyncDispose]: () => new Promise<void>((closed) => server.close(() => closed())) };
}

test("a taken port is named, for gRPC and for HTTP", async () => {
  await using taken = await listening(() => {});
  const address = `127.0.0.1:${taken.port}`;
  for (const field of ["listen", "httpListen"]) {
    const failure = await failureOf(coordinator({ [field]: address }));
    expect(failure.message).toContain(address);
    expect(failure).toMatchObject({ code: "conflict", exitCode: 2 });
  }
  const failure = await failureOf(agent({ httpListen: address }));
  expect(failure.message).toContain(address);
  expect(failure).toMatchObject({ code: "conflict", exitCode: 2 });
});

test("NATS that cannot be reached is named", { timeout: 60_000 }, async () => {
  await using closed = await listening(() => {});
  const url = `nats://127.0.0.1:${closed.port}`;
  await closed[Symbol.asyncDispose]();
  const nats = { urls: [url], ...natsUser(cluster.secret, "coordinator") };
  const failure = await failureOf(coordinator({ nats }));
  expect(failure.message).toContain(url);
  expect(failure).toMatchObject({ code: "unreachable", exitCode: 4 });
});

test("a wrong NATS password is refused, not tried for ever", { timeout: 60_000 }, async () => {
  const nats = { urls: [cluster.nats.url], user: "coordinator", password: "wrong" };
  const failure = await failureOf(coordinator({ nats }));
  expect(failure.message).toMatch(/NATS|nats/);
  expect(failure.exitCode).toBe(4);
});

test("a NATS server that is too old is named with its version and the one that is needed", async () => {
  const info = {
    server_id: "OLD",
    version: "2.9.10",
    proto: 1,
    max_payload: 1_048_576,
    headers: true,
    jetstream: true,
  };
  await using old = await listening((server) =>
    server.on("connection", (socket) => {
      socket.on("error", () => {}); // the client leaves as it likes
      socket.write(`INFO ${JSON.stringify(info)}\r\n`);
      socket.on("data", (data: Buffer) => {
        if (data.includes("PING")) socket.write("PONG\r\n");
      });
    }),
  );
  const nats = { urls: [`nats://127.0.0.1:${old.port}`], ...natsUser(cluster.secret, "coordinator") };
  const failure = await failureOf(coordinator({ nats }));
  expect(failure.message).toMatch(/2\.9\.10/);
  expect(`${failure.message} ${failure.hint}`).toMatch(/2\.12\.7/);
  expect(failure.exitCode).toBe(4);
});

test("NATS without JetStream is said to be without it", async () => {
  await using plain = await startNatsServer({ jetstream: false });
  const nats = { urls: [plain.url], user: "coordinator", password: "any" };
  const failure = await failureOf(coordinator({ nats }));
  expect(failure.message).toMatch(/JetStream/);
  expect(failure.exitCode).toBe(4);
});

test("an old nats-server binary named by the user is refused with both versions", async () => {
  await using user = await makeTestUser();
  const fake = user.path("nats-server");
  writeFileSync(fake, "#!/bin/sh\necho 'nats-server: v2.9.10'\n");
  chmodSync(fake, 0o755);
  const args = ["run", "--range", "1-1", "--", "true"];
  const { code, stderr } = await user.run(args, { environment: { EVERYCORE_NATS_SERVER: fake } });
  expect(stderr).toMatch(/2\.9\.10/);
  expect(stderr).toMatch(/2\.12\.7/);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(code).toBe(4);
});

test("the state directory of another, running agent is refused, naming it", async () => {
  const owner = cluster.agents[0]!;
  const failure = await failureOf(agent({ dataDir: owner.dataDir }));
  expect(failure.message).toContain(owner.dataDir);
  expect(failure).toMatchObject({ code: "conflict", exitCode: 2 });
});

test("an agent with a wrong secret is refused and ends", { timeout: 60_000 }, async () => {
  const failure = await failureOf(agent({ secret: "0".repeat(64) }));
  expect(failure.message).toMatch(/secret/);
  expect(failure).toMatchObject({ code: "refused", exitCode: 4 });
});

test("a state directory that cannot be written is named", async () => {
  writeFileSync(cluster.path("a-file"), "");
  const dataDir = join(cluster.path("a-file"), "state");
  const failure = await failureOf(agent({ dataDir }));
  expect(failure.message).toContain(dataDir);
  expect(failure.exitCode).toBe(2);
});

test("listening beyond loopback needs --insecure-network: exit 2 for roles and command", async () => {
  for (const role of [
    coordinator({ listen: "0.0.0.0:0" }),
    coordinator({ httpListen: "0.0.0.0:0" }),
    agent({ httpListen: "0.0.0.0:0" }),
  ]) {
    const failure = await failureOf(role);
    expect(`${failure.message} ${failure.hint}`).toMatch(/--insecure-network/);
    expect(failure.exitCode).toBe(2);
  }
  for (const args of [
    ["up", "--listen", "0.0.0.0:7999"],
    ["coordinator", "--listen", "0.0.0.0:7999"],
    ["agent", "--http-listen", "0.0.0.0:7999"],
  ]) {
    const { code, stderr } = await everycore(args);
    expect(stderr).toMatch(/--insecure-network/);
    expect(code).toBe(2);
  }
});

test("a configuration that is none is refused in one sentence", async () => {
  for (const role of [
    coordinator({ secret: 5 }),
    coordinator({ listen: "nowhere" }),
    agent({ join: "nobody" }),
    agent({ slots: -1 }),
  ]) {
    const failure = await failureOf(role);
    expect(failure).toMatchObject({ code: "bad-input", exitCode: 2 });
    expect(failure.message).not.toBe("");
  }
});
