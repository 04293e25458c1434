// Every way in which an item can end badly has a class and a kind, and says the same by both.
import { outcomeStatus } from "@everycore/protocol";
import type { OutcomeStatus } from "@everycore/protocol";
import { expect, test } from "vitest";
import { itemError } from "../src/failures.ts";
import {
  ItemCancelledError,
  ItemCrashedError,
  ItemError,
  ItemExpiredError,
  ItemFailedError,
  ItemLostError,
  ItemTimeoutError,
} from "../src/index.ts";

const failure = (status: OutcomeStatus, kind: string, more: object = {}) =>
  itemError({
    index: 7,
    status,
    node: "n1",
    job: "j1",
    retries: 2,
    info: { kind, name: "RangeError", message: "too far", ...more },
  });

test.each([
  ["error", "error", ItemFailedError],
  ["error", "exit", ItemFailedError],
  ["error", "output-too-large", ItemFailedError],
  ["timeout", "timeout", ItemTimeoutError],
  ["crash", "crash", ItemCrashedError],
  ["lost", "lost", ItemLostError],
  ["cancelled", "cancelled", ItemCancelledError],
  ["expired", "expired", ItemExpiredError],
] as const)("status %s of kind %s is an %o", (status, kind, type) => {
  const error = failure(status, kind);
  expect(error).toBeInstanceOf(ItemError);
  expect(error).toBeInstanceOf(type);
  expect(error).toMatchObject({ name: type.name, kind, index: 7, node: "n1", job: "j1" });
  expect(error.message).toBe("item 7: RangeError: too far");
});

test("every status but value has a class of its own", () => {
  const statuses = (Object.keys(outcomeStatus) as OutcomeStatus[]).filter((status) => status !== "value");
  expect(new Set(statuses.map((status) => failure(status, status).constructor)).size).toBe(statuses.length);
});

test("the cause is the task's own error, with its stack and its cause", () => {
  const { cause } = failure("error", "error", {
    trace: "RangeError: too far\n    at task.ts:3",
    cause: "deeper",
  });
  expect(cause).toMatchObject({ name: "RangeError", message: "too far", cause: "deeper" });
  expect((cause as Error).stack).toContain("task.ts:3");
});

test("attempts are told only where they are known", () => {
  expect(failure("error", "error").attempts).toBe(3);
  expect(failure("timeout", "timeout").attempts).toBe(3);
  expect(failure("crash", "crash").attempts).toBeUndefined();
});

test("a kind of a newer cluster is an error to whoever looks at the kind", () => {
  const error = failure("error", "something-new");
  expect(error.kind).toBe("error");
  expect(error.info.kind).toBe("something-new");
});
