// Poison on every NATS subject of ours: counted, never a restart, never a stall; jobs go on meanwhile and afterwards.

import { setTimeout as delay } from "node:timers/promises";
import { encode, limits, subjects } from "@everycore/protocol";
import { jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, connect, headers } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { natsUser } from "../../packages/cli/src/local/nats-config.ts";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Dice, dice, mutate, randomBytesOf } from "../support/fuzz.ts";
import { runJob, submit, upTo, valuesOf } from "../support/jobs.ts";
import { probed, summaryOf } from "../support/probe.ts";
import { withoutStall } from "../support/stall.ts";
import { until } from "../support/until.ts";

const messages = 10_000;
const batch = 100;
const batchMs = 30;

let cluster: TestCluster;
let nats: NatsConnection;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1, logLevel: "error" });
  const { user, password: pass } = natsUser(cluster.secret, "coordinator");
  nats = await connect({ servers: cluster.nats.url, user, pass });
  await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 3] }); // makes the shared segment
});
afterAll(async () => {
  await nats?.close();
  await cluster?.[Symbol.asyncDispose]();
});

/**
 * Sends all, in batches that the server has taken; then both roles must still be the same, and neither may have stood
 * still: the coordinator by its own clock, the agent as a probe sees it. Gives how many were sent.
 */
async function pour(send: (of: Dice, count: number) => void, seed: number): Promise<number> {
  return messages * (await withoutStall(cluster.coordinator, () => pourOnce(send, seed)));
}

async function pourOnce(send: (of: Dice, count: number) => void, seed: number): Promise<void> {
  const roles = [cluster.coordinator, cluster.agents[0]!];
  const pids = roles.map(({ pid }) => pid);
  const of = dice(seed);
  const times = await probed([cluster.agents[0]!.url("/healthz")], async () => {
    for (let sent = 0; sent < messages; sent += batch) {
      for (const count of upTo(batch)) send(of, sent + count);
      await nats.flush();
      await delay(batchMs); // a load that lasts, so that there is something to measure
    }
  });
  // The promise is 50 ms on a machine of one's own; that a message stalls it each time is far from these.
  expect(summaryOf(times).median).toBeLessThan(250);
  expect(summaryOf(times).late).toBeLessThan(1_000);
  expect(roles.map(({ pid, isRunning }) => isRunning && pid)).toEqual(pids);
}

async function stillWorks(): Promise<void> {
  const { outcomes } = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 9] });
  expect(valuesOf(outcomes)).toEqual(upTo(10).map((n) => n * n));
}

const malformed = (plane: string): Promise<number> =>
  cluster.coordinator
    .metric("everycore_malformed_messages_total", `plane="${plane}"`)
    .then((count) => count ?? 0);

const grant = (node: string): unknown[] => [Buffer.alloc(16, 1), 0, 10, node, 0, 4_294_967_297];

const lease = (node: string): Record<string, unknown> => ({
  v: 1,
  epoch: 1,
  job: "0123456789abcdef0123",
  segment: "s1",
  task: { runtime: "exec", argv: ["true"], seed: "0000000000000001", rangeStart: 0, retries: 0 },
  grant: grant(node),
  items: { codec: 0 },
  attempts: [],
  mode: "normal",
  itemMs: 0,
  priority: 0,
  tag: 0,
});

test(
  "10,000 fuzzed leases: the agent counts and refuses them and works on",
  { timeout: 60_000 },
  async () => {
    const { node } = cluster.agents[0]!;
    const before =
      (await cluster.agents[0]!.metric("everycore_malformed_messages_total", 'plane="lease"')) ?? 0;
    await pour(
      (of) => nats.publish(`ec.v1.lease.${node}`, mutate(of, lease(node)), { reply: "ec.test.nowhere" }),
      1,
    );
    await until(
      async () =>
        ((await cluster.agents[0]!.metric("everycore_malformed_messages_total", 'plane="lease"')) ?? 0) -
          before >
        messages / 2,
      { what: "the agent to count them" },
    );
    await stillWorks();
  },
);

test("10,000 fuzzed fetches: counted, refused, none opens anything", { timeout: 60_000 }, async () => {
  const request = {
    v: 1,
    job: "0123456789abcdef0123",
    grant: grant("0123456789abcdef"),
    what: "bundle",
    seq: 1,
    offset: 0,
  };
  const before = await malformed("fetch");
  const answers: Uint8Array[] = [];
  const inbox = nats.subscribe("ec.test.answers", {
    callback: (_error, message) => void answers.push(message.data),
  });
  await pour((of) => nats.publish(subjects.fetch, mutate(of, request), { reply: "ec.test.answers" }), 2);
  await until(async () => (await malformed("fetch")) - before > messages / 2, {
    what: "the coordinator to count them",
  });
  inbox.unsubscribe();
  expect(answers.length).toBeGreaterThan(messages / 2);
  expect(answers.every((data) => data.length < 1_000)).toBe(true); // refusals, no data
  await stillWorks();
});

test(
  "10,000 fuzzed messages each on the leader's and the command's subject: counted, none is obeyed",
  { timeout: 60_000 },
  async () => {
    const announcement = { v: 1, address: "127.0.0.1:1", epoch: 99, id: "x" };
    const command = { v: 1, kind: "cancel", job: "0123456789abcdef0123" };
    const leader = await cluster.client.status();
    expect(await malformed("leader")).toBe(0); // what the leader itself says is well formed
    const announced = await pour((of) => nats.publish(subjects.leader, mutate(of, announcement)), 3);
    await until(async () => (await malformed("leader")) === announced, { what: "all to be counted" });
    const commanded = await pour((of) => nats.publish(subjects.command, mutate(of, command)), 4);
    await until(async () => (await malformed("command")) === commanded, { what: "all to be counted" });
    expect((await cluster.client.status()).leader).toBe(leader.leader);
    await stillWorks();
  },
);

test(
  "10,000 fuzzed announcements of coordinators: counted; no stranger leads, and no more of them are kept than may be",
  { timeout: 60_000 },
  async () => {
    const announcement = {
      v: 1,
      id: "0123456789abcdef",
      address: "127.0.0.1:1",
      host: "h",
      version: "9",
      leading: true,
      since: 1,
      startedAt: 1,
      isNew: true,
      isGone: false,
    };
    const { leader, epoch } = await cluster.client.status();
    await pour((of, count) => {
      const own = { ...announcement, id: count.toString(16).padStart(16, "0") };
      nats.publish(subjects.coordinator, of.roll(10) === 0 ? encode(own) : mutate(of, own));
    }, 6);
    await until(async () => (await malformed("coordinator")) > messages / 2, { what: "them to be counted" });
    const status = await cluster.client.status();
    expect(status).toMatchObject({ leader, epoch, leading: true });
    expect(status.coordinators.length).toBeGreaterThan(1); // those that were well formed
    expect(status.coordinators.length).toBeLessThanOrEqual(limits.coordinatorsMax);
    await stillWorks();
  },
);

test(
  "10,000 fuzzed records in a log and an input: counted, skipped, no job is touched",
  { timeout: 90_000 },
  async () => {
    const manager = await jetstreamManager(nats);
    const names: string[] = [];
    for await (const { config } of manager.streams.list())
      if (config.name.startsWith("EC_LOG_")) names.push(config.name);
    const segment = names[0]!.slice("EC_LOG_".length);
    const job = await submit(cluster.client, { task: "arithmetic.ts:burn", items: upTo(400).map(() => 10) });
    const { node } = cluster.agents[0]!;
    const record = {
      v: 1,
      k: "commit",
      job,
      epoch: 1,
      leases: [grant(node)],
      parts: [[0, 0, 10, 0, 0]],
      counts: [10],
      cpu: 1,
      bytes: 0,
    };
    const before = await malformed("log");
    await pour((of, count) => {
      const head = headers();
      if (of.roll(20) > 0) head.set("Ec-C", mutate(of, record).toString("base64url"));
      const subject = count % 2 === 0 ? `ec.v1.log.${segment}.${node}.${job}` : `ec.v1.in.${segment}.${job}`;
      nats.publish(subject, randomBytesOf(of, 100), { headers: head });
    }, 5);
    await until(async () => (await malformed("log")) - before > messages / 2, {
      withinMs: 30_000,
      what: "the coordinator to count them",
    });
    const info = await cluster.client.waitJob(job, { timeoutMs: 60_000 });
    expect(info).toMatchObject({ state: "done", total: 400, counts: { value: 400 } });
    expect(await cluster.client.auditJob(job)).toMatchObject({ closed: true, covered: 400 });
    await stillWorks();
  },
);

test(
  "after all that a restarted coordinator reads the same logs and goes on",
  { timeout: 60_000 },
  async () => {
    await cluster.coordinator.kill("SIGKILL");
    await cluster.restartCoordinator();
    await stillWorks();
  },
);
