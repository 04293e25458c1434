/** Processes of a local cluster, with real ones: nats-server itself, and small programs in the place of roles. */
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { Child } from "../src/local/child.ts";
import { keepAddresses, keptAddresses, untilAddressesFree } from "../src/local/kept-addresses.ts";
import { KeptPart } from "../src/local/kept-part.ts";
import { natsUser } from "../src/local/nats-config.ts";
import { freePort } from "../src/local/free-port.ts";
import { startNats } from "../src/local/parts.ts";
import { keepSecret, makeStateFolder, takeFolder } from "../src/local/state-folder.ts";
import { resolveNatsServer } from "../src/nats-server/index.ts";

const secret = "5".repeat(64);
const { signal } = new AbortController();

async function folder(): Promise<{ dir: string } & AsyncDisposable> {
  const dir = await mkdtemp(join(tmpdir(), "everycore-test-local-"));
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true, maxRetries: 3 }) };
}

test("nats-server lets the coordinator use JetStream, the agent not, and a stranger not in", async () => {
  await using at = await folder();
  const { path } = await resolveNatsServer();
  const { child, ready } = await startNats({ path, dir: at.dir, secret, listen: "127.0.0.1:0", signal });
  const servers = `127.0.0.1:${ready.port}`;
  try {
    const { user, password: pass } = natsUser(secret, "coordinator");
    const coordinator = await connect({ servers, user, pass });
    await (
      await jetstreamManager(coordinator)
    ).streams.add({ name: "EC_LOG_x", subjects: ["ec.v1.log.x.>"] });
    const agent = await connect({
      servers,
      user: "agent",
      pass: natsUser(secret, "agent").password,
      inboxPrefix: "_INBOX.agent",
    });
    agent.subscribe("ec.v1.lease.n1", { callback: (_, message) => void message.respond("taken") });
    await agent.flush();
    expect((await coordinator.request("ec.v1.lease.n1", "x")).string()).toBe("taken");
    expect((await agent.request("ec.v1.log.x.n1.j1", "outcome")).json()).toMatchObject({
      stream: "EC_LOG_x",
    });
    await expect(agent.request("$JS.API.STREAM.INFO.EC_LOG_x", "", { timeout: 500 })).rejects.toThrow();
    await expect(connect({ servers, user: "agent", pass: "guess" })).rejects.toThrow();
    await Promise.all([agent.close(), coordinator.close()]);
  } finally {
    await child.stop();
  }
  expect(child.isEnded).toBe(true);
  expect((await stat(join(at.dir, "nats-server.conf"))).mode & 0o077).toBe(0);
});

test("nats-server on a port that is taken is one sentence", async () => {
  await using at = await folder();
  const { path } = await resolveNatsServer();
  const first = await startNats({
    path,
    dir: join(at.dir, "one"),
    secret,
    listen: `127.0.0.1:${await freePort()}`,
    signal,
  });
  try {
    const second = startNats({
      path,
      dir: join(at.dir, "two"),
      secret,
      listen: `127.0.0.1:${first.ready.port}`,
      signal,
    });
    await expect(second).rejects.toThrow(/nats-server did not start: .*address already in use/);
  } finally {
    await first.child.stop();
  }
});

async function role(at: { dir: string }, program: string): Promise<Child> {
  const file = join(at.dir, "role.mjs");
  await writeFile(file, program);
  return new Child({
    name: "role",
    command: process.execPath,
    args: [file],
    logFile: join(at.dir, "role.log"),
  });
}

test("a role is ready when it says so, and its lifeline ends it", async () => {
  await using at = await folder();
  const child = await role(
    at,
    'process.stdin.resume().on("end", () => process.exit(0)); console.log(JSON.stringify({ ready: true, address: "a:1" }));',
  );
  expect(await child.ready(signal)).toMatchObject({ address: "a:1" });
  child.process.stdin!.end(); // what the kernel does when we die
  expect(await child.ended).toBe("exit code 0");
});

test("a role that cannot start gives its own sentence; one that just dies gives the end of its log", async () => {
  await using at = await folder();
  const refusing = await role(
    at,
    'console.log(JSON.stringify({ ready: false, code: "conflict", message: "port 1 is taken", hint: "use 2" })); process.exit(2);',
  );
  await expect(refusing.ready(signal)).rejects.toMatchObject({
    code: "conflict",
    message: "port 1 is taken",
    hint: "use 2",
  });
  const dying = await role(at, 'process.stderr.write("out of luck\\n", () => process.exit(9));');
  await expect(dying.ready(signal)).rejects.toThrow(/exit code 9[^]*out of luck/);
});

test("a role that ignores SIGTERM does not keep us: an abort ends the wait for it", async () => {
  await using at = await folder();
  const child = await role(at, "setInterval(() => {}, 1000);");
  const stop = new AbortController();
  const waiting = child.ready(stop.signal);
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  await child.stop();
  expect(child.isEnded).toBe(true);
});

test("a state folder has one owner at a time, and one secret for ever", async () => {
  await using at = await folder();
  const dir = join(at.dir, "state");
  await makeStateFolder(dir);
  const first = await keepSecret(join(dir, "secret"));
  expect(first).toMatch(/^[0-9a-f]{64}$/);
  expect(await keepSecret(join(dir, "secret"))).toBe(first);
  await writeFile(join(dir, "owner.pid"), "4194305"); // of a process that is gone
  const owner = await takeFolder(dir);
  expect(owner.wasKilled).toBe(true);
  await writeFile(join(dir, "owner.pid"), String(process.ppid)); // a Node process that is not us
  await expect(takeFolder(dir)).rejects.toMatchObject({ code: "conflict" });
  await owner[Symbol.asyncDispose]();
  await using next = await takeFolder(dir);
  expect(next.wasKilled).toBe(false);
});

const living =
  'process.stdin.resume().on("end", () => process.exit(0)); console.log(JSON.stringify({ ready: true, pid: process.pid }));';

test("a part that is killed is started again, knows its former address, and is said; closing ends it", async () => {
  await using at = await folder();
  const said: string[] = [];
  const again = Promise.withResolvers<Child>();
  let first: Child | undefined;
  const part = new KeptPart<{ address: string }>({
    name: "coordinator",
    say: (line) => said.push(line),
    start: async (previous, stop) => {
      const child = await role(at, living);
      await child.ready(stop);
      if (previous === undefined) first = child;
      else again.resolve(child);
      return { child, ready: { address: previous === undefined ? "a:1" : `${previous.address} again` } };
    },
  });
  expect(await part.open(signal)).toEqual({ address: "a:1" });
  first!.process.kill("SIGKILL");
  const second = await again.promise;
  expect(said).toEqual(["coordinator ended (signal SIGKILL); it is started again"]);
  await part.close("orderly");
  await part.close("orderly");
  expect(second.isEnded).toBe(true);
});

test("a part that ended because somebody asked for it stays away, and is said", async () => {
  await using at = await folder();
  const said = Promise.withResolvers<string>();
  let starts = 0;
  const part = new KeptPart<Child>({
    name: "agent-1",
    say: said.resolve,
    start: async (_, stop) => {
      starts += 1;
      const child = await role(at, living);
      return { child, ready: await child.ready(stop).then(() => child) };
    },
    isMeant: (how) => how === "exit code 0",
  });
  const child = await part.open(signal);
  child.process.stdin!.end();
  expect(await said.promise).toBe("agent-1 was drained and has ended; it stays away");
  await part.close("orderly");
  expect(starts).toBe(1);
});

test("the addresses of an `up` are taken again while they are free, on loopback alone", async () => {
  await using at = await folder();
  const any = "127.0.0.1:0";
  expect(await keptAddresses(at.dir)).toEqual({ listen: any, httpListen: any });
  const server = createServer();
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", listening.resolve);
  await listening.promise;
  const taken = `127.0.0.1:${(server.address() as AddressInfo).port}`; // a TCP server's address
  await keepAddresses(at.dir, { listen: taken, httpListen: "0.0.0.0:7071" });
  expect(await keptAddresses(at.dir)).toEqual({ listen: any, httpListen: any });
  // Those of the former one's parts that are still ending are waited for.
  const waiting = keptAddresses(at.dir, 20_000);
  const asked = untilAddressesFree([taken, "127.0.0.1:0", undefined], 20_000);
  const closed = Promise.withResolvers<void>();
  server.close(() => closed.resolve());
  await closed.promise;
  expect((await waiting).listen).toBe(taken);
  await asked;
  expect((await keptAddresses(at.dir)).listen).toBe(taken);
  await writeFile(join(at.dir, "addresses.json"), "{");
  expect(await keptAddresses(at.dir)).toEqual({ listen: any, httpListen: any });
});

test("closing a part while it starts ends it too", async () => {
  await using at = await folder();
  let child: Child | undefined;
  const part = new KeptPart({
    name: "agent-1",
    say: () => {},
    start: async (_, stop) => {
      child = await role(at, "process.stdin.resume();"); // never ready
      try {
        return { child, ready: await child.ready(stop) };
      } finally {
        if (stop.aborted) await child.stop();
      }
    },
  });
  const opening = part.open(signal);
  await part.close("orderly");
  await expect(opening).rejects.toMatchObject({ code: "cancelled" });
  await child!.stop();
  expect(child!.isEnded).toBe(true);
});
