import { expect, test } from "vitest";
import { encode } from "../src/wire.ts";
import { decodeSpec, encodeSpec } from "../src/messages.ts";
import type { JobSpec } from "../src/job.ts";
import { spanOf, traceFields, traceOf, traceOfEnvironment } from "../src/trace-context.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const spanId = "b7ad6b7169203331";
const traceparent = `00-${traceId}-${spanId}-01`;

test("a traceparent has its fields, and whatever is none has nothing", () => {
  expect(traceFields(traceparent)).toEqual({ traceId, spanId, isSampled: true });
  expect(traceFields(`00-${traceId}-${spanId}-02`)?.isSampled).toBe(false);
  for (const wrong of [
    "",
    "01",
    `00-${traceId}-${spanId}`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${"0".repeat(32)}-${spanId}-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `ff-${traceId}-${spanId}-01`,
    `${traceparent}\n`,
    `${traceparent}-more`,
  ]) {
    expect(traceFields(wrong), wrong).toBeUndefined();
  }
});

test("an environment with a malformed traceparent has no trace; a malformed tracestate costs only itself", () => {
  expect(traceOfEnvironment({})).toBeUndefined();
  expect(traceOfEnvironment({ TRACEPARENT: "00-1-2-3", TRACESTATE: "a=b" })).toBeUndefined();
  expect(traceOfEnvironment({ TRACEPARENT: traceparent })).toEqual({ traceparent });
  expect(traceOfEnvironment({ TRACEPARENT: traceparent, TRACESTATE: "a=b" })).toEqual({
    traceparent,
    tracestate: "a=b",
  });
  for (const tracestate of ["a=\n", "a=é", `a=${"x".repeat(600)}`]) {
    expect(traceOfEnvironment({ TRACEPARENT: traceparent, TRACESTATE: tracestate })).toEqual({ traceparent });
  }
});

test("another span of a trace keeps its flags and its state", () => {
  const other = "1111111111111111";
  expect(spanOf({ traceparent, tracestate: "a=b" }, other)).toEqual({
    traceparent: `00-${traceId}-${other}-01`,
    tracestate: "a=b",
  });
});

const spec: JobSpec = {
  name: "traced",
  task: { runtime: "exec", argv: ["true"], seed: "0000000000000001", rangeStart: 0, retries: 0 },
  codec: "range",
  rangeItems: 1,
  priority: 0,
  strict: false,
  ttlMs: 0,
};

test("a job's specification carries its trace, and a malformed one is refused by the name of its field", () => {
  const task = { ...spec.task, traceparent, tracestate: "a=b" };
  const travelled = decodeSpec(encodeSpec({ ...spec, task }));
  expect(traceOf(travelled.task)).toEqual({ traceparent, tracestate: "a=b" });
  expect(traceOf(decodeSpec(encodeSpec(spec)).task)).toBeUndefined();
  const malformed = { traceparent: "00-0-0-00", tracestate: "a\nb" };
  for (const [field, value] of Object.entries(malformed)) {
    const sent = encode({ ...spec, task: { ...spec.task, [field]: value } });
    expect(() => decodeSpec(sent)).toThrow(`field "${field}" is missing or malformed`);
  }
});
