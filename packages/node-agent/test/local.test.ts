/** Items without an agent: the worker in our process and the host as a child write the same records. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codecs, decode, decodeErrorInfo, encode, outcomeStatus, packEntries } from "@everycore/protocol";
import type { BundleDigest, SlotRecord, TaskSpec } from "@everycore/protocol";
import { expect, test } from "vitest";
import { discover, HostWorker, LoadFailure, OwnWorker } from "../src/local/index.ts";
import type { LocalWorker } from "../src/local/index.ts";
import { newFolder } from "./runtimes/host.ts";

const interpreters = discover();
const code = `
export const double = (item, context) => {
  if (item === "bad") throw new RangeError("no such item");
  if (item === "fatal") process.kill(process.pid, "SIGKILL");
  return [item, context.index, context.random()];
};
export const add = (a, b) => { if (b === "stop") throw new Error("not together"); return a + b; };
export const same = (item) => item;
export const home = process.cwd();
`;

const task = (name: string, fields: Partial<TaskSpec> = {}): TaskSpec => ({
  runtime: "js",
  bundle: "0".repeat(64) as BundleDigest,
  entry: "task.mjs",
  export: name,
  seed: "0123456789abcdef",
  rangeStart: 100,
  retries: 0,
  ...fields,
});

const folder = newFolderOnce();
function newFolderOnce(): () => string {
  let count = 0;
  return () => join(newFolder(), `w${(count += 1)}`);
}

async function started(kind: "own" | "host", spec: TaskSpec, text = code): Promise<LocalWorker> {
  const dir = folder();
  const bundle = `${dir}-bundle`;
  mkdirSync(bundle);
  writeFileSync(join(bundle, "task.mjs"), text);
  const worker =
    kind === "own"
      ? new OwnWorker({ dir, stops: false })
      : new HostWorker({ runtime: "js", dir, interpreters: await interpreters, onPrint: () => {} });
  await worker.load({ job: "j", task: spec, dir: bundle });
  return worker;
}

const told = ({ index, status, codec, payload }: SlotRecord): unknown => {
  if (status === outcomeStatus.error) {
    const { name, message } = decodeErrorInfo(payload);
    return { index, name, message };
  }
  return {
    index,
    status,
    codec,
    value: codec === codecs.msgpack ? decode(payload) : payload.toString("hex"),
  };
};

const range = { start: 3, end: 6, codec: codecs.range, reduced: false };
const json = (...items: unknown[]) => packEntries(items.map((item) => Buffer.from(JSON.stringify(item))));

test("values and errors are the same in both, at any index", async () => {
  const home = process.cwd();
  const both = await Promise.all([started("own", task("double")), started("host", task("double"))]);
  try {
    const slices = [
      range,
      { start: 70, end: 72, codec: codecs.json, block: json("bad", { a: 1 }), reduced: false },
    ];
    for (const slice of slices) {
      const [own, host] = await Promise.all(both.map((worker) => worker.run(slice)));
      expect(own!.records.map(told)).toEqual(host!.records.map(told));
      expect(own!.records.map(({ index }) => index)).toEqual(
        Array.from({ length: slice.end - slice.start }, (_, at) => slice.start + at),
      );
    }
  } finally {
    process.chdir(home);
    for (const worker of both) await worker[Symbol.asyncDispose]();
  }
});

test("a block that no frame holds travels by a file, and a value of its size comes back", async () => {
  await using worker = await started("host", task("same"));
  const large = "y".repeat(2_000_000);
  const { records } = await worker.run({ ...range, end: 4, codec: codecs.json, block: json(large) });
  expect(decode(records[0]!.payload)).toBe(large);
  const next = await worker.run({ ...range, start: 4, end: 5, codec: codecs.json, block: json("small") });
  expect(decode(next.records[0]!.payload)).toBe("small");
});

test("outcomes beyond one file go on in the next, and each slice gets its own records alone", async () => {
  await using worker = await started("host", task("same"));
  for (let at = 0; at < 5; at += 1) {
    const block = json(`${at}${"z".repeat(6_000_000)}`);
    const { records } = await worker.run({
      start: at,
      end: at + 1,
      codec: codecs.json,
      block,
      reduced: false,
    });
    expect(records.map(({ index }) => index)).toEqual([at]);
    expect((decode(records[0]!.payload) as string)[0]).toBe(String(at));
  }
});

test("a worker that dies leaves what it had ended, and says how it died", async () => {
  await using worker = await started("host", task("double"));
  const block = json(1, "fatal", 3);
  const end = await worker.run({ start: 0, end: 3, codec: codecs.json, block, reduced: false });
  expect(end.records.map(({ index }) => index)).toEqual([0]);
  expect(end).toMatchObject({ death: { signal: "SIGKILL" }, isDiskFull: false });
});

test("in our process a combine that throws ends the worker and not the process", async () => {
  const home = process.cwd();
  const worker = await started("own", task("same", { reduce: "add" }));
  try {
    const block = json("a", "stop", "b", "c");
    const end = await worker.run({ start: 0, end: 4, codec: codecs.json, block, reduced: true });
    expect(end.death).toEqual({ exitCode: 1 });
    expect(end.records).toHaveLength(2);
  } finally {
    process.chdir(home);
    await worker[Symbol.asyncDispose]();
  }
});

test("partials are combined in one more slice", async () => {
  await using worker = await started("host", task("same", { reduce: "add" }));
  const made = await worker.run({
    start: 0,
    end: 3,
    codec: codecs.json,
    block: json("a", "b", "c"),
    reduced: true,
  });
  const partials = made.records.filter(({ status }) => status === 17);
  expect(partials.map(({ index, payload }) => [index, payload[0], decode(payload.subarray(5))])).toEqual([
    [0, 1, "ab"],
    [2, 0, "c"],
  ]);
  const entry = (start: number, level: number, text: string): Buffer => {
    const head = Buffer.alloc(14);
    head.writeUInt32LE(start, 0);
    head[8] = level;
    head[13] = codecs.msgpack;
    return Buffer.concat([head, encode(text)]);
  };
  const { records } = await worker.run({
    ...{ start: 3, end: 4, codec: codecs.json, reduced: true },
    partials: packEntries([entry(0, 1, "ab"), entry(2, 0, "c")]),
  });
  expect(records.map(told)).toEqual([{ index: 3, status: 0, codec: codecs.msgpack, value: "abc" }]);
});

test("halt ends a slice before its next item", async () => {
  const dir = folder();
  const gate = `${dir}-gate`;
  const text = `import { existsSync } from "node:fs";
    export const held = async (gate) => {
      console.log("begun");
      while (!existsSync(gate)) await new Promise((resolve) => setTimeout(resolve, 5));
    };`;
  mkdirSync(`${dir}-bundle`);
  writeFileSync(join(`${dir}-bundle`, "task.mjs"), text);
  const onPrint = (): void => {
    worker.halt();
    writeFileSync(gate, "");
  };
  await using worker = new HostWorker({ runtime: "js", dir, interpreters: await interpreters, onPrint });
  await worker.load({ job: "j", task: task("held"), dir: `${dir}-bundle` });
  const block = json(gate, gate, gate);
  const end = await worker.run({ start: 0, end: 3, codec: codecs.json, block, reduced: false });
  expect(end.records.map(({ index }) => index)).toEqual([0]);
  expect(end.death).toBeUndefined();
});

test("a worker that was killed leaves no folder", async () => {
  const dir = folder();
  const worker = new HostWorker({ runtime: "js", dir, interpreters: await interpreters, onPrint: () => {} });
  expect(existsSync(dir)).toBe(true);
  worker.kill();
  await worker[Symbol.asyncDispose]();
  expect(existsSync(dir)).toBe(false);
  await expect(worker.load({ job: "j", task: task("same"), dir })).rejects.toThrow(LoadFailure);
});

test("a task that cannot be loaded is a failure that names why", async () => {
  await expect(started("host", task("missing"))).rejects.toThrow(/no export "missing"; functions there: /);
  await expect(started("host", task("same"), "throw new TypeError('not today')")).rejects.toMatchObject({
    info: { name: "TypeError", message: "not today", trace: expect.stringContaining("task.mjs") as string },
  });
});
