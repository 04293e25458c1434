/**
 * Whether two nodes gave the same for one item (core/spot-checks.ts): status, codec and bytes; how long it took is left
 * out. Both outcomes are read from the log, a piece at a time: they may have 256 MB each.
 */
import { setTimeout as delay } from "node:timers/promises";
import { codecs, EverycoreError, parseChunked, unpackOutcome } from "@everycore/protocol";
import type { Effect } from "../core/index.ts";
import type { Bodies } from "./bodies.ts";
import { BodyEntries } from "./entry-slice.ts";
import { chunkBody } from "./job-reader.ts";

export type Compare = Extract<Effect, { kind: "compare" }>;
type Place = Compare["first"];
type Reader = Pick<Bodies, "get">;

const againMs = 1_000;

/** undefined: one of them is gone from the log. While NATS is away it waits, as all of a term does. */
export async function areEqual(
  effect: Compare,
  bodies: Reader,
  term: AbortSignal,
): Promise<boolean | undefined> {
  while (!term.aborted) {
    try {
      return await compare(effect, bodies);
    } catch (error) {
      if (!(error instanceof EverycoreError) || error.code === "not-found") return undefined;
      // What cannot be read as an outcome is not the same as one.
      if (error.code !== "unreachable") return false;
      await delay(againMs, undefined, { signal: term }).catch(() => {}); // the condition ends it
    }
  }
  return undefined;
}

async function compare(effect: Compare, bodies: Reader): Promise<boolean> {
  const [first, second] = await Promise.all([
    outcomeAt(effect, effect.first, bodies),
    outcomeAt(effect, effect.second, bodies),
  ]);
  if (first.status !== second.status || first.codec !== second.codec || first.bytes !== second.bytes)
    return false;
  return sameBytes(first.pieces(), second.pieces());
}

interface StoredOutcome {
  readonly status: number;
  readonly codec: number;
  readonly bytes: number;
  pieces(): AsyncIterator<Buffer>;
}

async function outcomeAt({ job, segment }: Compare, place: Place, bodies: Reader): Promise<StoredOutcome> {
  const { data } = await bodies.get(segment, place.seq);
  const { status, codec, payload } = unpackOutcome(new BodyEntries(data).entry(place.entry));
  if (codec !== codecs.chunked)
    return { status, codec, bytes: payload.length, pieces: () => onePiece(payload) };
  const chunked = parseChunked(payload);
  const index = { job, segment };
  return {
    status,
    codec: chunked.codec,
    bytes: chunked.bytes,
    async *pieces() {
      for (const seq of chunked.seqs) yield await chunkBody({ index, bodies }, seq);
    },
  };
}

async function* onePiece(payload: Buffer): AsyncGenerator<Buffer> {
  yield payload;
}

/** Agents of two versions may cut the same bytes at different places. */
async function sameBytes(first: AsyncIterator<Buffer>, second: AsyncIterator<Buffer>): Promise<boolean> {
  let [left, right] = [Buffer.alloc(0), Buffer.alloc(0)];
  for (;;) {
    left = left.length > 0 ? left : await nextOf(first);
    right = right.length > 0 ? right : await nextOf(second);
    const length = Math.min(left.length, right.length);
    if (length === 0) return left.length === right.length;
    if (!left.subarray(0, length).equals(right.subarray(0, length))) return false;
    left = left.subarray(length);
    right = right.subarray(length);
  }
}

/** The next piece with bytes in it; an empty one at the end. */
async function nextOf(pieces: AsyncIterator<Buffer>): Promise<Buffer<ArrayBuffer>> {
  for (;;) {
    const { value, done } = await pieces.next();
    if (done === true) return Buffer.alloc(0);
    if ((value as Buffer).length > 0) return value as Buffer<ArrayBuffer>;
  }
}
