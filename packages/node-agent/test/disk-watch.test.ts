// The bound of the state directory (P7): all below it counts, what can be had again goes first, then work stops.
import type { JobId, LeaseId, NodeId, SegmentId } from "@everycore/protocol";
import { limits } from "@everycore/protocol";
import { existsSync, mkdirSync, readdirSync, statfsSync, utimesSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type AgentEvent, checkInvariants, type Effect, newAgent, step } from "../src/core/index.ts";
import { Inputs } from "../src/data/inputs.ts";
import { DiskWatch, stateBytesOf } from "../src/machine/disk-watch.ts";
import { OutputStore } from "../src/slots/output-store.ts";

const KB = 1024;

class Folder implements AsyncDisposable {
  readonly path: string;
  private constructor(path: string) {
    this.path = path;
  }

  static async make(): Promise<Folder> {
    return new Folder(await mkdtemp(join(tmpdir(), "everycore-test-disk-")));
  }

  write(name: string, bytes: number): void {
    mkdirSync(join(this.path, name, ".."), { recursive: true });
    writeFileSync(join(this.path, name), Buffer.alloc(bytes, 1));
  }

  has(name: string): boolean {
    return existsSync(join(this.path, name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}

/** One look at the folder. */
async function lookAt(
  folder: Folder,
  options: { bytesMax: number; evict?: (bytes: number) => void },
): Promise<DiskWatch> {
  const looked = Promise.withResolvers<void>();
  const watch = new DiskWatch({
    dir: folder.path,
    bytesMax: options.bytesMax,
    known: { dir: join(folder.path, "bundles"), bytes: () => 100 * KB },
    evict: options.evict ?? (() => {}),
    onLook: () => looked.resolve(),
  });
  watch.start();
  await looked.promise;
  await watch.close();
  return watch;
}

test("everything below the directory counts, at any depth; a folder of known size is not walked", async () => {
  await using folder = await Folder.make();
  folder.write("slots/0-1/scratch/deep/er/result", 64 * KB);
  folder.write("output/job/0.stdout", 32 * KB);
  folder.write("bundles/huge", 900 * KB);
  const watch = await lookAt(folder, { bytesMax: 200 * KB });
  expect(watch.usedBytes).toBe(196 * KB);
  expect(watch.level).toBe("ok");
  expect((await lookAt(folder, { bytesMax: 195 * KB })).level).toBe("limit");
});

test("beyond the bound as much is evicted as leaves a tenth of it free; with that the work goes on", async () => {
  await using folder = await Folder.make();
  folder.write("kept", 400 * KB);
  const asked: number[] = [];
  const evict = (bytes: number): void => {
    asked.push(bytes);
    folder.write("kept", 200 * KB);
  };
  expect((await lookAt(folder, { bytesMax: 400 * KB, evict })).level).toBe("ok");
  expect(asked).toEqual([500 * KB - 360 * KB]);
});

test("the default is a tenth of the disk, at most 10 GB and at least 1 GB", () => {
  const { blocks, bsize } = statfsSync(tmpdir());
  const bytes = stateBytesOf(tmpdir());
  expect(bytes).toBeLessThanOrEqual(limits.stateBytesMax);
  expect(bytes).toBeGreaterThanOrEqual(limits.stateBytesFloor);
  expect(bytes).toBeLessThanOrEqual(Math.max(limits.stateBytesFloor, (blocks * bsize) / 10));
});

test("bundles go the longest unused first, none that a job here runs by; half unpacked ones at the start", async () => {
  await using folder = await Folder.make();
  for (const [at, name] of ["used", "old", "recent", "torn.new-7"].entries()) {
    folder.write(`bundles/${name}/task.js`, 10 * KB);
    utimesSync(join(folder.path, "bundles", name), at, at);
  }
  const inputs = new Inputs({
    dir: folder.path,
    connection: () => undefined,
    isUsed: (bundle) => bundle === "used",
  });
  expect(inputs.bundleBytes).toBe(30 * KB);
  expect(inputs.evictBundles(5 * KB)).toBe(10 * KB);
  expect(readdirSync(join(folder.path, "bundles")).sort()).toEqual(["recent", "used"]);
  expect(inputs.evictBundles(1_000 * KB)).toBe(10 * KB);
  expect(readdirSync(join(folder.path, "bundles"))).toEqual(["used"]);
  expect(inputs.bundleBytes).toBe(10 * KB);
});

test("prints of ended jobs go the oldest first, those of running jobs stay", async () => {
  await using folder = await Folder.make();
  const store = new OutputStore(join(folder.path, "output"));
  const ids = ["a", "b", "c"].map((digit) => digit.repeat(20) as JobId);
  for (const job of ids) store.append({ job, slot: 0, stream: "stdout" }, Buffer.alloc(10));
  for (const job of ids.slice(0, 2)) store.end(job);
  expect(store.evict(1)).toBe(10);
  expect(ids.map((job) => store.read(job).pieces.length)).toEqual([0, 1, 1]);
  expect(store.evict(1_000)).toBe(10);
  expect(ids.map((job) => store.read(job).pieces.length)).toEqual([0, 0, 1]);
});

test("at the bound no slice and no spare starts, running ones end, and idle workers go with their scratch", () => {
  const state = newAgent({ slots: 2, runtimes: ["js"] });
  let at = 0;
  const feed = (event: AgentEvent): Effect[] => {
    const effects = step(state, { ...event, at: (at += 1_000) });
    checkInvariants(state);
    return effects;
  };
  const kinds = (effects: readonly Effect[]): string[] => effects.map(({ kind }) => kind);
  const lease = (n: number): AgentEvent => ({
    kind: "leaseArrived",
    at: 0,
    ask: n,
    ready: true,
    lease: {
      epoch: 1,
      job: "0".repeat(20) as JobId,
      segment: "s1" as SegmentId,
      task: { runtime: "js", reduced: false, retries: 0, itemTimeoutMs: undefined },
      grant: {
        id: `${n}`.repeat(32) as LeaseId,
        start: n,
        end: n + 1,
        node: "2".repeat(16) as NodeId,
        round: 0,
        n,
      },
      attempts: [],
      mode: "normal",
      itemMs: 1_000,
      priority: 0,
      tag: n,
      partials: false,
    },
  });
  const slices = [...feed(lease(1)), ...feed(lease(2))].filter((effect) => effect.kind === "sendSlice");
  const [idle, busy] = slices.map(({ worker }) => worker);
  for (const worker of [idle!, busy!]) {
    feed({ kind: "workerReady", at: 0, worker });
    feed({ kind: "workerLoaded", at: 0, worker });
  }
  feed(lease(3));
  const effects = feed({ kind: "diskLevel", at: 0, level: "limit" });
  expect(kinds(effects)).not.toContain("killGroup");
  expect(feed(lease(4))).toContainEqual(
    expect.objectContaining({ reply: expect.objectContaining({ ok: false, reason: "disk" }) as unknown }),
  );
  const ended = feed({
    kind: "sliceEnded",
    at: 0,
    worker: idle!,
    slice: slices[0]!.slice,
    ended: 2,
    busyMs: 1_000,
    cpuMs: 0,
  });
  expect(kinds(ended)).toEqual(["forgetLease", "killGroup"]);
  expect(ended[1]).toMatchObject({ worker: idle, reason: { kind: "stop" } });
  const detail = { reason: "killed" };
  expect(feed({ kind: "workerDied", at: 0, worker: idle!, phase: "idle", sights: [], detail })).toEqual([]);
  // No spare takes the place of one that died: without room its start would fail, be tried at once, and fail.
  const spares = [...state.workers.values()].filter(({ job }) => job === undefined);
  expect(spares.length).toBeGreaterThan(0);
  for (const { id: worker } of spares)
    expect(feed({ kind: "workerDied", at: 0, worker, phase: "none", sights: [], detail })).toEqual([]);
  expect(kinds(feed({ kind: "diskLevel", at: 0, level: "ok" }))).toContain("sendSlice");
});
