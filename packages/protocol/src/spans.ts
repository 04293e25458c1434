/**
 * Spans: aligned ranges [m*2^k, (m+1)*2^k). Reductions combine in the fixed binary tree of spans, so the
 * bytes of a result do not depend on who computed what when (P6). A range that ends inside a span is
 * completed by `none` items: combine(x, none) = x.
 */
import type { Range } from "./ranges.ts";

export interface Span {
  readonly start: number;
  /** log2 of the span's length. */
  readonly level: number;
}

/** Highest level of a span that starts at `start` and does not reach beyond `end`. */
export function levelAt(start: number, end: number): number {
  let level = 0;
  while (level < 40 && start % 2 ** (level + 1) === 0 && start + 2 ** (level + 1) <= end) level += 1;
  return level;
}

/** [start, end) as maximal spans, in order. */
export function spansOf(range: Range, levelMax = 40): Span[] {
  const spans: Span[] = [];
  let at = range.start;
  while (at < range.end) {
    const level = Math.min(levelMax, levelAt(at, range.end));
    spans.push({ start: at, level });
    at += 2 ** level;
  }
  return spans;
}

export const spanEnd = (span: Span): number => span.start + 2 ** span.level;

/** True if [start, end) is one span. */
export function isSpan(start: number, end: number): boolean {
  const length = end - start;
  const level = Math.log2(length);
  return length >= 1 && Number.isInteger(level) && 2 ** level === length && start % length === 0;
}
