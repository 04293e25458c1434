/**
 * Spans of what happens to a job, for any collector that speaks OTLP over HTTP. Off unless the standard variables name
 * one, and then nothing of OpenTelemetry is loaded: that costs 130 ms of a start. The same for client, coordinator and
 * agent, which share only this package; not part of its index, so that whoever wants no spans does not read this.
 *
 *  T1  a span is given away when it is over, and never waited for: a slow or dead collector fills a bounded queue;
 *  T2  what did not fit or did not arrive is counted, and said once until it is well again;
 *  T3  `close` waits a bounded time, and not at all for a collector that has just failed.
 */
import type { Tracing, TracingOptions } from "./span.ts";

export type * from "./span.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const endpointVariables = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] as const;
const protocolVariables = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] as const;

/** Where a program has registered its own OpenTelemetry: part of that API's contract. */
const registry = Symbol.for("opentelemetry.js.api.1");

/** The program that we run in has an OpenTelemetry of its own. */
export const isProgramTraced = (): boolean => registry in globalThis;

/** As its user wrote it; undefined while tracing is off. */
function tracingEndpoint(environment: Environment): string | undefined {
  if (environment["OTEL_SDK_DISABLED"]?.toLowerCase() === "true") return undefined;
  if (environment["OTEL_TRACES_EXPORTER"] === "none") return undefined;
  return endpointVariables.map((name) => environment[name] ?? "").find((value) => value !== "");
}

/** Why what the variables ask for cannot be done; undefined: it can. */
function refusal(environment: Environment, endpoint: string): string | undefined {
  const protocol = protocolVariables.map((name) => environment[name] ?? "").find((value) => value !== "");
  if (protocol !== undefined && protocol !== "http/protobuf") {
    return `OTEL_EXPORTER_OTLP_PROTOCOL is ${protocol}; everycore sends spans by http/protobuf (usually port 4318)`;
  }
  const scheme = URL.canParse(endpoint) ? new URL(endpoint).protocol : "";
  if (scheme === "http:" || scheme === "https:") return undefined;
  return `the OTLP endpoint "${endpoint}" is no http:// or https:// URL`;
}

/** undefined while no endpoint is named, or one that cannot be used, which is said once. */
export async function openTracing(options: TracingOptions): Promise<Tracing | undefined> {
  const { onTrouble } = options;
  const endpoint = tracingEndpoint(process.env);
  if (endpoint === undefined) return undefined;
  const why = refusal(process.env, endpoint);
  if (why !== undefined) {
    onTrouble(`no traces: ${why}`);
    return undefined;
  }
  try {
    const { OtlpTracing } = await import("./tracing-otlp.ts");
    return new OtlpTracing({ ...options, endpoint });
  } catch (error) {
    // Whatever is wrong with it: no job is worth less for want of a trace.
    onTrouble(`no traces: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}
