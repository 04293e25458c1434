// Spans on their way to a collector: what arrives, and what a dead, slow or absent one costs.

import { AsyncLocalStorage } from "node:async_hooks";
import { context, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import type { Context, ContextManager } from "@opentelemetry/api";
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace";
import { afterEach, expect, test, vi } from "vitest";
import { startCollector } from "../../../test/support/otlp-collector.ts";
import { SubmitTracing } from "../../client/src/tracing.ts";
import { until } from "../../../test/support/until.ts";
import type { JobSpec } from "../src/job.ts";
import { limits } from "../src/limits.ts";
import { traceFields } from "../src/trace-context.ts";
import type { Tracing } from "../src/tracing.ts";
import { isProgramTraced, openTracing } from "../src/tracing.ts";
import { startInProgram } from "../src/tracing-api.ts";
import { SpanQueue } from "../src/tracing-queue.ts";

const parent = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=b" };

afterEach(() => {
  vi.unstubAllEnvs();
  trace.disable();
  context.disable();
});

/** Opens with these variables alone; what it had to say is in `said`. */
async function open(
  environment: Record<string, string>,
): Promise<{ tracing: Tracing | undefined; said: string[] }> {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  const said: string[] = [];
  const onTrouble = (sentence: string): void => void said.push(sentence);
  return { tracing: await openTracing({ service: "test", version: "1.2.3", onTrouble }), said };
}

test("without an endpoint there is nothing, and nothing is said", async () => {
  for (const environment of [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: "" },
    { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_SDK_DISABLED: "true" },
    { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_TRACES_EXPORTER: "none" },
  ]) {
    expect(await open(environment)).toEqual({ tracing: undefined, said: [] });
    vi.unstubAllEnvs();
  }
});

test("an endpoint that cannot be used is named in a sentence, and ends nothing", async () => {
  const url = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: "localhost:4318" });
  expect(url.tracing).toBeUndefined();
  expect(url.said).toEqual(['no traces: the OTLP endpoint "localhost:4318" is no http:// or https:// URL']);
  const grpc = await open({
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4317",
    OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
  });
  expect(grpc.tracing).toBeUndefined();
  expect(grpc.said).toEqual([
    expect.stringContaining("OTEL_EXPORTER_OTLP_PROTOCOL is grpc; everycore sends"),
  ]);
});

test("what arrives has the ids, times, links and failure that it was given", async () => {
  await using collector = await startCollector();
  const { tracing } = await open({ ...collector.environment, OTEL_RESOURCE_ATTRIBUTES: "team=blue" });
  const startMs = Date.UTC(2020, 0, 2, 3, 4, 5) + 0.25; // long before this process
  tracing!.record({
    name: "lease",
    kind: "producer",
    parent,
    spanId: "1111111111111111",
    startMs,
    endMs: startMs + 1.5,
    attributes: { count: 3, name: "x", right: true },
    links: [parent],
    error: "it broke",
  });
  await tracing!.close();
  expect(collector.spans).toEqual([
    {
      service: "test",
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId: "1111111111111111",
      parentId: "b7ad6b7169203331",
      traceState: "a=b",
      name: "lease",
      kind: "producer",
      startMs,
      endMs: startMs + 1.5,
      attributes: { count: 3, name: "x", right: true },
      links: ["b7ad6b7169203331"],
      error: "it broke",
    },
  ]);
  expect(tracing!.counts).toEqual({ delivered: 1, dropped: 0, failed: 0 });
});

test("OTEL_SERVICE_NAME wins over the role's name", async () => {
  await using collector = await startCollector();
  const { tracing } = await open({ ...collector.environment, OTEL_SERVICE_NAME: "mine" });
  tracing!.record({ name: "a", kind: "internal", parent: undefined });
  await tracing!.close();
  expect(collector.spans.map(({ service }) => service)).toEqual(["mine"]);
});

test("what the sampler or the parent leaves out is passed on as unsampled, and is not sent", async () => {
  await using collector = await startCollector();
  const off = { traceparent: parent.traceparent.replace(/01$/, "00") };
  for (const [environment, above] of [
    [{ OTEL_TRACES_SAMPLER: "always_off" }, undefined],
    [{ OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "0" }, undefined],
    [{ OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: "0" }, undefined],
    [{}, off],
    [{ OTEL_TRACES_SAMPLER: "parentbased_always_on" }, off],
  ] as const) {
    const { tracing } = await open({ ...collector.environment, ...environment });
    const span = tracing!.start({ name: "left out", kind: "internal", parent: above });
    expect(traceFields(span.context.traceparent)?.isSampled, JSON.stringify(environment)).toBe(false);
    span.end();
    await tracing!.close();
    vi.unstubAllEnvs();
  }
  const { tracing } = await open({ ...collector.environment, OTEL_TRACES_SAMPLER: "always_on" });
  tracing!.start({ name: "sent", kind: "internal", parent: off }).end();
  await tracing!.close();
  expect(collector.spans.map(({ name }) => name)).toEqual(["sent"]);
});

test("a collector that refuses is said once with its address, without the login in it, and close waits for nothing", async () => {
  const collector = await startCollector();
  const { url } = collector;
  await collector[Symbol.asyncDispose]();
  vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", url.replace("//", "//me:password@"));
  const said: string[] = [];
  const onTrouble = (sentence: string): void => void said.push(sentence);
  const tracing = (await openTracing({ service: "test", version: "1", timeoutMs: 500, onTrouble }))!;
  for (let count = 0; count < 1_000; count += 1) tracing.record({ name: "a", kind: "internal", parent });
  await until(() => tracing.counts.failed > 0, { what: "a delivery to fail" });
  const began = performance.now();
  await tracing.close();
  expect(performance.now() - began).toBeLessThan(100);
  expect(said).toEqual([expect.stringContaining(`could not be delivered to ${url}/: connect ECONNREFUSED`)]);
  const { delivered, dropped, failed } = tracing.counts;
  expect({ delivered, all: dropped + failed }).toEqual({ delivered: 0, all: 1_000 });
});

/** Any exporter, its answers in the test's hands. */
function queueOf(exporter: Pick<SpanExporter, "export">): { queue: SpanQueue; said: string[] } {
  const said: string[] = [];
  const whole = { ...exporter, shutdown: () => Promise.resolve() };
  return { queue: new SpanQueue(whole, (reason) => void said.push(reason)), said };
}

const span = {} as ReadableSpan; // the queue does not look into it

test("a collector that never answers fills a bounded queue, whose overflow is counted, and close gives up on it", async () => {
  let asked = 0;
  const { queue } = queueOf({ export: () => void (asked += 1) });
  const sent = 512;
  for (let count = 0; count < sent + limits.traceQueueSpans + 7; count += 1) queue.onEnd(span);
  expect(asked).toBe(1);
  expect(queue.counts).toEqual({ delivered: 0, dropped: 7, failed: 0 });
  const began = performance.now();
  await queue.shutdown();
  expect(performance.now() - began).toBeLessThan(1_000);
  expect(queue.counts.dropped).toBe(7 + limits.traceQueueSpans);
  queue.onEnd(span);
  expect(queue.counts.dropped).toBe(8 + limits.traceQueueSpans);
});

test("trouble is said again only after things were well in between", async () => {
  const codes = [1, 1, 0, 1];
  const { queue, said } = queueOf({
    export: (_spans, done) => done({ code: codes.shift()!, error: new Error("no") }),
  });
  for (const left of [3, 2, 1, 0]) {
    for (let count = 0; count < 512; count += 1) queue.onEnd(span);
    await until(() => codes.length === left && !queue.isSending, { what: "the delivery", everyMs: 1 });
  }
  expect(said).toEqual(["no", "no"]);
  expect(queue.counts).toEqual({ delivered: 512, dropped: 0, failed: 3 * 512 });
});

class TestContexts implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();
  active = (): Context => this.#storage.getStore() ?? ROOT_CONTEXT;
  with: ContextManager["with"] = (under, run, self, ...args) =>
    this.#storage.run(under, () => run.apply(self, args));
  bind: ContextManager["bind"] = (_under, target) => target;
  enable = (): this => this;
  disable = (): this => this;
}

test("in a program with a tracer of its own the span is the program's, below what is active there", async () => {
  expect(startInProgram("submit", parent)).toEqual({ span: undefined, parent });
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new TestContexts());
  expect(isProgramTraced()).toBe(true);
  const request = provider.getTracer("program").startSpan("request");
  await context.with(trace.setSpan(ROOT_CONTEXT, request), async () => {
    await Promise.resolve(); // as in a program, where more happens before the submit
    startInProgram("submit", parent).span!.end({ attributes: { job: "x" } });
  });
  startInProgram("submit", parent).span!.end({ error: "refused" });
  const [first, second] = exporter.getFinishedSpans();
  expect(first).toMatchObject({ name: "submit", attributes: { job: "x" } });
  expect(first!.parentSpanContext?.spanId).toBe(request.spanContext().spanId);
  expect(second!.parentSpanContext?.spanId).toBe("b7ad6b7169203331");
  expect(second!.status).toEqual({ code: 2, message: "refused" });
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

test("a job carries the span of the program's tracer, and we send nothing though an endpoint is set", async () => {
  await using collector = await startCollector();
  vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url);
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
  trace.setGlobalTracerProvider(provider);
  const submits = new SubmitTracing({});
  const { spec: traced, end } = await submits.begin(spec);
  end({ job: "f".repeat(20) });
  await submits.close();
  const [sent] = exporter.getFinishedSpans();
  const { traceId, spanId } = sent!.spanContext();
  expect(traced).toEqual({ ...spec, task: { ...spec.task, traceparent: `00-${traceId}-${spanId}-01` } });
  expect(sent!.attributes).toEqual({ "everycore.name": "traced", "everycore.job": "f".repeat(20) });
  expect(collector.requests).toBe(0);
});

test("with neither tracer nor endpoint a job carries what its caller left, or nothing", async () => {
  const submits = new SubmitTracing({});
  expect((await submits.begin(spec)).spec).toEqual(spec);
  vi.stubEnv("TRACEPARENT", parent.traceparent);
  vi.stubEnv("TRACESTATE", parent.tracestate);
  expect((await submits.begin(spec)).spec).toEqual({ ...spec, task: { ...spec.task, ...parent } });
  await submits.close();
});

test("a submit that failed is a span that failed", async () => {
  await using collector = await startCollector();
  vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url);
  const submits = new SubmitTracing({});
  const { end } = await submits.begin(spec);
  end({ error: new Error("refused") });
  await submits.close();
  expect(collector.spans.map(({ name, service, error }) => ({ name, service, error }))).toEqual([
    { name: "submit", service: "everycore-client", error: "refused" },
  ]);
});
