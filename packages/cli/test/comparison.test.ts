/** Whether an item ended here as on the cluster: what counts as the same. */
import { codecs, encode, encodeErrorInfo, outcomeStatus } from "@everycore/protocol";
import { Outcome } from "@everycore/client/internal";
import type { JobInfo } from "@everycore/client/internal";
import { expect, test } from "vitest";
import { comparisonText } from "../src/here/comparison.ts";
import { crashOutcome, failedOutcome } from "../src/here/records.ts";

const job = (fields: Partial<JobInfo> = {}): JobInfo =>
  ({ state: "running", reason: "", reduced: false, ...fields }) as JobInfo; // all that it looks at

const value = (made: unknown): Outcome =>
  new Outcome({
    index: 3,
    status: outcomeStatus.value,
    codec: codecs.msgpack,
    micros: 1,
    payload: encode(made),
    node: "n",
  });

const error = (name: string, message: string): Outcome =>
  new Outcome({
    index: 3,
    status: outcomeStatus.error,
    codec: codecs.error,
    micros: 1,
    payload: encodeErrorInfo({ kind: "error", name, message, trace: `${message} at ${Math.random()}` }),
    node: "n",
  });

test("values are the same by their bytes", () => {
  expect(comparisonText(job(), value([1, "a"]), value([1, "a"]))).toBe("the cluster has the same value");
  expect(comparisonText(job(), value(1), value([1, "a"]))).toBe('the cluster has another value: [1,"a"]');
  expect(comparisonText(job(), error("E", "no"), value("x".repeat(500)))).toBe(
    `the cluster has a value: "${"x".repeat(199)}...`,
  );
});

test("errors are the same by class and message, whatever their traces", () => {
  const here = error("RangeError", "3 is odd");
  expect(comparisonText(job(), here, error("RangeError", "3 is odd"))).toBe("the cluster has the same error");
  expect(comparisonText(job(), here, error("Error", "3 is odd"))).toBe(
    "the cluster has an error: Error: 3 is odd",
  );
  expect(comparisonText(job(), value(1), error("Error", "no"))).toBe("the cluster has an error: Error: no");
});

test("a crash is the same by how it died, not by how often", () => {
  const here = crashOutcome(3, { signal: "SIGSEGV", stderrTail: "here" }, "");
  expect(comparisonText(job(), here, crashOutcome(3, { signal: "SIGSEGV" }, " twice"))).toBe(
    "the cluster has the same crash",
  );
  expect(comparisonText(job(), here, crashOutcome(3, { exitCode: 7 }, " twice"))).toBe(
    "the cluster has the outcome crash: the worker died twice while it ran this item: exit code 7",
  );
  const late = failedOutcome(3, "timeout", { message: "ran longer than 5 ms" });
  expect(comparisonText(job(), here, late)).toBe("the cluster has the outcome timeout: ran longer than 5 ms");
  expect(comparisonText(job(), late, failedOutcome(3, "timeout", { message: "ran longer than 9 ms" }))).toBe(
    "the cluster has the same timeout",
  );
});

test("no outcome: not yet, never, or not kept", () => {
  expect(comparisonText(job(), value(1), undefined)).toBe("the cluster has no outcome of it yet");
  expect(comparisonText(job({ state: "failed", reason: "no load" }), value(1), undefined)).toContain(
    "no load",
  );
  expect(comparisonText(job({ reduced: true }), value(1), undefined)).toContain("went into the reduction");
});
