// The cache of message bodies: what it says that it keeps is what it keeps alive, and no more than it may.
import type { JobId, SegmentId } from "@everycore/protocol";
import { limits, subjects } from "@everycore/protocol";
import { expect, test } from "vitest";
import { Bodies } from "../src/data/bodies.ts";
import { jobId, nodeId } from "./support/core-bench.ts";

const MB = 2 ** 20;
const segment = "s1" as SegmentId;
const [one, other] = [jobId("one"), jobId("other")];
const subjectOf = (job: JobId): string => subjects.log(segment, nodeId("a"), job);
/** What is kept is there without a question; nothing in here asks NATS. */
const newBodies = (bytesMax: number): Bodies => new Bodies(undefined as never, bytesMax);

/** A few bytes of a buffer that others lie in too, as what comes from a connection does. */
const piece = (bytes: number): Buffer => Buffer.from(new ArrayBuffer(64 * 1024), 100, bytes);

test("small bodies keep no more alive than is counted, however large the buffers that they came in", () => {
  const bodies = newBodies(MB);
  const kept: number[] = [];
  for (let seq = 1; seq <= 4_000; seq += 1) {
    bodies.keep(segment, seq, { subject: subjectOf(one), data: piece(40) });
    expect(bodies.bytes).toBeLessThanOrEqual(MB);
  }
  let bytes = 0;
  for (let seq = 1; seq <= 4_000; seq += 1) {
    const body = bodies.peek(segment, seq);
    if (body === undefined) continue;
    kept.push(seq);
    bytes += body.data.buffer.byteLength + limits.bodyOverheadBytes;
  }
  expect(bytes).toBe(bodies.bytes);
  expect(kept.at(-1)).toBe(4_000); // the oldest go
  expect(kept.length).toBeGreaterThan(1_000);
});

const textOf = (seq: number): string => `body ${String(seq).padStart(3, "0")}`;

test("bodies of a deleted job are not kept, those of others are", () => {
  const bodies = newBodies(MB);
  for (let seq = 1; seq <= 100; seq += 1) {
    const job = seq % 2 === 0 ? one : other;
    const subject = seq < 50 ? subjects.input(segment, job) : subjectOf(job);
    bodies.keep(segment, seq, { subject, data: Buffer.from(textOf(seq)) });
  }
  const before = bodies.bytes;
  bodies.forget(one);
  for (let seq = 1; seq <= 100; seq += 1) {
    expect(bodies.peek(segment, seq)?.data.toString()).toBe(seq % 2 === 0 ? undefined : textOf(seq));
  }
  expect(bodies.bytes).toBe(before / 2);
  bodies.forget(one);
  bodies.forget(other);
  expect(bodies.bytes).toBe(0);
});
