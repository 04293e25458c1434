// A tracer that keeps the spans that it is given, for tests of those who make them.

import type { SpanEnd, SpanStart, StartedSpan, Tracing } from "@everycore/protocol/tracing";

const traceId = "0af7651916cd43dd8448eb211c80319c";

export type RecordedSpan = SpanStart & SpanEnd;

export class SpanRecorder implements Tracing {
  readonly counts = { delivered: 0, dropped: 0, failed: 0 };
  /** Those that have ended, in that order. */
  readonly spans: RecordedSpan[] = [];
  #drawn = 0;

  start(span: SpanStart): StartedSpan {
    const spanId = span.spanId ?? `f${String((this.#drawn += 1)).padStart(15, "0")}`;
    const context = { traceparent: `00-${traceId}-${spanId}-01` };
    return { context, end: (how = {}) => void this.spans.push({ ...span, spanId, ...how }) };
  }

  record(span: RecordedSpan): void {
    this.start(span).end(span);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  named(name: string): RecordedSpan[] {
    return this.spans.filter((span) => span.name === name);
  }
}
