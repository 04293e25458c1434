/** When a job halts, and what a line of a joblog says of an item. */
import type { JobInfo } from "@everycore/client/internal";
import type { JobSpec } from "@everycore/protocol";
import { expect, test } from "vitest";
import { isHalted, isReached, parseHalt } from "../src/halt.ts";
import { commandText } from "../src/joblog.ts";

const info = (value: number, error: number, more: Partial<JobInfo> = {}): JobInfo =>
  ({
    counts: { value, error, timeout: 0, crash: 0, lost: 0, cancelled: 0, expired: 0 },
    state: "running",
    reason: "",
    ...more,
  }) as unknown as JobInfo;

test("halt is read strictly", () => {
  expect(parseHalt("now,fail=1")).toMatchObject({ when: "now", failures: 1, isShare: false });
  expect(parseHalt("soon,fail=10%")).toMatchObject({ when: "soon", failures: 10, isShare: true });
  for (const wrong of ["now", "now,fail=0", "later,fail=1", "now,fail=101%", "now,success=1", "fail=1"])
    expect(() => parseHalt(wrong)).toThrow("does not say when to halt");
});

test("a number of failures, or a share of what has ended once three have failed", () => {
  expect(isReached(parseHalt("now,fail=2"), info(10, 1))).toBe(false);
  expect(isReached(parseHalt("now,fail=2"), info(10, 2))).toBe(true);
  expect(isReached(parseHalt("now,fail=10%"), info(0, 2))).toBe(false);
  expect(isReached(parseHalt("now,fail=10%"), info(30, 3))).toBe(false);
  expect(isReached(parseHalt("now,fail=10%"), info(27, 3))).toBe(true);
});

test("a job that its user cancelled was not halted", () => {
  expect(isHalted(info(1, 1, { state: "cancelled", reason: "--halt now,fail=1" }))).toBe(true);
  expect(isHalted(info(1, 1, { state: "cancelled", reason: "Ctrl-C" }))).toBe(false);
});

test("the command of a joblog is what ran, on one line", () => {
  const spec = (codec: string, argv?: readonly string[]): JobSpec =>
    ({ name: "task.ts", codec, task: { argv, rangeStart: 5 } }) as unknown as JobSpec;
  expect(commandText(spec("range", ["seq", "{}", "n{#}"]), 2, undefined)).toBe("seq 7 n3");
  const argv = ["convert", "{}", "{.}.png", "{/}"];
  expect(commandText(spec("utf8", argv), 0, "a/b.jpg")).toBe("convert a/b.jpg a/b.png b.jpg");
  expect(commandText(spec("utf8", ["cat", "{}"]), 6, undefined)).toBe("cat {}");
  // As the item runs: without a placeholder it is the last argument.
  expect(commandText(spec("utf8", ["gzip", "-9"]), 0, "a/b.txt")).toBe("gzip -9 a/b.txt");
  expect(commandText(spec("json"), 1, '{"a":\t1}')).toBe('task.ts {"a": 1}');
  expect(commandText(spec("json"), 1, undefined)).toBe("task.ts (item 1)");
});
