import { codecs, decode, outcomeStatus, parseChunked } from "@everycore/protocol";
import { expect, test } from "vitest";
import { until } from "../../../test/support/until.ts";
import { FakeLeader, inlineItems, newJob, startAgent } from "./support/fake-leader.ts";

test("a leased range is run, committed once per item, in bulk", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader);
  expect(agent.ready).toMatchObject({ ready: true, slots: 2 });
  const job = newJob();
  const bundle = leader.bundle(job, "export default (n) => n * 2;");
  const reply = await leader.lease(leader.message(job, { start: 0, end: 20_000 }, { bundle }));
  expect(reply).toEqual({ ok: true, accepted: 1 });
  const fold = await leader.covered(job, 20_000);
  expect(fold.dropped).toMatchObject({ duplicate: 0, invalid: 0, stale: 0 });
  const outcomes = await leader.outcomes(job);
  expect(decode(outcomes.get(12_345)!.payload)).toBe(24_690);
  expect((await leader.commits(job)).length).toBeLessThan(20);
});

test("inline items are cut to slices and an error is an outcome", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader);
  expect(agent.ready["ready"]).toBe(true);
  const job = newJob();
  const bundle = leader.bundle(
    job,
    "export default (s) => { if (s === 'c') throw new RangeError('no c'); return s + s; };",
  );
  const message = leader.message(
    job,
    { start: 0, end: 4 },
    { bundle },
    { items: { codec: "utf8", inline: inlineItems(["a", "b", "c", "d"]) } },
  );
  await leader.lease(message);
  await leader.covered(job, 4);
  const outcomes = await leader.outcomes(job);
  expect(decode(outcomes.get(3)!.payload)).toBe("dd");
  expect(outcomes.get(2)!.status).toBe(outcomeStatus.error);
  expect(decode(outcomes.get(2)!.payload)).toMatchObject({ name: "RangeError", message: "no c" });
});

test("a crash strikes one item and the rest goes on", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader);
  expect(agent.ready["ready"]).toBe(true);
  const job = newJob();
  const bundle = leader.bundle(
    job,
    "export default (n) => { if (n === 7) { console.error('last words'); process.exit(9); } return n; };",
  );
  await leader.lease(leader.message(job, { start: 0, end: 50 }, { bundle }));
  const strikes = await until(
    async () => {
      const found = await leader.strikes(job);
      return found.length > 0 ? found : undefined;
    },
    { what: "a strike" },
  );
  expect(strikes).toMatchObject([
    { cause: "crash", ranges: [{ start: 7, end: 8 }], byLeader: false, detail: { exitCode: 9 } },
  ]);
  expect(strikes[0]!.detail!.stderrTail).toContain("last words");
  const fold = await until(
    async () => {
      const now = await leader.fold(job);
      return now.covered.size === 49 ? now : undefined;
    },
    { what: "49 items" },
  );
  expect(fold.covered.has(7)).toBe(false);
});

test("an item over its time ends as timeout, its neighbours well", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader);
  expect(agent.ready["ready"]).toBe(true);
  const job = newJob();
  const bundle = leader.bundle(job, "export default (n) => { if (n === 5) for (;;); return n; };");
  await leader.lease(leader.message(job, { start: 0, end: 12 }, { bundle, itemTimeoutMs: 300 }));
  await leader.covered(job, 12);
  const outcomes = await leader.outcomes(job);
  expect(outcomes.get(5)!.status).toBe(outcomeStatus.timeout);
  expect([...outcomes.values()].filter((outcome) => outcome.status === outcomeStatus.value)).toHaveLength(11);
  expect(await leader.strikes(job)).toEqual([]);
});

test("an outcome larger than a message travels in chunks before its commit", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader);
  const job = newJob();
  const bundle = leader.bundle(job, "export default (n) => new Uint8Array(1_300_000).fill(n + 1);");
  await leader.lease(leader.message(job, { start: 0, end: 3 }, { bundle }));
  await leader.covered(job, 3);
  const { codec, payload } = (await leader.outcomes(job)).get(1)!;
  expect(codec).toBe(codecs.chunked);
  const chunked = parseChunked(payload);
  const pieces = chunked.seqs.map((seq) => leader.log.find((entry) => entry.seq === seq)!.body);
  expect(Buffer.concat(pieces).equals(Buffer.alloc(1_300_000, 2))).toBe(true);
  expect(agent.child.exitCode).toBeNull();
});

test("prints of tasks are kept and given when they are asked for", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader, { slots: 1 });
  const job = newJob();
  const bundle = leader.bundle(job, "export default (n) => { console.log(`item ${n}`); return n; };");
  await leader.lease(leader.message(job, { start: 0, end: 3 }, { bundle }));
  await leader.covered(job, 3);
  const text = await until(
    () => {
      leader.say({ output: { job, ask: 1 } });
      const data = leader.said.flatMap(({ part, body }) =>
        part === "output" ? [body["data"] as Buffer] : [],
      );
      const all = Buffer.concat(data).toString();
      return all.includes("item 2") ? all : undefined;
    },
    { what: "the prints" },
  );
  expect(text).toContain("item 0\nitem 1\nitem 2\n");
  expect(agent.child.exitCode).toBeNull();
});

test("an announced slice starts only after the leader's word", async () => {
  await using leader = await FakeLeader.start();
  await using agent = await startAgent(leader);
  leader.allowStarts = false;
  const job = newJob();
  const bundle = leader.bundle(job, "export default (n) => n;");
  await leader.lease(leader.message(job, { start: 0, end: 2 }, { bundle }, { mode: "alone" }));
  const asked = await leader.heard("sliceStarting");
  expect(asked["range"]).toEqual({ start: 0, end: 1 });
  expect((await leader.fold(job)).covered.size).toBe(0);
  leader.allowStarts = true;
  leader.say({ mayStart: { ask: asked["ask"] } });
  await leader.covered(job, 2);
  expect(agent.child.exitCode).toBeNull();
});
