// Spans of slices and items: which there are, where they hang, and how many an agent may send.
import type { JobId, LeaseGrant, LeaseId, LeaseMessage, NodeId } from "@everycore/protocol";
import { codecs, encodeErrorInfo, limits, outcomeStatus, recordStatus } from "@everycore/protocol";
import { expect, test } from "vitest";
import { SpanRecorder } from "../../../test/support/span-recorder.ts";
import { newItemTimes, noteItem } from "../src/slots/item-times.ts";
import type { SliceFacts } from "../src/tracing.ts";
import { SliceTracing } from "../src/tracing.ts";
import { slotRecord } from "./support/slot-records.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const lease = { traceparent: `00-${traceId}-b7ad6b7169203331-01`, tracestate: "a=b" };
const node = "1".repeat(16) as NodeId;

const grant: LeaseGrant = { id: "a".repeat(32) as LeaseId, start: 0, end: 1_000_000, node, round: 0, n: 1 };

const messageOf = (trace: Partial<typeof lease> = lease): LeaseMessage => ({
  epoch: 1,
  job: "0".repeat(20) as JobId,
  segment: "s1",
  task: { runtime: "js", seed: "0000000000000001", rangeStart: 0, retries: 0, ...trace },
  grant,
  items: { codec: "range" },
  attempts: [],
  mode: "normal",
  itemMs: 0,
  priority: 0,
  tag: 0,
});

const slice = (id: number, facts: Partial<SliceFacts> = {}): SliceFacts => ({
  worker: 1,
  slot: 0,
  slice: id,
  start: 0,
  end: 10,
  ...facts,
});

const spanIdOf = (context: { traceparent: string } | undefined): string =>
  context!.traceparent.split("-")[2]!;

const took = (micros: number, index: number, status: number = outcomeStatus.value): Buffer => {
  const record = slotRecord(index, status, encodeErrorInfo({ kind: "error", name: "Bad", message: "no" }));
  record[13] = codecs.error;
  record.writeUInt32LE(micros, 14);
  return record;
};

test("a slice hangs below its lease and is linked to it; its items lie within it, one after the other", () => {
  const recorder = new SpanRecorder();
  const tracing = new SliceTracing(recorder);
  const begun = tracing.begin(slice(1), messageOf());
  expect(begun.isTimed).toBe(true);
  expect(begun.context).toEqual({ ...lease, traceparent: expect.stringContaining(traceId) as string });
  const times = newItemTimes();
  noteItem(times, 0, took(9_999, 0)); // a microsecond too quick
  noteItem(times, 1, took(10_000, 1));
  noteItem(times, 2, took(500, 2, outcomeStatus.error));
  noteItem(times, 3, took(20_000, 3, recordStatus.counted)); // of a reduction
  tracing.found(1, 1, times);
  tracing.ended(1, { slice: 1, at: 4, busyMs: 50 });

  const [span] = recorder.named("slice");
  expect(span).toMatchObject({
    kind: "consumer",
    parent: lease,
    links: [lease],
    spanId: spanIdOf(begun.context),
    attributes: { "everycore.node": node, "everycore.items": 4, "everycore.items.failed": 1 },
  });
  expect(span!.error).toBeUndefined();
  expect(span!.endMs! - span!.startMs!).toBeCloseTo(50, 5);
  const items = recorder.named("item").map(({ startMs, endMs, attributes, error, parent }) => ({
    from: Math.round((startMs! - span!.startMs!) * 1_000),
    to: Math.round((endMs! - span!.startMs!) * 1_000),
    index: attributes!["everycore.index"],
    error,
    parent: spanIdOf(parent),
  }));
  const parent = spanIdOf(begun.context);
  expect(items).toEqual([
    { from: 9_999, to: 19_999, index: 1, error: undefined, parent },
    { from: 19_999, to: 20_499, index: 2, error: "Bad: no", parent },
    { from: 20_499, to: 40_499, index: 3, error: undefined, parent },
  ]);
});

test("without a tracer, or below what was not sampled, the lease's place is handed on and nothing is timed", () => {
  expect(new SliceTracing(undefined).begin(slice(1), messageOf())).toEqual({
    context: lease,
    isTimed: false,
  });
  const recorder = new SpanRecorder();
  const tracing = new SliceTracing(recorder);
  const off = { traceparent: lease.traceparent.replace(/01$/, "00") };
  expect(tracing.begin(slice(1), messageOf(off))).toEqual({ context: off, isTimed: false });
  expect(tracing.begin(slice(2), messageOf({}))).toEqual({ context: undefined, isTimed: false });
  tracing.ended(1, { slice: 1, at: 4, busyMs: 50 });
  tracing.died(1, { phase: "item", detail: {}, kill: undefined }, () => 3);
  expect(recorder.spans).toEqual([]);
});

test("items beyond the limit of a slice are counted, not sent; an error that cannot be read is one all the same", () => {
  const recorder = new SpanRecorder();
  const tracing = new SliceTracing(recorder);
  tracing.begin(slice(1, { end: 100 }), messageOf());
  const times = newItemTimes();
  const unreadable = slotRecord(0, outcomeStatus.error, Buffer.from([1]));
  unreadable[13] = codecs.error;
  noteItem(times, 0, unreadable);
  for (let index = 1; index < 100; index += 1) noteItem(times, index, took(1, index, outcomeStatus.error));
  tracing.found(1, 1, times);
  tracing.ended(1, { slice: 1, at: 100, busyMs: 5 });
  expect(recorder.named("item")).toHaveLength(limits.traceItemsPerSlice);
  expect(recorder.named("item")[0]!.error).toBe("Error: it cannot be read");
  expect(recorder.named("slice")[0]!.attributes).toMatchObject({
    "everycore.items.failed": 100,
    "everycore.items.without_span": 100 - limits.traceItemsPerSlice,
  });
});

test("cheap slices are thinned beyond the bound, and those in which something failed are not lost among them", () => {
  const recorder = new SpanRecorder();
  const tracing = new SliceTracing(recorder);
  const many = limits.traceSpansBurst + 5_000;
  const began = performance.now();
  for (let id = 1; id <= many; id += 1) {
    tracing.begin(slice(id), messageOf());
    tracing.ended(1, { slice: id, at: 10, busyMs: 0 });
  }
  const gained = ((performance.now() - began) / 1_000 + 1) * limits.traceSpansPerSecond;
  expect(recorder.spans.length).toBeGreaterThanOrEqual(limits.traceSpansBurst);
  expect(recorder.spans.length).toBeLessThan(limits.traceSpansBurst + gained);
  expect(tracing.counts.thinned).toBe(many - recorder.spans.length);
  const before = recorder.spans.length;
  tracing.begin(slice(many + 1), messageOf());
  const times = newItemTimes();
  noteItem(times, 0, took(1, 0, outcomeStatus.error));
  tracing.found(1, many + 1, times);
  tracing.ended(1, { slice: many + 1, at: 10, busyMs: 0 });
  expect(recorder.spans.slice(before).map(({ name }) => name)).toEqual(["item", "slice"]);
});

test("of a dead worker the slice that ran and its item have failed; what waited behind it has no span", () => {
  for (const [kill, detail, error, status] of [
    [undefined, { signal: "SIGSEGV" }, "killed by SIGSEGV", "crash"],
    [undefined, { exitCode: 7, reason: "worker exited" }, "worker exited", "crash"],
    ["timeout", { signal: "SIGKILL" }, "timeout", "timeout"],
    ["memory", { signal: "SIGKILL", reason: "out of memory" }, "out of memory", "crash"],
    ["cancel", { signal: "SIGKILL" }, undefined, "cancelled"],
    ["stop", { signal: "SIGKILL" }, undefined, "stopped"],
  ] as const) {
    const recorder = new SpanRecorder();
    const tracing = new SliceTracing(recorder);
    tracing.begin(slice(1), messageOf());
    tracing.begin(slice(2, { start: 10, end: 20 }), messageOf());
    tracing.died(1, { phase: "item", detail, kill }, (id) => (id === 1 ? 3 : undefined));
    expect(recorder.named("slice").map((span) => span.error)).toEqual([error]);
    expect(recorder.named("item")).toEqual([
      expect.objectContaining({ attributes: { "everycore.index": 3, "everycore.status": status } }),
    ]);
    expect(recorder.named("item")[0]!.error).toBe(error);
    tracing.ended(1, { slice: 2, at: 20, busyMs: 1 });
    expect(recorder.named("slice")).toHaveLength(1);
  }
});

test("a death between items blames none, and a slice that had not begun has no span", () => {
  const recorder = new SpanRecorder();
  const tracing = new SliceTracing(recorder);
  tracing.begin(slice(1), messageOf());
  tracing.died(1, { phase: "idle", detail: { exitCode: 1 }, kill: undefined }, () => 3);
  expect(recorder.spans.map(({ name }) => name)).toEqual(["slice"]);
  tracing.begin(slice(2), messageOf());
  tracing.died(1, { phase: "load", detail: { exitCode: 1 }, kill: undefined }, () => undefined);
  tracing.begin(slice(3), messageOf());
  tracing.ended(1, { slice: 3, at: 0, busyMs: 0.1 }); // cut before its first item
  expect(recorder.spans).toHaveLength(1);
});
