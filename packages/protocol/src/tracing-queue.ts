/** Ended spans on their way to the collector: bounded, counted, one delivery at a time (T1-T3 of tracing.ts). */
import type { ReadableSpan, SpanExporter, SpanProcessor } from "@opentelemetry/sdk-trace";
import { limits } from "./limits.ts";
import type { SpanCounts } from "./span.ts";

/** Spans wait so long for others to travel with. */
const gatherMs = 1_000;
const batchSpans = 512;
/** The exporter tries again for up to 10 s by itself: of a collector that never answered less is to be hoped for. */
const closeWithinMs = { known: 1_000, unknown: 400 };
/** Of the API's ExportResultCode, which is a const enum of a package that is not ours to import. */
const exported = 0;

export class SpanQueue implements SpanProcessor {
  readonly counts: SpanCounts = { delivered: 0, dropped: 0, failed: 0 };
  readonly #exporter: SpanExporter;
  readonly #onTrouble: (reason: string) => void;
  #waiting: ReadableSpan[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  #isFailing = false;
  #isClosed = false;

  constructor(exporter: SpanExporter, onTrouble: (reason: string) => void) {
    this.#exporter = exporter;
    this.#onTrouble = onTrouble;
  }

  get isSending(): boolean {
    return this.#sending !== undefined;
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    if (this.#isClosed || this.#waiting.length >= limits.traceQueueSpans) {
      this.counts.dropped += 1;
      return;
    }
    this.#waiting.push(span);
    if (this.#waiting.length >= batchSpans) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), gatherMs).unref();
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sending !== undefined || this.#waiting.length === 0) return;
    const batch = this.#waiting.splice(0, batchSpans);
    this.#sending = this.#deliver(batch).then(() => {
      this.#sending = undefined;
      if (this.#waiting.length >= batchSpans) this.#send();
      else if (this.#waiting.length > 0) this.#timer ??= setTimeout(() => this.#send(), gatherMs).unref();
    });
  }

  async #deliver(batch: ReadableSpan[]): Promise<void> {
    const error = await new Promise<unknown>((resolve) => {
      try {
        this.#exporter.export(batch, (result) =>
          resolve(result.code === exported ? undefined : (result.error ?? "not accepted")),
        );
      } catch (thrown) {
        resolve(thrown);
      }
    });
    if (error === undefined) {
      this.counts.delivered += batch.length;
      this.#isFailing = false;
      return;
    }
    this.counts.failed += batch.length;
    if (!this.#isFailing) this.#onTrouble(reasonOf(error));
    this.#isFailing = true;
  }

  async forceFlush(): Promise<void> {
    const isKnown = this.counts.delivered > 0;
    const deadline = performance.now() + closeWithinMs[isKnown ? "known" : "unknown"];
    while (!this.#isFailing && (this.#sending !== undefined || this.#waiting.length > 0)) {
      const left = deadline - performance.now();
      if (left <= 0) return;
      this.#send();
      await within(left, this.#sending);
    }
  }

  /** T3. */
  async shutdown(): Promise<void> {
    if (this.#isClosed) return;
    await this.forceFlush();
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.counts.dropped += this.#waiting.length;
    this.#waiting = [];
  }
}

async function within(ms: number, promise: Promise<void> | undefined): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, ms);
  await Promise.race([promise, late.promise]);
  clearTimeout(timer);
}

/** A refused connection to several addresses is an AggregateError, which has no words of its own. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "it said no more";
  const { code } = error as { code?: unknown };
  if (error.message !== "") return error.message;
  return typeof code === "string" ? code : error.name;
}
