// Several coordinators: whichever is asked answers under any leader, and when the leader dies or stands still, agents
// and clients that know one address go on by themselves. What was begun is not begun again.

import { Connection } from "@everycore/client/internal";
import { expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore, jsonLines } from "../support/command.ts";
import { RunLog, codeOf, collect, indexesOf, submit, taskFile, upTo, valuesOf } from "../support/jobs.ts";
import type { Role } from "../support/role.ts";
import { until } from "../support/until.ts";

const three = { coordinators: 3, agents: 2, slots: 1 };

async function leads(cluster: TestCluster, among: readonly Role[]): Promise<Role> {
  return until(
    async () => {
      for (const role of among) if ((await role.metric("everycore_leading")) === 1) return role;
      return undefined;
    },
    { withinMs: 20_000, what: "one of the others to lead" },
  );
}

const bothConnected = (client: Connection): Promise<unknown> =>
  until(async () => (await client.listNodes()).filter(({ state }) => state === "connected").length === 2, {
    withinMs: 30_000,
    what: "both agents to be linked to the new leader",
  });

/** Thirty commands, each a process. */
const verbsMs = 300_000;

test(
  "every verb of the command works against a coordinator that stands by",
  { timeout: verbsMs },
  async () => {
    await using cluster = await startCluster(three);
    const [standby] = cluster.standbys;
    const environment = { EVERYCORE_ADDRESS: standby!.text("address"), EVERYCORE_SECRET: cluster.secret };
    const run = async (args: readonly string[], code = 0): Promise<Ended> => {
      const ended = await everycore(args, { environment });
      expect(ended, `${args.join(" ")}: ${ended.stderr}`).toMatchObject({ code });
      return ended;
    };
    const mapped = await run(["map", `${taskFile("arithmetic.ts")}:square`, "--range", "0-99", "-q"]);
    expect(jsonLines(mapped.stdout)).toEqual(upTo(100).map((index) => ({ index, value: index * index })));
    const programs = await run(["run", "-q", "--range", "1-3", "--", "echo", "item", "{}"]);
    expect(programs.stdout).toContain("item 2");
    const failed = await run(["map", `${taskFile("failures.ts")}:odd`, "--range", "0-3", "-q"], 1);
    expect(failed.stdout).toContain("error");

    const jobs = JSON.parse((await run(["job", "list", "-o", "json"])).stdout) as { id: string }[];
    expect(jobs.length).toBe(3);
    const log = new RunLog(cluster.dir);
    const held = await submit(cluster.client, {
      task: "recorded.ts:run",
      items: upTo(6).map((n) => log.item(n, { isHeld: true })),
    });
    await log.hasBegun(1);
    await run(["job", "get", held]);
    await run(["job", "get", held, "--explain"]);
    await run(["job", "pause", held]);
    await run(["job", "resume", held]);
    await run(["job", "cancel", held]);
    await run(["job", "wait", held], 3);
    await run(["job", "retry", held]);
    log.open();
    await run(["job", "wait", held]);
    await run(["job", "watch", held]);
    expect(jsonLines((await run(["job", "results", held])).stdout).length).toBe(6);
    await run(["job", "output", held]);
    expect((await run(["job", "audit", held])).stdout).toContain("6");
    await run(["job", "replay", held, "--item", "2"]);
    await run(["job", "delete", held]);
    await run(["job", "get", held], 2); // the leader's refusal, as it put it
    const nodes = JSON.parse((await run(["node", "list", "-o", "json"])).stdout) as { id: string }[];
    await run(["node", "get", nodes[0]!.id]);
    await run(["node", "drain", nodes[0]!.id]);
    const status = JSON.parse((await run(["status", "-o", "json"])).stdout) as Record<string, unknown>;
    expect(status).toMatchObject({ leading: false, leader: cluster.address, problems: [] });
    expect(await standby!.metric("everycore_grpc_server_handled_total", 'method="JobService.List"')).toBe(1);
  },
);

test("status and node list name the coordinators: which leads, which stand by", async () => {
  await using cluster = await startCluster(three);
  const environment = {
    EVERYCORE_ADDRESS: cluster.standbys[1]!.text("address"),
    EVERYCORE_SECRET: cluster.secret,
  };
  for (const verb of [["status"], ["node", "list"]]) {
    const { stdout } = await everycore(verb, { environment });
    expect(stdout).toMatch(new RegExp(`${cluster.address} +\\S+ +leads`));
    for (const standby of cluster.standbys)
      expect(stdout).toMatch(new RegExp(`${standby.text("address")} +\\S+ +stands by`));
  }
  // One that ends says so; nobody waits for its silence.
  await cluster.standbys[0]!.stop();
  const known = async (): Promise<number> => (await cluster.client.status()).coordinators.length;
  await until(async () => (await known()) === 2, {
    withinMs: 2_000,
    what: "the one that left to be forgotten",
  });
});

test("a secret that is wrong is refused by a coordinator that stands by, before anything goes on", async () => {
  await using cluster = await startCluster({ ...three, agents: 0 });
  const address = cluster.standbys[0]!.text("address");
  await using stranger = new Connection({ address, secret: "0".repeat(64) });
  expect(await codeOf(stranger.listJobs())).toBe("refused");
  expect(
    await cluster.coordinator.metric("everycore_grpc_server_handled_total", 'method="JobService.List"'),
  ).toBeFalsy();
});

test("kill -9 of the leader while results stream and an input is open: nothing runs twice, nobody has to act", async () => {
  await using cluster = await startCluster(three);
  await using client = cluster.clientOf(cluster.standbys[0]!);
  const log = new RunLog(cluster.dir);
  const items = upTo(120).map((index) => log.item(index, { ms: 20, isHeld: index >= 40 }));
  const job = await submit(client, { task: "recorded.ts:run", items });
  const reading = collect(client, job);
  reading.catch(() => {}); // awaited below
  const half = Promise.withResolvers<void>();
  async function* open(): AsyncGenerator<unknown> {
    for (let n = 0; n < 50; n += 1) yield n;
    await half.promise;
    for (let n = 50; n < 100; n += 1) yield n;
  }
  const submitting = submit(client, { task: "arithmetic.ts:square", items: open(), pipe: true });
  submitting.catch(() => {}); // awaited below
  const held = (): number => log.begun().filter((index) => index >= 40).length;
  await until(() => held() === 2, { what: "both slots to be in the middle of an item" });

  await cluster.coordinator.kill("SIGKILL");
  await leads(cluster, cluster.standbys);
  await bothConnected(client);
  half.resolve();
  log.open();

  const { outcomes, info } = await reading;
  expect(indexesOf(outcomes)).toEqual(upTo(120));
  expect(valuesOf(outcomes)).toEqual(upTo(120));
  expect(log.repeated()).toEqual([]);
  expect(info).toMatchObject({ state: "done", strikes: 0, counts: { value: 120 } });
  const appended = await submitting;
  expect(valuesOf((await collect(client, appended)).outcomes)).toEqual(upTo(100).map((n) => n * n));
  expect((await client.listJobs()).total).toBe(2);
  for (const id of [job, appended])
    expect(await client.auditJob(id)).toMatchObject({ closed: true, invalid: 0, duplicate: 0 });
});

test("a leader that stands still for longer than its lease steps down, and nothing is counted twice", async () => {
  await using cluster = await startCluster(three);
  await using client = cluster.clientOf(cluster.standbys[0]!);
  const log = new RunLog(cluster.dir);
  const items = upTo(200).map((index) => log.item(index, { ms: 20, isHeld: index >= 60 }));
  const job = await submit(client, { task: "recorded.ts:run", items });
  const reading = collect(client, job);
  reading.catch(() => {}); // awaited below
  await log.hasBegun(20);
  const { epoch } = await client.status();

  await cluster.coordinator.kill("SIGSTOP");
  const next = await leads(cluster, cluster.standbys);
  await bothConnected(client);
  await cluster.coordinator.kill("SIGCONT");
  await using old = cluster.clientOf(cluster.coordinator);
  const after = await until(
    async () => {
      const status = await old.status();
      return !status.leading && status.leader === next.text("address") && status.epoch > epoch
        ? status
        : undefined;
    },
    { what: "the old leader to stand by" },
  );
  expect(after.coordinators.filter(({ leading }) => leading).length).toBe(1);
  log.open();

  const { outcomes, info } = await reading;
  expect(valuesOf(outcomes)).toEqual(upTo(200));
  expect(log.repeated()).toEqual([]);
  expect(info).toMatchObject({ state: "done", strikes: 0, counts: { value: 200 } });
  expect(await old.auditJob(job)).toMatchObject({ closed: true, covered: 200, invalid: 0, duplicate: 0 });
});

test("the coordinator that a client talks to dies, and the client goes on with another", async () => {
  await using cluster = await startCluster({ ...three, agents: 1 });
  await using client = cluster.clientOf(cluster.standbys[0]!);
  const log = new RunLog(cluster.dir);
  const items = upTo(40).map((n) => log.item(n, { isHeld: n >= 10 }));
  const job = await submit(client, { task: "recorded.ts:run", items });
  const reading = collect(client, job);
  reading.catch(() => {}); // awaited below
  await log.hasBegunItem(10);
  await cluster.standbys[0]!.kill("SIGKILL");
  log.open();
  const { outcomes } = await reading;
  expect(valuesOf(outcomes)).toEqual(upTo(40));
  expect(client.address).not.toBe(cluster.standbys[0]!.text("address"));
  expect(log.repeated()).toEqual([]);
});

test("an agent that knows one address finds each next leader; the last coordinator serves alone", async () => {
  await using cluster = await startCluster({ ...three, agents: 1 });
  await using client = cluster.clientOf(cluster.standbys[0]!);
  await client.status(); // its answer names the others
  await cluster.coordinator.kill("SIGKILL");
  const second = await leads(cluster, cluster.standbys);
  const [last] = cluster.standbys.filter((role) => role !== second);
  await second.kill("SIGKILL");
  await leads(cluster, [last!]);
  const job = await submit(client, { task: "arithmetic.ts:square", range: [0, 9] });
  expect(valuesOf((await collect(client, job)).outcomes)).toEqual(upTo(10).map((n) => n * n));
  await until(async () => (await client.status()).coordinators.length === 1, {
    what: "the killed ones to be forgotten",
  });
});

test("without any leader a call waits for one, and then says so in one sentence", async () => {
  await using cluster = await startCluster({ ...three, coordinators: 2, agents: 0 });
  const address = cluster.standbys[0]!.text("address");
  await using impatient = new Connection({ address, secret: cluster.secret, patienceMs: 0 });
  await impatient.status();
  await cluster.nats.kill("SIGSTOP"); // nobody can be elected
  await cluster.coordinator.kill("SIGKILL");
  const startedAt = performance.now();
  await expect(impatient.listJobs()).rejects.toMatchObject({
    code: "no-leader",
    message: expect.stringMatching(/^no coordinator leads at the moment$/),
  });
  expect(performance.now() - startedAt).toBeGreaterThan(8_000);
  expect(performance.now() - startedAt).toBeLessThan(14_000);
  await cluster.nats.kill("SIGCONT");
});
