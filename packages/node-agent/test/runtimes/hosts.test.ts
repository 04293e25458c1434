/** Real worker hosts, driven over fd 3 as an agent drives them: slices, limits, errors, bad exports, crashes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { codecs, decode, encode, packEntries, page, readRecord, writeU64 } from "@everycore/protocol";
import type { Runtime, SlotRecord } from "@everycore/protocol";
import { afterEach, describe, expect, test } from "vitest";
import { discover, startCommand } from "../../src/runtimes/index.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

async function startHost(runtime: Runtime, code = "", file = "task.mjs") {
  const dir = mkdtempSync(join(tmpdir(), "everycore-host-"));
  folders.push(dir);
  mkdirSync(join(dir, "scratch"));
  writeFileSync(join(dir, file), code);
  const cells = Buffer.alloc(page.bytes);
  cells.writeUInt32LE(page.magic, 0);
  cells.writeUInt32LE(page.version, 4);
  writeFileSync(join(dir, "page"), cells);
  const start = startCommand(runtime, { slotDir: dir, interpreters: await discover() });
  const child = spawn(start.file, start.args, {
    env: { ...process.env, ...start.env },
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  const exited = once(child, "exit");
  const link = child.stdio[3] as Duplex;
  const frames = framesOf(link);
  const next = async () => (await frames.next()).value as Record<string, unknown>;
  const send = (frame: object): void => {
    const body = encode(frame);
    const head = Buffer.alloc(4);
    head.writeUInt32LE(body.length, 0);
    link.write(Buffer.concat([head, body]));
  };
  expect((await next())["t"]).toBe("ready");
  const task = { t: "task", job: "j", runtime, dir, seed: "0123456789abcdef", rangeStart: 0, retries: 0 };
  const place = { node: "n", slot: 0, scratch: join(dir, "scratch") };
  return {
    exited,
    next,
    load: (more: object) => (send({ ...task, ...place, ...more }), next()),
    slice: (slice: number, start: number, end: number, limit: number, more: object = {}) => {
      writeU64(cells, slice, page.limitCellAt(slice));
      writeU64(cells, limit, page.limitCellAt(slice) + 8);
      writeFileSync(join(dir, "page"), cells, { flag: "r+" });
      const out = { file: join(dir, "out-1"), head: encode({}), codec: codecs.range, reduced: false };
      send({ t: "slice", slice, start, end, ...out, ...more });
    },
    items: () => recordsOf(join(dir, "out-1")).filter((record) => record.status !== 255),
    stop: () => (send({ t: "stop" }), exited),
  };
}

async function* framesOf(link: Duplex): AsyncGenerator<unknown> {
  let pending = Buffer.alloc(0);
  for await (const chunk of link) {
    pending = Buffer.concat([pending, chunk as Buffer]);
    while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32LE(0)) {
      const end = 4 + pending.readUInt32LE(0);
      yield decode(pending.subarray(4, end));
      pending = pending.subarray(end);
    }
  }
}

function recordsOf(path: string): SlotRecord[] {
  const bytes = readFileSync(path);
  const records: SlotRecord[] = [];
  for (let read = readRecord(bytes, 0); read !== undefined; read = readRecord(bytes, read.next)) records.push(read.record);
  return records;
}

const cases = [
  ["js", "export const twice = (n) => { if (n === 3) throw new TypeError('three'); return n * 2; };", "task.mjs", "task.mjs"],
  ["python", "def twice(n):\n    if n == 3: raise TypeError('three')\n    return n * 2\n", "task_a.py", "task_a"],
] as const;

describe.each(cases)("%s host", (runtime, code, file, entry) => {
  test("runs up to the limit, one record an item, errors included", async () => {
    const host = await startHost(runtime, code, file);
    expect((await host.load({ entry, export: "twice" }))["t"]).toBe("loaded");
    host.slice(1, 0, 10, 5);
    expect(await host.next()).toMatchObject({ t: "sliceEnded", slice: 1, at: 5 });
    const items = host.items();
    expect(items.map((item) => item.status)).toEqual([0, 0, 0, 1, 0]);
    expect(decode(items[4]!.payload)).toBe(8);
    expect(decode(items[3]!.payload)).toMatchObject({ name: "TypeError", message: "three" });
    await host.stop();
  });

  test("a missing export is told once, with what there is", async () => {
    const host = await startHost(runtime, code, file);
    const answer = await host.load({ entry, export: "thrice" });
    expect(answer["t"]).toBe("initFailed");
    expect(JSON.stringify(decode(answer["error"] as Uint8Array))).toContain("twice");
    await host.stop();
  });
});

test("js: a dying item leaves its neighbours' records (P4)", async () => {
  const host = await startHost("js", "export default (n) => n === 2 ? process.exit(9) : n;");
  await host.load({ entry: "task.mjs", export: "default" });
  host.slice(1, 0, 10, 10);
  expect((await host.exited)[0]).toBe(9);
  expect(host.items().map((item) => item.index)).toEqual([0, 1]);
});

test("js: random streams do not depend on slicing (P6)", async () => {
  const host = await startHost("js", "export default (n, ctx) => ctx.random();");
  await host.load({ entry: "task.mjs", export: "default" });
  host.slice(1, 0, 4, 4);
  await host.next();
  host.slice(2, 2, 4, 4);
  await host.next();
  const values = host.items().map((item) => decode(item.payload));
  expect(new Set(values).size).toBe(4);
  expect(values.slice(4)).toEqual(values.slice(2, 4));
  await host.stop();
});

test("exec: stdout is the value, a bad exit is an error", async () => {
  const host = await startHost("exec");
  expect((await host.load({ argv: ["sh", "-c", 'echo "$0"; test "$0" != b', "{}"] }))["t"]).toBe("loaded");
  host.slice(1, 0, 2, 2, { codec: codecs.utf8, block: packEntries([Buffer.from("a"), Buffer.from("b")]) });
  expect(await host.next()).toMatchObject({ t: "sliceEnded", at: 2 });
  const items = host.items();
  expect(items.map((item) => item.status)).toEqual([0, 1]);
  expect(items[0]!.payload.toString()).toBe("a\n");
  expect(decode(items[1]!.payload)).toMatchObject({ kind: "exit", exitCode: 1 });
  await host.stop();
});
