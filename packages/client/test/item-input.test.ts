import { expect, test } from "vitest";
import type { JobSpec } from "@everycore/protocol";
import { Connection, makeBundle } from "../src/internal.ts";
import { FakeCoordinator } from "./fake-coordinator.ts";

const spec: JobSpec = {
  name: "test",
  task: { runtime: "exec", argv: ["true"], seed: "00000000000000ff", rangeStart: 0, retries: 2 },
  codec: "json",
  priority: 0,
  strict: false,
  ttlMs: 1000,
};
const bundle = makeBundle(new Map([["task.mjs", Buffer.from("export default 1")]]), "task.mjs");

async function withJob(fake: FakeCoordinator, cluster: Connection): Promise<string> {
  const items = (async function* () {
    yield await Promise.resolve([Buffer.from('"a"'), Buffer.from('{"b":[1,2]}')]);
  })();
  await cluster.putBundle(bundle);
  const { id } = await cluster.submit({ requestId: "a", spec, items }).closed;
  expect(fake.jobs.size).toBe(1);
  return id;
}

test("an item comes as it was submitted, with its job's specification; a bundle byte for byte", async () => {
  await using fake = await new FakeCoordinator().start();
  await using cluster = new Connection({ address: fake.address, secret: fake.secret });
  const job = await withJob(fake, cluster);
  const input = await cluster.itemInput(job.slice(0, 8), 1);
  expect(input).toMatchObject({ job, spec });
  expect(input.bytes.toString()).toBe('{"b":[1,2]}');
  expect((await cluster.getBundle(bundle.digest)).equals(bundle.bytes)).toBe(true);
});

test("what arrives cut short is refused: no other code and no other item runs in its place", async () => {
  await using fake = await new FakeCoordinator({ isCutting: true }).start();
  await using cluster = new Connection({ address: fake.address, secret: fake.secret });
  const job = await withJob(fake, cluster);
  await expect(cluster.itemInput(job, 1)).rejects.toThrow(/arrived with 10 of 11 bytes/);
  await expect(cluster.getBundle(bundle.digest)).rejects.toThrow(/arrived with digest/);
});
