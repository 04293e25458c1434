// Records in their header: what is written is read; whatever else arrives is refused as `bad-input`, never a crash.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { JobId, LeaseGrant, LeaseId, LogRecord, NodeId } from "../src/index.ts";
import { codecs, decode, decodeRecord, encode, encodeRecord, EverycoreError, limits } from "../src/index.ts";

const hex = (digits: number): fc.Arbitrary<string> =>
  fc
    .array(fc.nat(15), { minLength: digits, maxLength: digits })
    .map((ns) => ns.map((n) => n.toString(16)).join(""));
const natural = fc.oneof(
  fc.nat(300),
  fc.nat(),
  fc.constant(2 ** 53 - 1),
  fc.nat().map((n) => n * 2 ** 20),
);
const range = fc
  .tuple(fc.nat(2 ** 40), fc.integer({ min: 1, max: 2 ** 20 }))
  .map(([start, length]) => ({ start, end: start + length }));
const job = hex(20) as fc.Arbitrary<JobId>;
const node = hex(16) as fc.Arbitrary<NodeId>;
const leaseId = hex(32) as fc.Arbitrary<LeaseId>;
const lease: fc.Arbitrary<LeaseGrant> = fc
  .record({ id: leaseId, range, node, round: natural, n: natural })
  .map(({ range: { start, end }, ...rest }) => ({ ...rest, start, end }));
const ranges = fc.array(range, { maxLength: 8 });
const detail = fc.record(
  {
    signal: fc.constantFrom("SIGSEGV", "SIGKILL"),
    exitCode: fc.nat(255),
    peakBytes: natural,
    limitBytes: natural,
    stderrTail: fc.string({ maxLength: 50 }),
    reason: fc.string({ maxLength: 20 }),
  },
  { requiredKeys: [] },
);
const optionalDetail = fc.option(detail, { nil: undefined });
const withDetail = <T extends object>(record: T, given: object | undefined): T =>
  given === undefined ? record : { ...record, detail: given };

const part = fc
  .record({
    lease: fc.nat(60),
    range,
    status: fc.constantFrom("value", "error", "timeout", "again"),
    missing: fc.option(fc.nat(), { nil: undefined }),
  })
  .map(({ range: { start, end }, missing, ...rest }) => ({
    ...rest,
    start,
    end,
    ...(missing === undefined ? {} : { missing }),
  }));
const usage = fc.record({
  slot: natural,
  items: natural,
  slices: natural,
  splits: natural,
  busyMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
  cpuMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
});

const records = fc.oneof(
  fc.record({
    kind: fc.constant("commit"),
    job,
    epoch: natural,
    leases: fc.array(lease, { maxLength: 3 }),
    parts: fc.array(part, { maxLength: 6 }),
    usage: fc.array(usage, { maxLength: 3 }),
    bytes: natural,
  }),
  fc.record({ kind: fc.constant("chunk"), job, lease: leaseId, index: natural, piece: natural }),
  fc
    .tuple(
      fc.record({
        kind: fc.constant("strike"),
        job,
        epoch: natural,
        cause: fc.constantFrom("crash", "lost", "suspected"),
        lease,
        ranges,
        byLeader: fc.boolean(),
      }),
      optionalDetail,
    )
    .map(([record, given]) => withDetail(record, given)),
  fc
    .tuple(
      fc.record(
        {
          kind: fc.constant("seal"),
          job,
          epoch: natural,
          round: natural,
          ranges,
          status: fc.constantFrom("crash", "lost", "cancelled", "expired"),
          message: fc.string({ maxLength: 60 }),
          node,
        },
        { requiredKeys: ["kind", "job", "epoch", "round", "ranges", "status", "message"] },
      ),
      optionalDetail,
    )
    .map(([record, given]) => withDetail(record, given)),
  fc.record({ kind: fc.constant("reopen"), job, epoch: natural, ranges, round: natural }),
  fc.record({ kind: fc.constant("fence"), job, epoch: natural }),
  fc.record({
    kind: fc.constant("input"),
    job,
    first: natural,
    count: natural,
    codec: fc.constantFrom(...(Object.keys(codecs) as (keyof typeof codecs)[])),
    piece: natural,
    pieces: natural,
    bytes: natural,
  }),
  fc.record({ kind: fc.constant("close"), job, total: natural }),
) as fc.Arbitrary<LogRecord>;

test("every kind of record is read as it was written", () => {
  fc.assert(
    fc.property(records, (record) => {
      expect(decodeRecord(encodeRecord(record))).toEqual(record);
    }),
    { numRuns: 1_000 },
  );
});

/** A record, or our refusal; anything else is a bug. */
function readOrRefuse(header: string): void {
  try {
    decodeRecord(header);
  } catch (error) {
    if (!(error instanceof EverycoreError)) throw error;
    expect(error.code).toBe("bad-input");
  }
}

test("10,000 headers with flipped, cut, doubled and foreign bytes: read or refused, never a crash", () => {
  const sample = fc.sample(records, { numRuns: 500, seed: 20_261_124 });
  const headers = sample.map((record) => Buffer.from(encodeRecord(record), "base64url"));
  const mutation = fc.record({
    of: fc.nat(headers.length - 1),
    act: fc.constantFrom("flip", "cut", "double", "insert"),
    at: fc.nat(),
    byte: fc.nat(255),
  });
  fc.assert(
    fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
      let bytes = Buffer.from(headers[mutations[0]!.of]!);
      for (const { act, at, byte } of mutations) {
        const place = bytes.length === 0 ? 0 : at % bytes.length;
        if (act === "flip" && bytes.length > 0) bytes[place] = byte;
        else if (act === "cut") bytes = bytes.subarray(0, place);
        else if (act === "double")
          bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(place / 2)]);
        else bytes = Buffer.concat([bytes.subarray(0, place), Buffer.of(byte), bytes.subarray(place)]);
      }
      readOrRefuse(bytes.toString("base64url"));
    }),
    { numRuns: 10_000 },
  );
});

test("maps with right names and wrong values are refused", () => {
  const strange = fc.oneof(
    fc.constantFrom(
      -1,
      0.5,
      Number.NaN,
      Infinity,
      2 ** 60,
      "",
      "x",
      null,
      true,
      [],
      {},
      [[]],
      [[1]],
      new Uint8Array(3),
    ),
    fc.anything({ maxDepth: 2 }),
  );
  const sample = fc.sample(records, { numRuns: 200, seed: 7 });
  fc.assert(
    fc.property(fc.nat(sample.length - 1), fc.nat(), strange, (of, at, value) => {
      const fields = decode(Buffer.from(encodeRecord(sample[of]!), "base64url")) as Record<string, unknown>;
      const names = Object.keys(fields);
      fields[names[at % names.length]!] = value;
      let bytes: Buffer;
      try {
        bytes = encode(fields);
      } catch {
        return; // what cannot be packed cannot arrive
      }
      readOrRefuse(bytes.toString("base64url"));
    }),
    { numRuns: 3_000 },
  );
});

test("texts that are no header are refused", () => {
  fc.assert(fc.property(fc.string({ maxLength: 200 }), readOrRefuse), { numRuns: 1_000 });
  expect(() => decodeRecord("A".repeat(limits.recordHeaderBytesMax * 2 + 1))).toThrow(EverycoreError);
  expect(() => decodeRecord("")).toThrow(EverycoreError);
});

test("a record of another version is refused", () => {
  const bytes = encode({ v: 2, kind: "fence", job: "0".repeat(20), epoch: 1 });
  expect(() => decodeRecord(bytes.toString("base64url"))).toThrow('field "v"');
});

test("a commit with more leases or parts than the limits is refused", () => {
  const grant = {
    id: "1".repeat(32),
    start: 0,
    end: 1_000,
    node: "2".repeat(16),
    round: 0,
    n: 1,
  } as LeaseGrant;
  const commit = {
    kind: "commit",
    job: "0".repeat(20) as JobId,
    epoch: 1,
    usage: [],
    bytes: 0,
  } as const;
  const leases = Array.from({ length: limits.commitLeasesMax + 1 }, () => grant);
  expect(() => decodeRecord(encodeRecord({ ...commit, leases, parts: [] }))).toThrow('field "leases"');
  const parts = Array.from({ length: limits.commitPartsMax + 1 }, (_, at) => ({
    lease: 0,
    start: at,
    end: at + 1,
    status: "value" as const,
  }));
  expect(() => decodeRecord(encodeRecord({ ...commit, leases: [grant], parts }))).toThrow('field "parts"');
});

test("a header over 16 KB is the writer's error, and the limits of a commit keep it far below", () => {
  const base = { kind: "commit", job: "0".repeat(20) as JobId, epoch: 2 ** 40, bytes: 2 ** 40 } as const;
  const leases = Array.from({ length: limits.commitLeasesMax }, (_, at) => ({
    id: "f".repeat(32) as LeaseId,
    start: 2 ** 40 - 2 ** 21,
    end: 2 ** 40,
    node: "e".repeat(16) as NodeId,
    round: 2 ** 20,
    n: 2 ** 50 + at,
  }));
  const parts = Array.from({ length: limits.commitPartsMax }, (_, at) => ({
    lease: limits.commitLeasesMax - 1,
    start: 2 ** 40 - 2 * at - 2,
    end: 2 ** 40 - 2 * at - 1,
    status: "again" as const,
  }));
  const usage = Array.from({ length: 64 }, (_, slot) => ({
    slot,
    items: 2 ** 33,
    slices: 2 ** 33,
    splits: 2 ** 20,
    busyMs: 0.1,
    cpuMs: 0.1,
  }));
  expect(encodeRecord({ ...base, leases, parts, usage }).length).toBeLessThan(
    limits.recordHeaderBytesMax * 1.4,
  );
  const many = Array.from({ length: 4_000 }, (_, at) => usage[at % 64]!);
  expect(() => encodeRecord({ ...base, leases, parts, usage: many })).toThrow("recordHeaderBytesMax");
});
