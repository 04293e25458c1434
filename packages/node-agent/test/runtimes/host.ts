/** A real worker host, started and driven over fd 3 as an agent does it. Tests read what it left in its files. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Duplex, Readable } from "node:stream";
import { codecs, decode, decodeErrorInfo, encode, page, readRecord, writeU64 } from "@everycore/protocol";
import type { ErrorInfo, Runtime, SliceFrame, SlotRecord } from "@everycore/protocol";
import { expect, onTestFinished } from "vitest";
import { discover, startCommand } from "../../src/runtimes/index.ts";

/** Asked once: each interpreter on PATH is started for it. */
const interpreters = discover();

export type Frame = Readonly<Record<string, unknown>>;

/** Fields of the slice frame, and where the limit cell stands: at the end of the slice unless given. */
export type SliceMore = Partial<SliceFrame> & { readonly limit?: number };

export interface HostOptions {
  /** Files of the bundle. */
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Where it all lies, instead of a fresh folder. */
  readonly dir?: string;
  /** exec: the host that serves it. */
  readonly execHost?: "node" | "python";
}

export async function startHost(runtime: Runtime, options: HostOptions = {}) {
  const dir = options.dir ?? newFolder();
  mkdirSync(join(dir, "scratch"));
  for (const [name, code] of Object.entries(options.files ?? {})) writeFileSync(join(dir, name), code);
  const cells = Buffer.alloc(page.bytes);
  cells.writeUInt32LE(page.magic, 0);
  cells.writeUInt32LE(page.version, 4);
  writeFileSync(join(dir, "page"), cells);
  const known = (await interpreters).filter(({ name }) => options.execHost !== "node" || name !== "python");
  const start = startCommand(runtime, { slotDir: dir, interpreters: known });
  const child = spawn(start.file, start.args, {
    env: { ...process.env, ...start.env, ...options.env },
    stdio: ["ignore", "ignore", "pipe", "pipe"],
  });
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  onTestFinished(() => void child.kill("SIGKILL"));
  const stderr = text(child.stdio[2] as Readable);
  const link = child.stdio[3] as Duplex;
  const frames = framesOf(link);
  const next = async (): Promise<Frame> => (await frames.next()).value as Frame;
  const send = (frame: object): void => {
    const body = encode(frame);
    const head = Buffer.alloc(4);
    head.writeUInt32LE(body.length, 0);
    link.write(Buffer.concat([head, body]));
  };
  expect((await next())["t"]).toBe("ready");
  const task = { t: "task", job: "j", runtime, seed: "0123456789abcdef", rangeStart: 0, retries: 0 };
  const bundle = runtime === "exec" ? {} : { dir }; // programs have one only where files are shipped
  const place = { node: "n", slot: 0, scratch: join(dir, "scratch"), ...bundle };
  const out = join(dir, "out-1");
  const slice = (number: number, start: number, end: number, more: SliceMore = {}): void => {
    const { limit = end, ...fields } = more;
    writeU64(cells, number, page.limitCellAt(number));
    writeU64(cells, limit, page.limitCellAt(number) + 8);
    // Only the agent's half: the worker writes its phase behind it.
    writeFileSync(join(dir, "page"), cells.subarray(0, page.phaseAt), { flag: "r+" });
    const base = { file: out, head: encode({}), codec: codecs.range, reduced: false };
    send({ t: "slice", slice: number, start, end, ...base, ...fields });
  };
  return {
    dir,
    pid: child.pid,
    exited,
    /** All that it wrote there, once it has ended. */
    stderr,
    next,
    slice,
    load: (more: object = {}) => (send({ ...task, ...place, ...more }), next()),
    /** Runs a slice to its end; the records that it added, without its head. */
    run: async (number: number, start: number, end: number, more: SliceMore = {}) => {
      const before = recordsOf(out).length;
      slice(number, start, end, more);
      expect(await next()).toMatchObject({ t: "sliceEnded", slice: number });
      return recordsOf(out).slice(before + 1);
    },
    /** Every record, whichever slice it is of, without the heads. */
    items: (path = out) => recordsOf(path).filter((record) => record.status !== 255),
    page: () => readFileSync(join(dir, "page")),
    phase: () => readFileSync(join(dir, "page")).readUInt32LE(page.phaseAt),
    /** Closes fd 3, as the death of an agent does. */
    leave: () => void link.destroy(),
    stop: () => (send({ t: "stop" }), exited),
  };
}

export type Host = Awaited<ReturnType<typeof startHost>>;

/** A folder that goes with the test. */
export function newFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "everycore-host-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** The error of a record or of an `initFailed`. */
export const errorOf = (from: SlotRecord | Frame): ErrorInfo =>
  decodeErrorInfo("payload" in from ? (from as SlotRecord).payload : (from["error"] as Uint8Array));

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
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch {
    return []; // no slice yet
  }
  const records: SlotRecord[] = [];
  for (let read = readRecord(bytes, 0); read !== undefined; read = readRecord(bytes, read.next)) {
    records.push(read.record);
  }
  return records;
}
