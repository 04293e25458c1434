/**
 * Spans of slices and of their items, for jobs that have a trace. Nothing here is in the way of an item: a slice's
 * span is made when it is over, those of its items from the times that its outcome records have anyway.
 *
 *  N1  what an agent sends each second is bounded: cheap slices come by the hundred, and beyond the bound most have no
 *      span (`thinned` counts them). What failed has a bound of its own, so that it is not lost among them;
 *  N2  of a slice's items only those that took long or failed have a span, and only so many (limits.ts).
 */
import { randomBytes } from "node:crypto";
import type { DeathDetail, LeaseMessage, NodeId, Phase, TraceContext } from "@everycore/protocol";
import { limits, spanOf, statusName, traceFields, traceOf } from "@everycore/protocol";
import type { SpanCounts, Tracing } from "@everycore/protocol/tracing";
import type { KillReason } from "./core/model.ts";
import type { ItemTimes } from "./slots/item-times.ts";
import { newItemTimes } from "./slots/item-times.ts";

export type AgentSpanCounts = SpanCounts & { thinned: number };

interface SliceTrace {
  readonly lease: TraceContext;
  readonly spanId: string;
  readonly facts: SliceFacts;
  readonly node: NodeId;
  readonly sentMs: number;
  times: ItemTimes;
}

export interface SliceFacts {
  readonly worker: number;
  readonly slot: number;
  readonly slice: number;
  readonly start: number;
  readonly end: number;
}

export interface Death {
  readonly phase: Phase;
  readonly detail: DeathDetail;
  /** Why we have killed it, if it was us. */
  readonly kill: KillReason["kind"] | undefined;
}

/** The item that its worker has not ended. */
interface RunningItem {
  readonly index: number;
  readonly status: string;
}

type Span = { readonly startMs: number; readonly endMs: number };

export class SliceTracing {
  readonly #tracing: Tracing | undefined;
  /** By worker, in the order in which they were sent. */
  readonly #slices = new Map<number, SliceTrace[]>();
  /** When a worker had nothing to run any more. */
  readonly #freeMs = new Map<number, number>();
  readonly #budgets = { usual: new Budget(), failed: new Budget() };
  #thinned = 0;

  constructor(tracing: Tracing | undefined) {
    this.#tracing = tracing;
  }

  get counts(): Readonly<AgentSpanCounts> {
    const counts = this.#tracing?.counts ?? { delivered: 0, dropped: 0, failed: 0 };
    return { ...counts, thinned: this.#thinned };
  }

  /** A slice about to be sent: what its tasks continue from, if its job has a trace, and whether its items are timed. */
  begin(
    facts: SliceFacts,
    { task, grant }: LeaseMessage,
  ): { context: TraceContext | undefined; isTimed: boolean } {
    const lease = traceOf(task);
    const isWanted = lease !== undefined && traceFields(lease.traceparent)?.isSampled === true;
    if (this.#tracing === undefined || !isWanted) return { context: lease, isTimed: false };
    const spanId = randomBytes(8).toString("hex");
    const slices = this.#slices.get(facts.worker) ?? [];
    slices.push({ lease, spanId, facts, node: grant.node, sentMs: Date.now(), times: newItemTimes() });
    this.#slices.set(facts.worker, slices);
    return { context: spanOf(lease, spanId), isTimed: true };
  }

  /** The items of a slice as they were found so far; the same object each time. */
  found(worker: number, slice: number, times: ItemTimes | undefined): void {
    const known = this.#slices.get(worker)?.find(({ facts }) => facts.slice === slice);
    if (known !== undefined && times !== undefined) known.times = times;
  }

  /** The worker has said so: it ran items up to `ended`, for `busyMs`. */
  ended(worker: number, sliceEnd: { slice: number; at: number; busyMs: number }): void {
    const slice = this.#take(worker, sliceEnd.slice);
    if (slice === undefined) return;
    const endMs = Date.now();
    this.#freeMs.set(worker, endMs);
    const at = { startMs: endMs - sliceEnd.busyMs, endMs };
    this.#record(slice, at, { items: sliceEnd.at - slice.facts.start });
  }

  #take(worker: number, id: number): SliceTrace | undefined {
    const slices = this.#slices.get(worker);
    const at = slices?.findIndex(({ facts }) => facts.slice === id) ?? -1;
    return at < 0 ? undefined : slices!.splice(at, 1)[0];
  }

  /** Of its slices only the first had begun. `cursor`: the item that ran, as its files show. */
  died(worker: number, death: Death, cursor: (slice: number) => number | undefined): void {
    const [slice] = this.#slices.get(worker) ?? [];
    const freeMs = this.#freeMs.get(worker) ?? 0;
    this.#slices.delete(worker);
    this.#freeMs.delete(worker);
    if (slice === undefined) return;
    const item = cursor(slice.facts.slice);
    if (item === undefined) return; // nothing of it had begun
    const at = { startMs: Math.max(slice.sentMs, freeMs), endMs: Date.now() };
    const error = wordsOf(death);
    const isRunning = death.phase === "item" && item < slice.facts.end;
    this.#record(slice, at, {
      items: item - slice.facts.start,
      ...(error === undefined ? {} : { error }),
      ...(isRunning ? { running: { index: item, status: statusOf(death) } } : {}),
    });
  }

  #record(slice: SliceTrace, at: Span, how: { items: number; error?: string; running?: RunningItem }): void {
    const { times, facts, node, lease, spanId } = slice;
    const { items, error, running } = how;
    if (items <= 0 && running === undefined) return; // cut before it began
    const hasFailed = times.failed > 0 || error !== undefined;
    const wanted = 1 + times.shown.length + (running === undefined ? 0 : 1);
    const may = this.#budgets[hasFailed ? "failed" : "usual"].take(wanted, at.endMs);
    this.#thinned += wanted - may;
    if (may === 0) return;
    const context = this.#tracing!.start({
      name: "slice",
      kind: "consumer",
      parent: lease,
      spanId,
      links: [lease],
      startMs: at.startMs,
      attributes: {
        "everycore.node": node,
        "everycore.slot": facts.slot,
        "everycore.first": facts.start,
        "everycore.items": items,
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        ...(times.failed === 0 ? {} : { "everycore.items.failed": times.failed }),
        ...(times.leftOut === 0 ? {} : { "everycore.items.without_span": times.leftOut }),
      },
    });
    let left = may - 1;
    if (running !== undefined && left > 0) {
      left -= 1;
      const since = { startMs: Math.min(at.startMs + times.micros / 1_000, at.endMs), endMs: at.endMs };
      this.#recordItem(context.context, {
        ...running,
        ...since,
        ...(error === undefined ? {} : { error }),
      });
    }
    for (const item of times.shown.slice(0, left)) {
      const startMs = at.startMs + item.startMicros / 1_000;
      this.#recordItem(context.context, {
        index: item.index,
        startMs,
        endMs: startMs + item.micros / 1_000,
        status: statusName(item.status) ?? "value",
        ...(item.error === undefined
          ? {}
          : { type: item.error.name, error: `${item.error.name}: ${item.error.message}` }),
      });
    }
    context.end({ endMs: at.endMs, ...(error === undefined ? {} : { error }) });
  }

  #recordItem(
    parent: TraceContext,
    item: Span & { index: number; status?: string; type?: string; error?: string },
  ): void {
    const { index, status, type, error, ...at } = item;
    this.#tracing!.record({
      name: "item",
      kind: "internal",
      parent,
      ...at,
      attributes: {
        "everycore.index": index,
        ...(status === undefined ? {} : { "everycore.status": status }),
        ...(type === undefined ? {} : { "error.type": type }),
      },
      ...(error === undefined ? {} : { error }),
    });
  }

  async close(): Promise<void> {
    await this.#tracing?.close();
  }
}

/** How its items were cut short; a job that was cancelled and a worker that is not needed are no failures. */
function wordsOf({ detail, kill }: Death): string | undefined {
  if (kill === "cancel" || kill === "stop") return undefined;
  if (kill === "timeout") return "timeout";
  return detail.reason ?? `killed by ${detail.signal ?? "a signal"}`;
}

function statusOf({ kill }: Death): string {
  if (kill === "cancel") return "cancelled";
  if (kill === "stop") return "stopped";
  return kill === "timeout" ? "timeout" : "crash";
}

/** Spans that may be sent: so many each second, and what a quiet time has saved up (N1). */
class Budget {
  #spans: number = limits.traceSpansBurst;
  #at = 0;

  take(wanted: number, nowMs: number): number {
    const gained = (Math.max(0, nowMs - this.#at) / 1_000) * limits.traceSpansPerSecond;
    this.#spans = Math.min(limits.traceSpansBurst, this.#spans + gained);
    this.#at = nowMs;
    const may = Math.min(wanted, Math.floor(this.#spans));
    this.#spans -= may;
    return may;
  }
}
