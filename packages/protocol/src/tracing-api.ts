/**
 * Our contexts and spans as those of `@opentelemetry/api`, and the span of a program that has a tracer of its own:
 * libraries begin spans by the API alone, and whoever has set it up sends them.
 */
import {
  context,
  createTraceState,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
} from "@opentelemetry/api";
import type { Context, Span, SpanContext } from "@opentelemetry/api";
import type { TraceContext } from "./trace-context.ts";
import { traceFields } from "./trace-context.ts";
import type { StartedSpan } from "./span.ts";

/** Of the text with which a span failed, characters. */
const errorTextMax = 512;

export const kinds = {
  internal: SpanKind.INTERNAL,
  client: SpanKind.CLIENT,
  server: SpanKind.SERVER,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const;

export interface ProgramSpan {
  /** Of the program's own tracer; undefined: it has none. */
  readonly span: StartedSpan | undefined;
  /** What is active in the program, else `fallback`. */
  readonly parent: TraceContext | undefined;
}

/** Begins a span in the program that we run in, below what is active there. */
export function startInProgram(name: string, fallback: TraceContext | undefined): ProgramSpan {
  const active = trace.getSpanContext(context.active());
  const parent = active !== undefined && trace.isSpanContextValid(active) ? contextOf(active) : fallback;
  const span = trace.getTracer("everycore").startSpan(name, { kind: SpanKind.CLIENT }, below(parent));
  const made = span.spanContext();
  // Without a provider the API hands back the span above, or one of zeros.
  const isMade = trace.isSpanContextValid(made) && parent?.traceparent.split("-")[2] !== made.spanId;
  return { span: isMade ? started(span) : undefined, parent };
}

function contextOf({ traceId, spanId, traceFlags, traceState }: SpanContext): TraceContext {
  const tracestate = traceState?.serialize() ?? "";
  const traceparent = `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
  return tracestate === "" ? { traceparent } : { traceparent, tracestate };
}

export function started(span: Span): StartedSpan {
  return {
    context: contextOf(span.spanContext()),
    end: ({ endMs, attributes, error } = {}) => {
      if (attributes !== undefined) span.setAttributes(attributes);
      if (error !== undefined) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: error.slice(0, errorTextMax) });
      }
      span.end(endMs === undefined ? undefined : timeOf(endMs));
    },
  };
}

export const below = (parent: TraceContext | undefined): Context =>
  parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, remote(parent));

export function remote({ traceparent, tracestate }: TraceContext): SpanContext {
  const fields = traceFields(traceparent);
  if (fields === undefined) throw new Error(`"${traceparent}" is no traceparent`);
  const { traceId, spanId, isSampled } = fields;
  return {
    traceId,
    spanId,
    traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote: true,
    ...(tracestate === undefined ? {} : { traceState: createTraceState(tracestate) }),
  };
}

/** [s, ns]: as a bare number the API would take a time before this process for one on its monotonic clock. */
export function timeOf(ms: number): [number, number] {
  const micros = Math.round(ms * 1_000);
  return [Math.floor(micros / 1e6), (micros % 1e6) * 1_000];
}
