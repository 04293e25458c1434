/** What a span is to those who make one, whoever delivers it (tracing.ts). */
import type { TraceContext } from "./trace-context.ts";

export type SpanKind = "internal" | "client" | "server" | "producer" | "consumer";
export type Attributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanStart {
  readonly name: string;
  readonly kind: SpanKind;
  /** Absent: the first of a trace of its own. */
  readonly parent: TraceContext | undefined;
  /** Where others must know it beforehand; absent: drawn. */
  readonly spanId?: string;
  /** ms since epoch; absent: now. */
  readonly startMs?: number;
  readonly attributes?: Attributes;
  readonly links?: readonly TraceContext[];
}

export interface SpanEnd {
  /** ms since epoch; absent: now. */
  readonly endMs?: number;
  readonly attributes?: Attributes;
  /** It failed, and how. */
  readonly error?: string;
}

export interface StartedSpan {
  /** What children continue from; not sampled when the sampler said so. */
  readonly context: TraceContext;
  end(how?: SpanEnd): void;
}

export interface SpanCounts {
  /** Accepted by the collector. */
  delivered: number;
  /** The queue was full. */
  dropped: number;
  /** The collector did not take them. */
  failed: number;
}

export interface Tracing {
  readonly counts: Readonly<SpanCounts>;
  start(span: SpanStart): StartedSpan;
  /** One that is over already. */
  record(span: SpanStart & SpanEnd): void;
  close(): Promise<void>;
}

export interface TracingOptions {
  /** `service.name`, unless OTEL_SERVICE_NAME says otherwise. */
  readonly service: string;
  readonly version: string;
  /** How long one delivery may take, ms. Absent: what OTEL_EXPORTER_OTLP_TIMEOUT says, 10 s. */
  readonly timeoutMs?: number;
  /** Gets a sentence when spans cannot be delivered, once until they are again; never per span. */
  readonly onTrouble: (sentence: string) => void;
}
