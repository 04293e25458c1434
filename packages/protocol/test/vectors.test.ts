/**
 * The golden vectors of proto/vectors: what we write today is what was written, and is read back as it was meant.
 * A test that fails here means a change of the contract (proto/data-plane.md, "Versions"), not of a number.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  decode,
  decodeFetch,
  decodeFetchReply,
  decodeJobRecord,
  decodeLease,
  decodeLeaseReply,
  decodeNodeRecord,
  decodeRecord,
  encode,
  encodeFetch,
  encodeFetchReply,
  encodeJobRecord,
  encodeLease,
  encodeLeaseReply,
  encodeNodeRecord,
  encodeRecord,
  jobKeyOf,
  leaseIdOf,
  leaseVerifier,
  packEntries,
  PackedEntries,
  packOutcome,
  readRecord,
  unpackOutcome,
} from "../src/index.ts";
import type { JobId, LeaseGrant, LogRecord, NodeId } from "../src/index.ts";

/** Readable fields have `{"$bytes": hex}` for bytes and `{"$int": text}` for integers that JSON cannot hold. */
function revived(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revived);
  if (typeof value !== "object" || value === null) return value;
  if ("$bytes" in value) return Buffer.from(value.$bytes as string, "hex");
  if ("$int" in value) return BigInt(value.$int as string);
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, revived(entry)]));
}

function vectorsOf<T>(name: string): T[] {
  const path = new URL(`../../../proto/vectors/${name}.json`, import.meta.url);
  return revived(JSON.parse(readFileSync(path, "utf8"))) as T[];
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const bytesOf = (text: string): Buffer => Buffer.from(text, "hex");

describe("lease ids", () => {
  const vectors = vectorsOf<LeaseGrant & { clusterKey: string; job: JobId; jobKey: string }>("lease-id");
  test.each(vectors)("$id", (vector) => {
    const clusterKey = bytesOf(vector.clusterKey);
    expect(hex(jobKeyOf(clusterKey, vector.job))).toBe(vector.jobKey);
    expect(leaseIdOf(bytesOf(vector.jobKey), vector)).toBe(vector.id);
    const verify = leaseVerifier(clusterKey);
    expect(verify(vector.job, vector)).toBe(true);
    for (const field of ["start", "end", "round", "n"] as const) {
      expect(verify(vector.job, { ...vector, [field]: vector[field] + 1 }), field).toBe(false);
    }
  });
});

describe("records", () => {
  const vectors = vectorsOf<{ record: LogRecord; header: string }>("records");
  test.each(vectors)("$record.kind", ({ record, header }) => {
    expect(encodeRecord(record)).toBe(header);
    expect(decodeRecord(header)).toEqual(record);
  });

  test("every kind has a vector", () => {
    const kinds = ["chunk", "close", "commit", "fence", "input", "reopen", "seal", "strike"];
    expect([...new Set(vectors.map(({ record }) => record.kind))].toSorted()).toEqual(kinds);
  });
});

describe("messages", () => {
  // The types differ by message; what matters here is that both directions meet the same bytes.
  const codecsOf: Record<string, [(message: never) => Buffer, (bytes: Buffer) => unknown]> = {
    lease: [encodeLease, decodeLease],
    leaseReply: [encodeLeaseReply, decodeLeaseReply],
    fetch: [encodeFetch, decodeFetch],
    fetchReply: [encodeFetchReply, decodeFetchReply],
    jobRecord: [encodeJobRecord, decodeJobRecord],
    // Its id is the key.
    nodeRecord: [encodeNodeRecord, (bytes) => decodeNodeRecord("0123456789abcdef" as NodeId, bytes)],
  };
  test.each(vectorsOf<{ type: string; message: never; bytes: string }>("messages"))("$type", (vector) => {
    const [write, read] = codecsOf[vector.type]!;
    expect(hex(write(vector.message))).toBe(vector.bytes);
    expect(read(bytesOf(vector.bytes))).toEqual(vector.message);
  });
});

describe("layouts", () => {
  test.each(vectorsOf<{ entries: string[]; block: string }>("blocks"))(
    "block $block",
    ({ entries, block }) => {
      expect(hex(packEntries(entries.map(bytesOf)))).toBe(block);
      const read = new PackedEntries(bytesOf(block));
      expect(entries.map((_, at) => hex(read.entry(at)))).toEqual(entries);
      expect(read.count).toBe(entries.length);
    },
  );

  interface Outcome {
    status: number;
    codec: number;
    micros: number;
    payload: string;
  }

  test.each(vectorsOf<Outcome & { entry: string }>("outcomes"))("outcome $entry", ({ entry, ...outcome }) => {
    const { status, codec, micros, payload } = outcome;
    expect(hex(packOutcome(status, codec, micros, bytesOf(payload)))).toBe(entry);
    expect(unpackOutcome(bytesOf(entry))).toEqual({ ...outcome, payload: bytesOf(payload) });
  });

  const records = vectorsOf<Outcome & { index: number; bytes: string }>("slot-records");
  test.each(records)("slot record $bytes", ({ bytes, ...record }) => {
    // Written by workers only: the hosts' tests and python/tests hold their bytes against these.
    const read = readRecord(bytesOf(bytes), 0);
    expect(read?.record).toEqual({ ...record, payload: bytesOf(record.payload) });
    expect(read?.next).toBe(bytes.length / 2);
    expect(readRecord(bytesOf(bytes.slice(0, -2)), 0), "torn").toBeUndefined();
  });
});

describe("msgpack, as both languages write it", () => {
  interface Written {
    js: string;
    python: string;
  }

  test.each(vectorsOf<Written & { value: unknown }>("msgpack"))("$js", ({ value, js, python }) => {
    expect(hex(encode(value))).toBe(js);
    expect(decode(bytesOf(js))).toEqual(value);
    expect(decode(bytesOf(python))).toEqual(value);
  });

  test.each(vectorsOf<Written & { frame: { t: string } }>("frames"))("frame $frame.t", (vector) => {
    const body = encode(vector.frame);
    const head = Buffer.alloc(4);
    head.writeUInt32LE(body.length, 0);
    expect(hex(Buffer.concat([head, body]))).toBe(vector.js);
    for (const text of [vector.js, vector.python]) {
      const bytes = bytesOf(text);
      expect(bytes.readUInt32LE(0)).toBe(bytes.length - 4);
      expect(decode(bytes.subarray(4))).toEqual(vector.frame);
    }
  });
});
