// The reader over a log in memory: a JobIndex that the test feeds, bodies from a map, leases that are all good.
import { randomBytes } from "node:crypto";
import type {
  CommitPart,
  JobId,
  LeaseGrant,
  LeaseId,
  LogRecord,
  NodeId,
  SegmentId,
} from "@everycore/protocol";
import {
  codecs,
  decodeErrorInfo,
  encode,
  EverycoreError,
  limits,
  outcomeStatus,
  packEntries,
  PackedEntries,
  packOutcome,
  subjects,
  unpackOutcome,
} from "@everycore/protocol";
import { expect, test } from "vitest";
import { Changes } from "../src/changes.ts";
import type { Body } from "../src/data/bodies.ts";
import { JobIndex } from "../src/data/job-index.ts";
import type { Standing } from "../src/data/job-reader.ts";
import { readOutcomes } from "../src/data/job-reader.ts";
import { Partials } from "../src/data/partials.ts";

const job = "0123456789abcdef0123" as JobId;
const segment = "s1" as SegmentId;
const node = "a".repeat(16) as NodeId;

class Log {
  readonly changes = new Changes();
  readonly index: JobIndex;
  readonly #bodies = new Map<number, Body>();
  #seq = 0;
  isEnded = false;
  total: number | undefined;
  round = 0;
  /** Records that the leader has folded and this reader has not. */
  unread = 0;

  constructor(isReduced = false) {
    const onChange = (): void => this.changes.touch("job");
    this.index = new JobIndex({ job, segment, isReduced, verify: () => true, onChange });
  }

  append(record: LogRecord, data: Buffer = Buffer.alloc(0), of: JobId = job): number {
    this.#seq += 1;
    this.#bodies.set(this.#seq, { subject: subjects.log(segment, node, of), data });
    this.index.apply(this.#seq, record);
    return this.#seq;
  }

  commit(parts: readonly Omit<CommitPart, "lease">[], entries: Buffer[], round = 0): number {
    const start = Math.min(...parts.map((part) => part.start));
    const end = Math.max(...parts.map((part) => part.end));
    const id = String(this.#seq).padStart(32, "0") as LeaseId;
    const grant: LeaseGrant = { id, start, end, node, round, n: this.#seq };
    const withLease = parts.map((part) => ({ ...part, lease: 0 }));
    const body = packEntries(entries);
    return this.append(
      { kind: "commit", job, epoch: 1, leases: [grant], parts: withLease, usage: [], bytes: body.length },
      body,
    );
  }

  /** One commit of values. */
  values(start: number, end: number, round = 0): number {
    const entries = Array.from({ length: end - start }, (_, at) => value(`v${start + at}`));
    return this.commit([{ start, end, status: "value" }], entries, round);
  }

  async read(
    options: { from?: number; isUnordered?: boolean; isFollowing?: boolean; isReduced?: boolean } = {},
  ) {
    using following = this.changes.follow("job", new AbortController().signal);
    const got: [number, string][] = [];
    const standing = (): Standing => ({
      isEnded: this.isEnded,
      seq: this.#seq + this.unread,
      total: this.total,
      round: this.round,
    });
    const messages = readOutcomes({
      index: this.index,
      bodies: {
        get: (_segment, seq) => {
          const body = this.#bodies.get(seq);
          return body === undefined
            ? Promise.reject(new EverycoreError("not-found", "gone"))
            : Promise.resolve(body);
        },
      },
      from: 0,
      isUnordered: false,
      isFollowing: false,
      isReduced: false,
      ...options,
      standing,
      version: () => following.version(),
      changed: (seen) => following.changed(seen),
    });
    for await (const message of messages) {
      if ("piece" in message) {
        got.push([message.piece.index, `${message.piece.offset}:${message.piece.data.toString()}`]);
        continue;
      }
      const entries = new PackedEntries(message.batch.data);
      let at = 0;
      for (const run of message.batch.runs) {
        for (let index = run.start; index < run.start + run.count; index += 1, at += 1) {
          const outcome = unpackOutcome(entries.entry(at));
          const text =
            outcome.codec === codecs.error
              ? `E ${decodeErrorInfo(outcome.payload).message}`
              : outcome.payload.toString();
          got.push([index, text]);
        }
      }
    }
    return got;
  }

  bodies(): { get: (segment: SegmentId, seq: number) => Promise<Body> } {
    return { get: (_segment, seq) => Promise.resolve(this.#bodies.get(seq)!) };
  }
}

const value = (text: string): Buffer => packOutcome(outcomeStatus.value, codecs.utf8, 0, Buffer.from(text));

test("item order stops at a gap; log order does not", async () => {
  const log = new Log();
  log.values(4, 6);
  log.values(0, 2);
  expect((await log.read()).map(([index]) => index)).toEqual([0, 1]);
  expect((await log.read({ isUnordered: true })).map(([index]) => index)).toEqual([4, 5, 0, 1]);
  expect(await log.read({ from: 5 })).toEqual([[5, "v5"]]);
  expect(await log.read({ from: 1, isUnordered: true })).toEqual([
    [4, "v4"],
    [5, "v5"],
    [1, "v1"],
  ]);
});

test("a follower gets what comes later, until the job has ended", async () => {
  const log = new Log();
  const reading = log.read({ isFollowing: true });
  log.values(1, 3);
  await Promise.resolve();
  log.values(0, 1);
  log.isEnded = true;
  log.changes.touch("job");
  expect(await reading).toEqual([
    [0, "v0"],
    [1, "v1"],
    [2, "v2"],
  ]);
});

test("statuses that alternate in one commit come as they are", async () => {
  const log = new Log();
  const bad = packOutcome(
    outcomeStatus.error,
    codecs.error,
    0,
    encode({ kind: "error", name: "X", message: "no" }),
  );
  log.commit(
    [
      { start: 0, end: 1, status: "value" },
      { start: 1, end: 2, status: "error" },
      { start: 2, end: 3, status: "value" },
    ],
    [value("a"), bad, value("c")],
  );
  expect(await log.read()).toEqual([
    [0, "a"],
    [1, "E no"],
    [2, "c"],
  ]);
});

test("sealed items get their error from the seal, also many of them", async () => {
  const log = new Log();
  log.values(0, 1);
  const ranges = [{ start: 0, end: 20_000 }];
  log.append({ kind: "seal", job, epoch: 1, round: 0, ranges, status: "cancelled", message: "enough" });
  const read = await log.read();
  expect(read.length).toBe(20_000);
  expect(read[0]).toEqual([0, "v0"]);
  expect(read[19_999]).toEqual([19_999, "E enough"]);
});

test("items that were opened again give only their new outcome", async () => {
  const log = new Log();
  log.values(0, 4);
  log.append({ kind: "reopen", job, epoch: 1, ranges: [{ start: 1, end: 3 }], round: 1 });
  expect((await log.read()).map(([index]) => index)).toEqual([0]);
  log.commit([{ start: 1, end: 3, status: "value" }], [value("n1"), value("n2")], 1);
  const expected = [
    [0, "v0"],
    [1, "n1"],
    [2, "n2"],
    [3, "v3"],
  ];
  expect(await log.read()).toEqual(expected);
  expect((await log.read({ isUnordered: true })).toSorted((a, b) => a[0] - b[0])).toEqual(expected);
});

test("of a retried job nothing is given while the reopen may still be unread", async () => {
  const log = new Log();
  log.total = 2;
  log.isEnded = true;
  log.round = 1;
  log.unread = 2;
  log.commit([{ start: 0, end: 2, status: "error" }], [value("old 0"), value("old 1")]);
  const reading = log.read({ isFollowing: true });
  log.unread = 1;
  log.append({ kind: "reopen", job, epoch: 1, ranges: [{ start: 0, end: 2 }], round: 1 });
  log.unread = 0;
  log.values(0, 2, 1);
  expect(await reading).toEqual([
    [0, "v0"],
    [1, "v1"],
  ]);
});

test("a chunked outcome is streamed in pieces between its neighbours, and only from its own job", async () => {
  const log = new Log();
  const chunk = (index: number, piece: number) =>
    ({ kind: "chunk", job, lease: "0".repeat(32) as LeaseId, index, piece }) as const;
  const seqs = [log.append(chunk(1, 0), Buffer.from("abc")), log.append(chunk(1, 1), Buffer.from("de"))];
  const chunked = (of: number[]): Buffer =>
    packOutcome(outcomeStatus.value, codecs.chunked, 0, encode({ codec: codecs.raw, bytes: 5, seqs: of }));
  log.commit([{ start: 0, end: 3, status: "value" }], [value("x"), chunked(seqs), value("z")]);
  expect(await log.read()).toEqual([
    [0, "x"],
    [1, "0:abc"],
    [1, "3:de"],
    [2, "z"],
  ]);
  const foreign = log.append(chunk(3, 0), Buffer.from("secret"), "ffffffffffffffffffff" as JobId);
  log.commit([{ start: 3, end: 4, status: "value" }], [chunked([foreign])]);
  await expect(log.read({ from: 3 })).rejects.toThrow(/another job/);
});

test("a reduced job gives its failed items and its reduction, and its partials in order", async () => {
  const log = new Log(true);
  log.total = 5;
  log.commit([{ start: 4, end: 5, status: "value", missing: 0 }], [value("p4")]);
  log.commit([{ start: 0, end: 4, status: "value", missing: 1 }], [value("p0")]);
  const block = await Partials.of({ index: log.index, bodies: log.bodies(), total: 5 });
  const partials = new PackedEntries(await block.frame(0));
  expect(partials.count).toBe(2);
  expect(partials.entry(0).subarray(14).toString()).toBe("p0");
  expect(partials.entry(0)[8]).toBe(2);
  expect(partials.entry(0).readUInt32LE(9)).toBe(1);
  expect(Number(partials.entry(1).readBigUInt64LE(0))).toBe(4);
  log.commit([{ start: 5, end: 6, status: "value" }], [value("sum")]);
  log.isEnded = true;
  expect(await log.read({ isReduced: true })).toEqual([[5, "sum"]]);
});

test("partials of more bytes than a message come in frames, none of which needs the others, chunked ones too", async () => {
  const log = new Log(true);
  const count = 40_000;
  for (let first = 0; first < count; first += 1_000) {
    const spans = upTo(1_000).map((at) => ({ start: first + at, end: first + at + 1, missing: 0 }));
    log.commit(
      spans.map((span) => ({ ...span, status: "value" })),
      spans.map(({ start }) => value(`partial ${start} `.repeat(3))),
    );
  }
  const large = randomBytes(1_200_000);
  const seqs = [0, 1, 2].map((piece) =>
    log.append(
      { kind: "chunk", job, lease: "0".repeat(32) as LeaseId, index: count, piece },
      large.subarray(piece * limits.messageBytesMax, (piece + 1) * limits.messageBytesMax),
    ),
  );
  const chunked = encode({ codec: codecs.raw, bytes: large.length, seqs });
  log.commit(
    [{ start: count, end: count + 1, status: "value", missing: 0 }],
    [packOutcome(outcomeStatus.value, codecs.chunked, 0, chunked)],
  );
  const block = await Partials.of({ index: log.index, bodies: log.bodies(), total: count + 1 });
  const frames: Buffer[] = [];
  for (let at = 0; at < block.total; at += limits.messageBytesMax) frames.push(await block.frame(at));
  expect(frames.length).toBeGreaterThan(6);
  const whole = Buffer.concat(frames);
  expect(whole.length).toBe(block.total);
  const partials = new PackedEntries(whole);
  expect(partials.count).toBe(count + 1);
  for (const at of [0, 1, 777, 20_000, count - 1])
    expect(partials.entry(at).subarray(14).toString()).toBe(`partial ${at} `.repeat(3));
  expect(partials.entry(count)[13]).toBe(codecs.raw);
  expect(partials.entry(count).subarray(14).equals(large)).toBe(true);
  // Any offset, not only those of whole frames.
  for (const at of [1, 4 * count + 7, block.total - 3])
    expect((await block.frame(at)).equals(whole.subarray(at, at + limits.messageBytesMax))).toBe(true);
});

test("more partials than may be combined are refused by their number, and by their bytes", async () => {
  const log = new Log(true);
  for (const start of upTo(5))
    log.commit([{ start, end: start + 1, status: "value", missing: 0 }], [value("12345")]);
  const open = (max: { partials: number; bytes: number }): Promise<Partials> =>
    Partials.of({ index: log.index, bodies: log.bodies(), total: 5, max });
  expect((await open({ partials: 5, bytes: 95 })).total).toBe(4 + 4 * 6 + 95);
  await expect(open({ partials: 4, bytes: 95 })).rejects.toThrow(/more than 4/);
  await expect(open({ partials: 5, bytes: 94 })).rejects.toThrow(/94 bytes/);
});

const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);
