/** What a task is told of its job's trace. */
export const place = (
  _item: unknown,
  { traceparent, tracestate }: { traceparent?: string; tracestate?: string },
): unknown => ({ traceparent, tracestate });
