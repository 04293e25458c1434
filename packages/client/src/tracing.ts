/**
 * The span `submit`, and what a job carries of it. It continues what is active in the program (OpenTelemetry's API) or
 * stands in TRACEPARENT. Who sends it: the program's own tracer where it has registered one; else we do, where an
 * endpoint is set; else nobody, and the job carries on what was there.
 */
import { isProgramTraced, openTracing } from "@everycore/protocol/tracing";
import type { StartedSpan, Tracing } from "@everycore/protocol/tracing";
import { traceOfEnvironment } from "@everycore/protocol";
import type { JobSpec, TraceContext } from "@everycore/protocol";

/** A delivery may hold the end of a program for so long. Too short for the exporter's second try, which comes later. */
const timeoutMs = 750;
const version = "0.1.0";

export interface TracedSubmit {
  readonly spec: JobSpec;
  readonly end: (how: { readonly job?: string; readonly error?: unknown }) => void;
}

export interface SubmitTracingOptions {
  /** Gets one sentence when spans cannot be delivered. */
  readonly onTrouble?: ((sentence: string) => void) | undefined;
}

export class SubmitTracing {
  readonly #onTrouble: (sentence: string) => void;
  #opening: Promise<Tracing | undefined> | undefined;

  constructor(options: SubmitTracingOptions) {
    this.#onTrouble = options.onTrouble ?? (() => {});
  }

  async begin(spec: JobSpec): Promise<TracedSubmit> {
    const { span, parent } = await this.#start();
    const trace = span?.context ?? parent;
    return {
      spec: trace === undefined ? spec : { ...spec, task: { ...spec.task, ...trace } },
      end: ({ job, error }) =>
        span?.end({
          attributes: { "everycore.name": spec.name, ...(job === undefined ? {} : { "everycore.job": job }) },
          ...(error === undefined ? {} : { error: error instanceof Error ? error.message : "it failed" }),
        }),
    };
  }

  async #start(): Promise<{ span: StartedSpan | undefined; parent: TraceContext | undefined }> {
    let parent = traceOfEnvironment(process.env);
    if (isProgramTraced()) {
      const { startInProgram } = await import("@everycore/protocol/tracing-api");
      const found = startInProgram("submit", parent);
      if (found.span !== undefined) return found;
      parent = found.parent;
    }
    this.#opening ??= openTracing({
      service: "everycore-client",
      version,
      timeoutMs,
      onTrouble: this.#onTrouble,
    });
    const tracing = await this.#opening;
    return { span: tracing?.start({ name: "submit", kind: "client", parent }), parent };
  }

  /** Sends what waits, within `timeoutMs`. */
  async close(): Promise<void> {
    const tracing = await this.#opening;
    await tracing?.close();
  }
}
