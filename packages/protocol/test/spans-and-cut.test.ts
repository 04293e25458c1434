// Spans are the fixed tree of reductions (P6); cut and taper decide how much work travels at once.
import fc from "fast-check";
import { expect, test } from "vitest";
import { cut, isSpan, levelAt, spanEnd, spansOf, taper } from "../src/index.ts";

const bounded = fc
  .tuple(fc.integer({ min: 0, max: 2_000 }), fc.integer({ min: 0, max: 300 }))
  .map(([start, length]) => ({ start, end: start + length }));

test("the spans of a range cover it in order, each aligned and as large as can be", () => {
  fc.assert(
    fc.property(bounded, fc.integer({ min: 0, max: 12 }), (range, levelMax) => {
      let at = range.start;
      for (const span of spansOf(range, levelMax)) {
        expect(span.start).toBe(at);
        expect(span.start % 2 ** span.level).toBe(0);
        expect(isSpan(span.start, spanEnd(span))).toBe(true);
        const larger = 2 ** (span.level + 1);
        const fits = span.level < levelMax && span.start % larger === 0 && span.start + larger <= range.end;
        expect(fits).toBe(false);
        at = spanEnd(span);
      }
      expect(at).toBe(range.end);
    }),
  );
});

test("any way of cutting a range into leases ends in spans of the same tree: none crosses another", () => {
  fc.assert(
    fc.property(bounded, fc.array(fc.integer({ min: 0, max: 2_300 }), { maxLength: 6 }), (range, cuts) => {
      const whole = spansOf(range);
      const marks = [...new Set(cuts.filter((at) => at > range.start && at < range.end))].sort(
        (a, b) => a - b,
      );
      const edges = [range.start, ...marks, range.end];
      const pieces = edges.slice(1).flatMap((end, at) => spansOf({ start: edges[at]!, end }));
      for (const piece of pieces) {
        const around = whole.filter((span) => span.start <= piece.start && spanEnd(piece) <= spanEnd(span));
        expect(around.length).toBe(1);
      }
    }),
  );
});

test("isSpan accepts exactly the aligned powers of two", () => {
  for (let start = 0; start < 70; start += 1) {
    for (let end = 0; end < 70; end += 1) {
      const length = end - start;
      const isPower = [1, 2, 4, 8, 16, 32, 64].includes(length);
      expect(isSpan(start, end)).toBe(isPower && start % length === 0);
    }
  }
});

test("levelAt stays inside its range", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 40 }),
      fc.integer({ min: 1, max: 2 ** 20 }),
      (start, length) => {
        const level = levelAt(start, start + length);
        expect(start % 2 ** level).toBe(0);
        expect(start + 2 ** level).toBeLessThanOrEqual(start + length);
      },
    ),
  );
});

test("cut gives one item while the cost is unknown, and else at least one, at most all", () => {
  const known = fc.double({ min: 0, max: 1e9, noNaN: true });
  fc.assert(
    fc.property(
      fc.record({
        items: fc.integer({ min: 1, max: 1_000_000 }),
        itemMs: fc.option(known, { nil: undefined }),
        targetMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
        itemsMax: fc.integer({ min: 1, max: 100_000 }),
      }),
      (request) => {
        const items = cut(request);
        expect(Number.isInteger(items)).toBe(true);
        expect(items).toBeGreaterThanOrEqual(1);
        expect(items).toBeLessThanOrEqual(Math.min(request.items, Math.max(1, request.itemsMax)));
        if (request.itemMs === undefined) expect(items).toBe(1);
        else if (items > 1)
          expect(items * request.itemMs).toBeLessThanOrEqual(request.targetMs * 1.000_001 + 1);
      },
    ),
  );
});

test("a lease tapers: never more than its share of half of what remains, never less than one item", () => {
  const slots = fc.integer({ min: 1, max: 400 });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e7 }), slots, slots, (remaining, nodeSlots, others) => {
      const clusterSlots = nodeSlots + others;
      const items = taper({ remaining, nodeSlots, clusterSlots });
      expect(items).toBeGreaterThanOrEqual(1);
      expect(items - 1).toBeLessThanOrEqual((nodeSlots * remaining) / (2 * clusterSlots));
    }),
  );
});
