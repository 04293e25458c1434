// A coordinator as a process, with a real nats-server and agents that live in the test: its public doors only.
import { describe, expect, test } from "vitest";
import { connect } from "@nats-io/transport-node";
import { encodeSpec, packEntries } from "@everycore/protocol";
import { startNatsServer } from "../../../test/support/nats-server.ts";
import { until } from "../../../test/support/until.ts";
import { Calls, codeOf, CoordinatorProcess, spec } from "./support/coordinator-process.ts";
import { FakeAgent } from "./support/fake-agent.ts";
import { secret } from "./support/coordinator-process.ts";

const MB = 1024 * 1024;
const nodeA = "a".repeat(16);
const nodeB = "b".repeat(16);

async function setUp(run?: (index: number, input: Buffer | undefined) => string) {
  const nats = await startNatsServer();
  const coordinator = await CoordinatorProcess.start(nats.url);
  expect(coordinator.ready.ready, JSON.stringify(coordinator.ready)).toBe(true);
  const calls = new Calls(coordinator.listen);
  const held = { value: false };
  const agentOptions = { address: coordinator.listen, secret, natsUrl: nats.url, isHeld: () => held.value };
  const agent = await FakeAgent.start({
    ...agentOptions,
    node: nodeA,
    ...(run === undefined ? {} : { run }),
  });
  await until(() => agent.linked > 0, { what: "the agent's welcome" });
  return {
    nats,
    coordinator,
    calls,
    agent,
    held,
    agentOptions,
    [Symbol.asyncDispose]: async () => {
      await agent[Symbol.asyncDispose]();
      calls[Symbol.dispose]();
      await coordinator[Symbol.asyncDispose]();
      await nats[Symbol.asyncDispose]();
    },
  };
}

describe("a job", () => {
  test("of stored items gives each item's outcome in order, again and again, from any index", async () => {
    await using cluster = await setUp((_index, input) => `got ${input?.toString()}`);
    const { calls } = cluster;
    const job = await calls.submit("r1", spec(), [["x", "y"], ["z"]]);
    expect(job).toMatchObject({ total: 3 });
    const all = await calls.results(job.id);
    expect([...all.values]).toEqual([
      [0, "got x"],
      [1, "got y"],
      [2, "got z"],
    ]);
    expect(all.end).toMatchObject({ state: "done", counts: { value: 3 } });
    const rest = await calls.results(job.id.slice(0, 8), { from: 1 });
    expect(rest.order).toEqual([1, 2]);
    expect(await calls.unary("JobService", "Audit", { job: job.id })).toMatchObject({
      closed: true,
      covered: 3,
    });
  });

  test("of a range of 300,000 items is read in order and as completed", async () => {
    await using cluster = await setUp();
    const { calls } = cluster;
    const job = await calls.submit("r2", spec({ codec: "range", rangeItems: 300_000 }));
    const ordered = await calls.results(job.id);
    expect(ordered.order.length).toBe(300_000);
    expect(ordered.order.every((index, at) => index === at)).toBe(true);
    expect(ordered.values.get(299_999)).toBe("299999");
    const unordered = await calls.results(job.id, { unordered: true, from: 100 });
    expect(new Set(unordered.order).size).toBe(299_900);
  });

  test("submitted twice with one request id is one job", async () => {
    await using cluster = await setUp();
    const { calls } = cluster;
    const first = await calls.submit("same", spec(), [["1"]]);
    const second = await calls.submit("same", spec(), [["1"]]);
    expect(second.id).toBe(first.id);
    expect((await calls.unary("JobService", "List", {})).total).toBe(1);
    const other = calls.submit("same", spec({ name: "other" }), [["1"]]).catch(codeOf);
    expect(await other).toBe("conflict");
  });

  test("that is cancelled ends every item as cancelled, tells its agent, and can be deleted with its log", async () => {
    await using cluster = await setUp();
    const { calls, held, agent } = cluster;
    held.value = true;
    const job = await calls.submit("r3", spec(), [["1", "2"]]);
    await until(() => agent.leases.length > 0, { what: "a lease" });
    await calls.unary("JobService", "Cancel", { job: job.id, reason: "enough" });
    const read = await calls.results(job.id);
    expect(read.end).toMatchObject({ state: "cancelled", counts: { cancelled: 2 } });
    expect([...read.statuses.values()]).toEqual([5, 5]);
    await until(() => agent.received.some((message) => message.part === "cancel"), {
      what: "cancel at the agent",
    });
    await calls.unary("JobService", "Delete", { job: job.id });
    expect(await calls.unary("JobService", "Get", { job: job.id }).catch(codeOf)).toBe("not-found");
  });

  test("goes on where it was when its coordinator is killed in the middle", async () => {
    await using cluster = await setUp();
    const { calls, held, agent, coordinator } = cluster;
    held.value = true;
    const job = await calls.submit("r4", spec({ codec: "range", rangeItems: 1_000 }));
    await until(() => agent.leases.length > 0, { what: "a lease" });
    await coordinator.end("SIGKILL");
    const before = agent.leases.length;
    await coordinator.start();
    await until(() => agent.linked > 1, { what: "the agent's second welcome" });
    held.value = false; // before the release: a lease that arrives meanwhile would be held for ever
    await agent.release();
    const read = await calls.results(job.id);
    expect(read.end).toMatchObject({ state: "done", counts: { value: 1_000 }, duplicates: 0 });
    // P3: what was leased before is not leased again.
    const leased = agent.leases.map(({ grant }) => [grant.start, grant.end] as const);
    for (const [start, end] of leased.slice(0, before)) {
      expect(leased.slice(before).some(([s, e]) => s < end && start < e)).toBe(false);
    }
  });

  test("waits while NATS is away, and nothing is lost", async () => {
    await using cluster = await setUp();
    const { calls, held, agent, nats } = cluster;
    held.value = true;
    const job = await calls.submit("r5", spec({ codec: "range", rangeItems: 500 }));
    await until(() => agent.leases.length > 0, { what: "a lease" });
    await nats.stop();
    held.value = false;
    const releasing = agent.release();
    await nats.restart();
    await releasing;
    const read = await until(() => calls.results(job.id), {
      what: "results after the outage",
      withinMs: 15_000,
    });
    expect(read.end).toMatchObject({ state: "done", counts: { value: 500 } });
  });
});

describe("coordinators come and go", () => {
  test("a submit that was cut off goes on behind what is stored", async () => {
    await using cluster = await setUp((_index, input) => `got ${input?.toString()}`);
    const { calls, coordinator } = cluster;
    const open = { open: { requestId: "cut", spec: encodeSpec(spec()) } };
    const block = (first: number, items: string[]) => ({
      block: { first, count: items.length, data: packEntries(items.map((item) => Buffer.from(item))) },
    });
    const cut = calls.duplex("JobService", "Submit");
    const acknowledged = until(() => appended === 2, { what: "a durable block" });
    let appended = 0;
    let id = "";
    cut.on("data", (message) => {
      if (message.accepted) id = message.accepted.job;
      if (message.appended) appended = message.appended;
    });
    cut.on("error", () => {}); // the kill below
    cut.write(open);
    cut.write(block(0, ["a", "b"]));
    await acknowledged;
    await coordinator.end("SIGKILL");
    await coordinator.start();
    const again = calls.duplex("JobService", "Submit");
    again.write(open);
    again.write(block(0, ["a", "b"]));
    again.write(block(2, ["c"]));
    again.write({ close: { total: 3 } });
    const messages = await again.toArray();
    expect(messages[0].accepted).toEqual({ job: id, appended: 2 });
    expect(messages.at(-1).closed).toMatchObject({ total: 3 });
    const read = await calls.results(id);
    expect([...read.values.values()]).toEqual(["got a", "got b", "got c"]);
  });

  test("a standby leads within seconds and knows all jobs", async () => {
    await using cluster = await setUp();
    const { calls, coordinator, nats, held, agent } = cluster;
    await using standby = await CoordinatorProcess.start(nats.url);
    using other = new Calls(standby.listen);
    const status = await other.unary("ClusterService", "Status", {});
    expect(status).toMatchObject({ leading: false, leader: coordinator.listen });
    expect(await other.unary("JobService", "List", {})).toMatchObject({ total: 0 }); // as the leader says
    held.value = true;
    const job = await calls.submit("s", spec({ codec: "range", rangeItems: 4 }));
    await until(() => agent.leases.length > 0, { what: "a lease" });
    await coordinator.end("SIGKILL");
    const leads = async () => (await other.unary("ClusterService", "Status", {})).leading;
    await until(leads, { what: "the standby to lead", withinMs: 6_000 });
    await agent.release();
    const heldItems = agent.leases.reduce((sum, { grant }) => sum + grant.end - grant.start, 0);
    const committed = async () =>
      (await other.unary("JobService", "Get", { job: job.id })).counts.value === heldItems;
    await until(committed, { what: "the standby to fold what was committed" });
  });

  test("a long outage of NATS ends the term, and the next one goes on", async () => {
    await using cluster = await setUp();
    const { calls, held, agent, nats, coordinator } = cluster;
    held.value = true;
    const job = await calls.submit("long", spec({ codec: "range", rangeItems: 100 }));
    await until(() => agent.leases.length > 0, { what: "a lease" });
    await nats.kill("SIGSTOP");
    await until(() => coordinator.stderr.includes("agent's link is gone"), { what: "the end of the term" });
    await nats.kill("SIGCONT");
    await until(() => agent.linked > 1, { what: "the agent's next welcome" });
    held.value = false;
    await agent.release();
    const read = await calls.results(job.id);
    expect(read.end).toMatchObject({ state: "done", counts: { value: 100 }, duplicates: 0 });
    expect(await calls.unary("ClusterService", "Status", {})).toMatchObject({ epoch: 2 });
  });
});

describe("full storage", () => {
  test("blocks a job and says so; it can be cancelled and deleted, and then there is room again", async () => {
    await using nats = await startNatsServer({ maxFileStoreBytes: 480 * MB });
    await using coordinator = await CoordinatorProcess.start(nats.url);
    using calls = new Calls(coordinator.listen);
    await using agent = await FakeAgent.start({
      address: coordinator.listen,
      secret,
      natsUrl: nats.url,
      node: nodeA,
      run: () => "x".repeat(20),
    });
    const job = await calls.submit("full", spec({ codec: "range", rangeItems: 3_000_000 }));
    const blocked = async () => {
      const info = await calls.unary("JobService", "Get", { job: job.id });
      const status = await calls.unary("ClusterService", "Status", {});
      return info.state === "running" && status.waiting.some((line: string) => line.includes("storage"));
    };
    await until(blocked, { what: "the storage to be full" });
    expect(await calls.submit("more", spec(), [["1"]]).catch(codeOf)).toBe("storage-full");
    agent.forget();
    await calls.unary("JobService", "Cancel", { job: job.id });
    const ended = async () => (await calls.unary("JobService", "Get", { job: job.id })).state === "cancelled";
    await until(ended, { what: "the cancelled job to end" });
    await calls.unary("JobService", "Delete", { job: job.id });
    const accepted = () => calls.submit("again", spec(), [["1"]]);
    await until(accepted, { what: "room for another job" });
  });

  test("a server with too little storage is refused in one sentence", async () => {
    await using nats = await startNatsServer({ maxFileStoreBytes: 100 * MB });
    await using coordinator = await CoordinatorProcess.start(nats.url);
    expect(coordinator.ready).toMatchObject({ ready: false, code: "storage-full" });
  });
});

describe("doors", () => {
  test("stay shut without the secret", async () => {
    await using cluster = await setUp();
    using stranger = new Calls(cluster.coordinator.listen, "wrong");
    expect(await stranger.unary("JobService", "List", {}).catch(codeOf)).toBe("refused");
    await expect(stranger.results("abcd")).rejects.toMatchObject({
      details: expect.stringContaining("secret"),
    });
  });

  test("survive poison on every subject and RPC", async () => {
    await using cluster = await setUp();
    const { calls, nats, coordinator } = cluster;
    const connection = await connect({ servers: nats.url });
    const job = await calls.submit("p", spec(), [["1"]]);
    const segment = "x";
    for (const subject of [`ec.v1.log.${segment}.a.b`, "ec.v1.fetch", "ec.v1.leader"])
      connection.publish(subject, "\u00c1garbage");
    await connection.flush();
    const streams = await calls.unary("ClusterService", "Status", {});
    expect(streams.segments).toBe(1);
    const info = await connection.request("$JS.API.STREAM.NAMES", "");
    const name = (info.json() as { streams: string[] }).streams.find((each) => each.startsWith("EC_LOG_"))!;
    for (const tail of [`nodeA.${job.id}`, `leader.${job.id}`, "only"]) {
      connection.publish(`ec.v1.log.${name.slice("EC_LOG_".length)}.${tail}`, "\u00c1garbage");
    }
    await connection.flush();
    const bad = calls.duplex("JobService", "Submit");
    bad.write({ open: { requestId: "bad", spec: Buffer.from("c1c1", "hex") } });
    expect(await bad.toArray().catch(codeOf)).toBe("bad-input");
    const metrics = await until(
      async () => {
        const text = await (await fetch(`http://${coordinator.ready.http}/metrics`)).text();
        return text.includes('everycore_malformed_messages_total{plane="log"} 3') ? text : undefined;
      },
      { what: "three malformed records counted" },
    );
    expect(metrics).toContain('everycore_malformed_messages_total{plane="fetch"} 1');
    expect(await calls.results(job.id)).toMatchObject({ end: { state: "done" } });
    await connection.close();
  });

  test("refuse a second agent with the same node id, naming both hosts", async () => {
    await using cluster = await setUp();
    const { calls } = cluster;
    const link = calls.duplex("AgentService", "Link");
    link.write({
      hello: { node: { id: nodeA, host: "thief", slots: 1 }, incarnation: "another", machineId: "m" },
    });
    await expect(link.toArray()).rejects.toMatchObject({ details: expect.stringMatching(/host-aa.*thief/) });
  });

  test("say what is wrong at the start: a taken port, no NATS", async () => {
    await using nats = await startNatsServer();
    await using first = await CoordinatorProcess.start(nats.url);
    await using second = await CoordinatorProcess.start(nats.url, { listen: first.listen });
    expect(second.ready).toMatchObject({ ready: false, code: "conflict" });
    expect(second.ready.message).toContain("the port is taken");
    await using third = await CoordinatorProcess.start("nats://127.0.0.1:1");
    expect(third.ready).toMatchObject({ ready: false, code: "unreachable" });
  });

  test("an orderly end leaves the lead at once, and the lifeline ends it too", async () => {
    await using nats = await startNatsServer();
    await using first = await CoordinatorProcess.start(nats.url);
    await first.closeLifeline();
    expect(first.exitCode).toBe(0);
    const startedAt = performance.now();
    await first.start();
    using calls = new Calls(first.listen);
    expect(await calls.unary("ClusterService", "Status", {})).toMatchObject({ leading: true, epoch: 2 });
    expect(performance.now() - startedAt).toBeLessThan(2_500);
    await first.end("SIGTERM");
    expect(first.exitCode).toBe(0);
  });
});

describe("bundles", () => {
  test("are stored by digest and fetched by lease", async () => {
    await using cluster = await setUp();
    const { calls } = cluster;
    const bytes = Buffer.from("a bundle");
    const { createHash } = await import("node:crypto");
    const digest = createHash("sha256").update(bytes).digest("hex");
    expect(await calls.unary("JobService", "StatBundle", { digest })).toEqual({ present: false });
    const wrong = calls.upload("JobService", "PutBundle", [
      { head: { digest, bytes: 3 } },
      { data: Buffer.from("abc") },
    ]);
    expect(await wrong.catch(codeOf)).toBe("bad-input");
    await calls.upload("JobService", "PutBundle", [
      { head: { digest, bytes: bytes.length } },
      { data: bytes },
    ]);
    expect(await calls.unary("JobService", "StatBundle", { digest })).toEqual({ present: true });
  });
});

test("two nodes share a job", async () => {
  await using cluster = await setUp();
  await using other = await FakeAgent.start({ ...cluster.agentOptions, node: nodeB });
  await until(() => other.linked > 0, { what: "the second welcome" });
  const job = await cluster.calls.submit("two", spec({ codec: "range", rangeItems: 2_000 }));
  const read = await cluster.calls.results(job.id);
  expect(read.order.length).toBe(2_000);
  expect(cluster.agent.leases.length).toBeGreaterThan(0);
  expect(other.leases.length).toBeGreaterThan(0);
});

test("a lease whose answers NATS has lost is kept: its agent says over the link that it has it (P3)", async () => {
  await using cluster = await setUp();
  cluster.held.value = true;
  let isMute = true;
  await using mute = await FakeAgent.start({
    ...cluster.agentOptions,
    node: nodeB,
    isMute: () => isMute,
  });
  await until(() => mute.linked > 0, { what: "the second welcome" });
  const job = await cluster.calls.submit("mute", spec({ codec: "range", rangeItems: 40 }));
  await until(() => mute.received.some(({ part }) => part === "askLease"), {
    what: "the question over the link",
  });
  isMute = false;
  cluster.held.value = false;
  await cluster.agent.release();
  await mute.release();
  const read = await cluster.calls.results(job.id);
  expect(read.order.length).toBe(40);
  expect(mute.received.some(({ part }) => part === "drop")).toBe(false);
  const audit = await cluster.calls.unary("JobService", "Audit", { job: job.id });
  expect(audit).toMatchObject({ closed: true, duplicate: 0 });
});
