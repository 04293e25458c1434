/**
 * Where in a trace something stands, as W3C Trace Context writes it: `00-<trace id>-<span id>-<flags>`, and what
 * vendors keep beside it. Travels in a job's task as text; only the packages of OpenTelemetry look further into it.
 */

export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate?: string;
}

/** Characters of `tracestate` that are passed on; the standard asks for at least so many. */
export const tracestateMax = 512;

const pattern = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
const nothing = /^0+$/;

interface Fields {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

/** The fields of a `traceparent`; undefined for whatever is none. */
export function traceFields(traceparent: string): Fields | undefined {
  const [, traceId = "", spanId = "", flags = ""] = pattern.exec(traceparent) ?? [];
  if (traceId === "" || nothing.test(traceId) || nothing.test(spanId)) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** Another span of the same trace. */
export function spanOf(context: TraceContext, spanId: string): TraceContext {
  const [version, traceId, , flags] = context.traceparent.split("-");
  return { ...context, traceparent: [version, traceId, spanId, flags].join("-") };
}

/** What a caller left in TRACEPARENT and TRACESTATE; the standard says to begin anew where it is malformed. */
export function traceOfEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): TraceContext | undefined {
  const { TRACEPARENT: traceparent = "", TRACESTATE: tracestate = "" } = environment;
  if (traceFields(traceparent) === undefined) return undefined;
  return isTracestate(tracestate) ? { traceparent, tracestate } : { traceparent };
}

/** Printable and bounded, so that it may stand in an environment and in a header. */
export const isTracestate = (text: string): boolean =>
  text !== "" && text.length <= tracestateMax && /^[\x20-\x7e]+$/.test(text);

/** What a task carries of its job's trace, if anything. */
export function traceOf(task: {
  readonly traceparent?: string;
  readonly tracestate?: string;
}): TraceContext | undefined {
  const { traceparent, tracestate } = task;
  if (traceparent === undefined) return undefined;
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate };
}
