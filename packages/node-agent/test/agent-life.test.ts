// What an agent does when it is asked, killed, cut off: by its door, with real workers.
import {
  decode,
  IntervalSet,
  type LeaseGrant,
  packEntries,
  PackedEntries,
  readU64,
  unpackOutcome,
  writeU64,
} from "@everycore/protocol";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { until } from "../../../test/support/until.ts";
import { FakeLeader, inlineItems, newJob, startAgent } from "./support/fake-leader.ts";

const sleepy = "export default (n) => new Promise((done) => setTimeout(done, n === 0 ? 60_000 : 1, n));";
const busy =
  "export default (n) => { const until = performance.now() + 20; while (performance.now() < until); return n; };";

/** A zombie that nobody has reaped yet is dead. */
const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));

async function workerPids(dataDir: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const command = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    if (command.includes(`${dataDir}/slots`)) pids.push(Number(name));
  }
  return pids;
}

test("cancel frees the core within a second", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 1 });
  const job = newJob();
  const bundle = leader.bundle(job, "export default () => { for (;;); };");
  await leader.lease(leader.message(job, { start: 0, end: 5 }, { bundle }));
  await until(() => leader.said.some(({ part, body }) => part === "heartbeat" && body["busy"] === 1), {
    what: "a busy slot",
  });
  const before = performance.now();
  leader.said.length = 0;
  leader.say({ cancel: { job } });
  const after = newJob();
  const next = leader.bundle(after, "export default (n) => n;");
  await leader.lease(leader.message(after, { start: 0, end: 1 }, { bundle: next }));
  await leader.covered(after, 1);
  expect(performance.now() - before).toBeLessThan(1_000);
  expect((await leader.strikes(job)).length).toBe(0);
  expect(agent.child.exitCode).toBeNull();
});

test("what is given back is run by nobody here, and all the rest is", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 1 });
  const job = newJob();
  const bundle = leader.bundle(job, busy);
  await leader.lease(leader.message(job, { start: 0, end: 100 }, { bundle }, { itemMs: 20 }));
  leader.say({ giveBack: { job, wantMs: 1_000 } });
  const said = await leader.heard("gaveBack");
  expect(said["job"]).toBe(job);
  const given = IntervalSet.of(said["ranges"] as { start: number; end: number }[]);
  expect(given.size).toBe(50);
  await until(async () => (await leader.fold(job)).covered.size === 50, { what: "the other half" });
  const fold = await leader.fold(job);
  for (const range of given) expect(fold.covered.intersects(range.start, range.end)).toBe(false);
  expect(agent.child.exitCode).toBeNull();
});

test("an item of a minute does not block its neighbours: its slice is cut behind it", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 2 });
  const job = newJob();
  const bundle = leader.bundle(job, sleepy);
  // The leader's guess puts all of them into few slices; item 0 lasts a minute.
  await leader.lease(leader.message(job, { start: 0, end: 20 }, { bundle }, { itemMs: 1 }));
  const fold = await until(
    async () => {
      const now = await leader.fold(job);
      return now.covered.size === 19 ? now : undefined;
    },
    { what: "19 items beside the long one" },
  );
  expect(fold.covered.has(0)).toBe(false);
  expect(agent.child.exitCode).toBeNull();
});

test("kill -9 of the agent: leftovers end, what was appended is published, the running item is struck lost", async () => {
  await using leader = await FakeLeader.start();
  const dataDir = await mkdtemp(join(tmpdir(), "everycore-test-agent-"));
  try {
    const job = newJob();
    const bundle = leader.bundle(job, "export default (n) => { if (n === 30) for (;;); return n; };");
    let pids: number[];
    {
      await using agent = await startAgent(leader, { slots: 1, dataDir });
      await leader.lease(leader.message(job, { start: 0, end: 40 }, { bundle }, { itemMs: 1 }));
      await until(
        async () =>
          (await leader.fold(job)).covered.size >= 1 ||
          leader.said.some(({ part, body }) => part === "heartbeat" && body["busy"] === 1),
        { what: "work" },
      );
      pids = await workerPids(dataDir);
      expect(pids.length).toBeGreaterThan(0);
      await agent.kill("SIGKILL");
    }
    leader.said.length = 0;
    await using again = await startAgent(leader, { slots: 1, dataDir });
    expect(again.ready["node"]).toBe(leader.node);
    expect(pids.filter(isAlive)).toEqual([]);
    expect(leader.said.find(({ part }) => part === "hello")!.body).toMatchObject({
      filesRecovered: true,
      leases: [],
      // The leader reads as far as the strike, the last record, before it takes this hello.
      acknowledged: { [job]: (await leader.fold(job)).seq },
    });
    // All of it stood in the log before the hello.
    const fold = await leader.fold(job);
    expect(fold.covered.toRanges()).toEqual([{ start: 0, end: 30 }]);
    expect(await leader.strikes(job)).toMatchObject([{ cause: "lost", ranges: [{ start: 30, end: 31 }] }]);
  } finally {
    await rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
  }
});

test("a second agent on the state directory is told which process holds it", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 1 });
  await using second = await startAgent(leader, { slots: 1, dataDir: agent.dataDir });
  expect(second.ready).toMatchObject({ ready: false, code: "conflict" });
  expect(second.ready["message"]).toContain(`pid ${agent.pid}`);
  await until(() => second.child.exitCode === 2, { what: "exit 2" });
});

test("a broken link restarts nothing, and the next hello reports what is held", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 1 });
  const job = newJob();
  const bundle = leader.bundle(job, busy);
  await leader.lease(leader.message(job, { start: 0, end: 60 }, { bundle }, { itemMs: 20 }));
  leader.said.length = 0;
  leader.breakLink();
  const hello = await leader.heard("hello");
  expect(hello["accepted"]).toBe(1);
  const [report] = hello["leases"] as { unfinished: LeaseGrant[] }[];
  expect(report!.unfinished.at(-1)!.end).toBe(60);
  const fold = await leader.covered(job, 60);
  expect(fold.dropped).toMatchObject({ duplicate: 0, stale: 0, invalid: 0 });
  expect(agent.child.exitCode).toBeNull();
});

test("a leader whose epoch is over is asked ever more rarely: neither side's log is filled by it", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 1 });
  const hellos = (): number => leader.said.filter(({ part }) => part === "hello").length;
  leader.epoch = 0; // it has lost its NATS, and begins anew
  leader.said.length = 0;
  const startedAt = performance.now();
  leader.breakLink();
  await until(() => hellos() === 5, { what: "five hellos" });
  expect(performance.now() - startedAt).toBeGreaterThan(0.5 * (100 + 200 + 400 + 800));
  expect(agent.child.exitCode).toBeNull();
});

test("NATS away: the agent computes on, and publishes when it is back", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 1 });
  const job = newJob();
  const bundle = leader.bundle(job, busy);
  await leader.lease(leader.message(job, { start: 0, end: 100 }, { bundle }, { itemMs: 20 }));
  await until(async () => (await leader.fold(job)).covered.size > 0, { what: "a first commit" });
  await leader.nats.kill("SIGKILL");
  leader.said.length = 0;
  await until(
    () =>
      leader.said.some(
        ({ part, body }) =>
          part === "heartbeat" && (body["queuedItems"] as number) === 0 && body["busy"] === 0,
      ),
    { what: "all items run" },
  );
  await leader.nats.restart();
  const fold = await leader.covered(job, 100);
  expect(fold.dropped).toMatchObject({ stale: 0, invalid: 0 });
  expect(agent.child.exitCode).toBeNull();
});

test("SIGTERM gives the queue back, finishes what runs, commits it and exits 0", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 1 });
  const job = newJob();
  const bundle = leader.bundle(job, busy);
  await leader.lease(leader.message(job, { start: 0, end: 200 }, { bundle }, { itemMs: 20 }));
  await until(async () => (await leader.fold(job)).covered.size > 0, { what: "a first commit" });
  expect(await agent.kill("SIGTERM")).toBe(0);
  const given = IntervalSet.of(
    leader.said
      .filter(({ part }) => part === "gaveBack")
      .flatMap(({ body }) => body["ranges"] as { start: number; end: number }[]),
  );
  const fold = await leader.fold(job);
  expect(given.size + fold.covered.size).toBe(200);
  for (const range of given) expect(fold.covered.intersects(range.start, range.end)).toBe(false);
  // Its leader keeps what is leased to it until it has read so far.
  expect(leader.said.at(-1)).toMatchObject({ part: "drained", body: { acknowledged: { [job]: fold.seq } } });
  // All is acknowledged: the next agent here would only publish it once more.
  expect(await readdir(join(agent.dataDir, "slots"))).toEqual([]);
});

test("a reduced job commits spans, and the reduction item combines their partials", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 2 });
  const job = newJob();
  const bundle = leader.bundle(job, "export default (n) => n; export const add = (a, b) => a + b;");
  await leader.lease(leader.message(job, { start: 0, end: 1_000 }, { bundle, reduce: "add" }));
  await leader.covered(job, 1_000);
  const outcomes = await leader.outcomes(job);
  let sum = 0;
  for (const outcome of outcomes.values()) sum += decode(outcome.payload) as number;
  expect(sum).toBe(499_500);
  const partials: Buffer[] = [];
  for (const { record, body } of await leader.commits(job)) {
    const entries = new PackedEntries(body);
    for (const [at, part] of record.parts.entries()) {
      const { codec, payload } = unpackOutcome(entries.entry(at));
      const head = Buffer.alloc(14);
      writeU64(head, part.start, 0);
      head[8] = Math.log2(part.end - part.start);
      head.writeUInt32LE(part.missing ?? 0, 9);
      head[13] = codec;
      partials.push(Buffer.concat([head, payload]));
    }
  }
  partials.sort((a, b) => readU64(a, 0) - readU64(b, 0));
  leader.blobs.set(`partials:${job}`, packEntries(partials));
  const items = { codec: "range", partials: true } as const;
  await leader.lease(leader.message(job, { start: 1_000, end: 1_001 }, { bundle, reduce: "add" }, { items }));
  await leader.covered(job, 1_001);
  expect(decode((await leader.outcomes(job)).get(1_000)!.payload)).toBe(499_500);
  expect(agent.child.exitCode).toBeNull();
});

test("exec and python run beside js", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 2 });
  const runtimes = ((await leader.heard("hello"))["node"] as { runtimes: { name: string }[] }).runtimes.map(
    ({ name }) => name,
  );
  const exec = newJob();
  const message = leader.message(
    exec,
    { start: 0, end: 3 },
    { runtime: "exec", argv: ["echo", "{}"] },
    { items: { codec: "utf8", inline: inlineItems(["a", "b", "c"]) } },
  );
  await leader.lease(message);
  await leader.covered(exec, 3);
  expect((await leader.outcomes(exec)).get(1)!.payload.toString()).toBe("b\n");
  expect(runtimes).toContain("exec");
  if (runtimes.includes("python")) {
    const python = newJob();
    const source = "def main(item):\n    return item * 3\n";
    const bundle = leader.bundle(python, source, "task.py");
    const task = { runtime: "python", bundle, entry: "task", export: "main" } as const;
    await leader.lease(leader.message(python, { start: 0, end: 100 }, task));
    await leader.covered(python, 100);
    expect(decode((await leader.outcomes(python)).get(99)!.payload)).toBe(297);
  }
  expect(agent.child.exitCode).toBeNull();
});

test("a task without its export fails the job once, and no item is blamed", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 2 });
  const job = newJob();
  const bundle = leader.bundle(job, "export const other = 1;");
  await leader.lease(leader.message(job, { start: 0, end: 10 }, { bundle }));
  const failed = await leader.heard("taskFailed");
  expect(failed).toMatchObject({ job, died: false });
  expect(decode(failed["error"] as Buffer)).toMatchObject({
    message: expect.stringContaining("default") as string,
  });
  expect((await leader.strikes(job)).length).toBe(0);
  expect(leader.said.filter(({ part }) => part === "taskFailed")).toHaveLength(1);
  expect(agent.child.exitCode).toBeNull();
});
