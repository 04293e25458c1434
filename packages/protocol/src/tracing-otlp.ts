/**
 * Spans by OpenTelemetry's own packages. Loaded only when an endpoint is set (tracing.ts). Names of spans, their times
 * and ids are given by whoever knows them: most spans are made of what is over, from records, not around a call.
 */
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  ParentBasedSampler,
  RandomIdGenerator,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import type { IdGenerator, Sampler } from "@opentelemetry/sdk-trace";
import { below, kinds, remote, started, timeOf } from "./tracing-api.ts";
import { SpanQueue } from "./tracing-queue.ts";
import type { SpanCounts, SpanEnd, SpanStart, StartedSpan, Tracing, TracingOptions } from "./span.ts";

const scope = "everycore";
/** Draws ids, unless the next one was given. */
class Ids implements IdGenerator {
  readonly #random = new RandomIdGenerator();
  next: string | undefined;

  generateTraceId = (): string => this.#random.generateTraceId();
  generateSpanId = (): string => {
    const id = this.next ?? this.#random.generateSpanId();
    this.next = undefined;
    return id;
  };
}

export class OtlpTracing implements Tracing {
  readonly #queue: SpanQueue;
  readonly #provider: TracerProvider;
  readonly #ids = new Ids();
  readonly #version: string;

  constructor(options: TracingOptions & { readonly endpoint: string }) {
    const { service, version, endpoint, timeoutMs, onTrouble } = options;
    this.#version = version;
    const exporter = new OTLPTraceExporter(timeoutMs === undefined ? {} : { timeoutMillis: timeoutMs });
    this.#queue = new SpanQueue(exporter, (reason) =>
      onTrouble(`spans could not be delivered to ${withoutLogin(endpoint)}: ${reason}`),
    );
    const own = resourceFromAttributes({ "service.name": service, "service.version": version });
    const told = detectResources({ detectors: [envDetector] });
    this.#provider = new TracerProvider({
      resource: defaultResource().merge(own).merge(told),
      sampler: samplerOf(process.env),
      idGenerator: this.#ids,
      spanProcessors: [this.#queue],
    });
  }

  get counts(): Readonly<SpanCounts> {
    return this.#queue.counts;
  }

  start(start: SpanStart): StartedSpan {
    this.#ids.next = start.spanId;
    const tracer = this.#provider.getTracer(scope, this.#version);
    const span = tracer.startSpan(
      start.name,
      {
        kind: kinds[start.kind],
        ...(start.startMs === undefined ? {} : { startTime: timeOf(start.startMs) }),
        ...(start.attributes === undefined ? {} : { attributes: start.attributes }),
        links: (start.links ?? []).map((link) => ({ context: remote(link) })),
      },
      below(start.parent),
    );
    return started(span);
  }

  record(span: SpanStart & SpanEnd): void {
    this.start(span).end(span);
  }

  async close(): Promise<void> {
    await this.#provider.shutdown();
  }
}

/** OTEL_TRACES_SAMPLER and its argument, by the names of the standard; an unknown one is the standard's default. */
function samplerOf(environment: Readonly<Record<string, string | undefined>>): Sampler {
  const name = environment["OTEL_TRACES_SAMPLER"] ?? "";
  const ratio = Number(environment["OTEL_TRACES_SAMPLER_ARG"] ?? "1");
  const roots: Readonly<Record<string, () => Sampler>> = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(ratio >= 0 && ratio <= 1 ? ratio : 1),
  };
  const plain = roots[name];
  if (plain !== undefined) return plain();
  const root = roots[name.replace(/^parentbased_/, "")] ?? roots["always_on"]!;
  return new ParentBasedSampler({ root: root() });
}

/** A password in a URL must not reach a log. */
function withoutLogin(endpoint: string): string {
  const url = new URL(endpoint);
  url.username = "";
  url.password = "";
  return url.href;
}
