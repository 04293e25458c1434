import { limits } from "@everycore/protocol";
import { expect, test } from "vitest";
import {
  firstSizes,
  grownSize,
  isRotationDue,
  marksNeededSince,
  storageLevel,
  wantsOwnSegment,
} from "../src/data/segment-policy.ts";
import { spec } from "./support/coordinator-process.ts";

const MB = 1024 * 1024;
const roomy = { allowed: 10_000 * MB, reserved: 500 * MB };

test("large ranges, large files and pipes have a segment of their own, small ones share", () => {
  const known = { isPipe: false, bytes: 0 };
  const range = (rangeItems: number): boolean => wantsOwnSegment(spec({ codec: "range", rangeItems }), known);
  expect([range(limits.ownSegmentItems), range(limits.ownSegmentItems + 1)]).toEqual([false, true]);
  const file = (bytes: number): boolean => wantsOwnSegment(spec(), { isPipe: false, bytes });
  expect([file(limits.ownSegmentBytes), file(limits.ownSegmentBytes + 1)]).toEqual([false, true]);
  expect(wantsOwnSegment(spec(), { isPipe: true, bytes: 0 })).toBe(true);
  expect(wantsOwnSegment(spec(), known)).toBe(false);
});

test("a new segment takes less where there is less, and nothing where there is none", () => {
  expect(firstSizes(false, roomy)[0]).toBe(limits.segmentBytesInitial);
  expect(firstSizes(true, roomy)).toEqual([8 * MB]);
  expect(firstSizes(false, { allowed: 600 * MB, reserved: 590 * MB })).toEqual([8 * MB, 4 * MB]);
  expect(firstSizes(false, { allowed: 600 * MB, reserved: 599 * MB })).toEqual([]);
});

test("a segment doubles once it is over half full, as far as the sum allows", () => {
  expect(grownSize({ maxBytes: 64 * MB, bytes: 30 * MB }, roomy)).toBeUndefined();
  expect(grownSize({ maxBytes: 64 * MB, bytes: 33 * MB }, roomy)).toBe(128 * MB);
  expect(grownSize({ maxBytes: 64 * MB, bytes: 33 * MB }, { allowed: 600 * MB, reserved: 590 * MB })).toBe(
    74 * MB,
  );
  expect(
    grownSize({ maxBytes: 64 * MB, bytes: 60 * MB }, { allowed: 600 * MB, reserved: 600 * MB }),
  ).toBeUndefined();
});

test("marks are needed while a shared segment is older than they are, and some time longer", () => {
  const now = 10 * limits.markKeptMs;
  expect(marksNeededSince([], now)).toBe(now - limits.markKeptMs);
  expect(marksNeededSince([now - 5, 3 * limits.markKeptMs, now - 7], now)).toBe(2 * limits.markKeptMs);
});

test("a shared segment is rotated by age and by size", () => {
  const young = { maxBytes: 64 * MB, bytes: MB, createdAt: 1_000 };
  expect(isRotationDue(young, 2_000)).toBe(false);
  expect(isRotationDue(young, 1_001 + limits.segmentAgeMs)).toBe(true);
  expect(isRotationDue({ ...young, bytes: limits.segmentBytesRotate + 1 }, 2_000)).toBe(true);
});

test("work pauses at 80 % and appends are refused at 95 %, also of one segment that cannot grow", () => {
  const full = { allowed: 600 * MB, reserved: 600 * MB };
  const of = (share: number) => [{ maxBytes: 100 * MB, bytes: share * 100 * MB }];
  expect(storageLevel(of(0.79), full)).toBe("ok");
  expect(storageLevel(of(0.81), full)).toBe("pause");
  expect(storageLevel(of(0.96), full)).toBe("refuse");
  expect(storageLevel(of(0.96), roomy)).toBe("ok");
  expect(
    storageLevel([{ maxBytes: 9_000 * MB, bytes: 8_500 * MB }], {
      allowed: 10_000 * MB,
      reserved: 9_500 * MB,
    }),
  ).toBe("pause");
});
