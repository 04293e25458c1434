import { Outcome } from "@everycore/client/internal";
import { codecs, encode, encodeErrorInfo, outcomeStatus } from "@everycore/protocol";
import { expect, test } from "vitest";
import { resultLine, toJson, valueLine } from "../src/terminal/result-line.ts";
import { failureText, FirstFailure } from "../src/terminal/summary.ts";

const outcome = (
  codec: keyof typeof codecs,
  payload: Uint8Array,
  status: keyof typeof outcomeStatus = "value",
): Outcome =>
  new Outcome({
    index: 7,
    status: outcomeStatus[status],
    codec: codecs[codec],
    micros: 1,
    payload: Buffer.from(payload),
    node: "n1",
  });

test("JSON values are printed as the text they are", () => {
  expect(resultLine(outcome("json", Buffer.from('{"a":[1,2]}')))).toBe('{"index":7,"value":{"a":[1,2]}}\n');
  expect(valueLine(outcome("json", Buffer.from("3")))).toBe("3\n");
});

test("a value never breaks its line", () => {
  expect(valueLine(outcome("json", Buffer.from('{\n  "a": 1\n}')))).toBe('{"a":1}\n');
  expect(valueLine(outcome("utf8", Buffer.from('a\n"b"\u2028')))).toBe(`${JSON.stringify('a\n"b"\u2028')}\n`);
});

test("what JSON lacks is spelled out", () => {
  expect(toJson(Number.NaN)).toBe('{"$num":"NaN"}');
  expect(toJson(-Infinity)).toBe('{"$num":"-Infinity"}');
  expect(toJson(2n ** 64n)).toBe('{"$num":"18446744073709551616"}');
  expect(toJson(2 ** 53)).toBe('{"$num":"9007199254740992"}');
  expect(toJson(Number.MAX_SAFE_INTEGER)).toBe("9007199254740991");
  expect(toJson(5n)).toBe("5");
  expect(toJson(-0)).toBe("-0");
  expect(toJson(undefined)).toBe("null");
  expect(toJson(Buffer.from("hi"))).toBe('{"$bytes":"aGk="}');
  expect(toJson({ 'a"b': [new Map([[1, null]]), true] })).toBe('{"a\\"b":[{"1":null},true]}');
  expect(valueLine(outcome("msgpack", encode({ big: 2n ** 63n, bytes: Buffer.from([1]) })))).toBe(
    '{"big":{"$num":"9223372036854775808"},"bytes":{"$bytes":"AQ=="}}\n',
  );
  expect(valueLine(outcome("raw", Buffer.from([255])))).toBe('{"$bytes":"/w=="}\n');
});

test("a failure has kind, name, message and node; one that cannot be decoded is still a line", () => {
  const bytes = encodeErrorInfo({ kind: "crash", name: "crash", message: 'died\n"twice"' });
  expect(JSON.parse(resultLine(outcome("error", bytes, "crash")))).toEqual({
    index: 7,
    error: { kind: "crash", name: "crash", message: 'died\n"twice"', node: "n1" },
  });
  expect(JSON.parse(resultLine(outcome("error", Buffer.from([0xc1]), "error")))).toMatchObject({
    error: { kind: "error" },
  });
});

test("a million lines are built in about a second", () => {
  const list = Array.from({ length: 1000 }, () =>
    outcome("json", Buffer.from('{"n":123456,"square":15241383936}')),
  );
  const startedAt = performance.now();
  let length = 0;
  for (let round = 0; round < 1000; round += 1) for (const one of list) length += resultLine(one).length;
  expect(length).toBeGreaterThan(1_000_000 * 40);
  expect(performance.now() - startedAt).toBeLessThan(4_000); // four times the aim: the machine is shared
});

test("a person gets trace, memory and last words; files of the task by their names", () => {
  const folder = `/var/lib/cache/bundles/${"a1".repeat(32)}`;
  const trace = `RangeError: 3\n    at f (${folder}/t.ts:1:2)\n    at g (file://${folder}/sub/u.ts:3:4)\n`;
  const error = { kind: "error", name: "RangeError", message: "3" };
  expect(failureText({ ...error, trace, cause: "TypeError: deeper" })).toBe(
    "  RangeError: 3\n      at f (t.ts:1:2)\n      at g (sub/u.ts:3:4)\n  caused by TypeError: deeper",
  );
  const crash = { kind: "crash", name: "crash", message: "killed by SIGSEGV" };
  expect(failureText({ ...crash, peakBytes: 50 * 1024 * 1024, stderrTail: "a\nb\n" })).toBe(
    "  crash: killed by SIGSEGV\n  it used 50.0 MB of memory at most\n  its last words:\n  a\n  b",
  );
});

test("the first failure is told, a cancelled item is none", () => {
  const first = new FirstFailure();
  const error = (message: string): Uint8Array => encodeErrorInfo({ kind: "error", name: "Error", message });
  first.note(outcome("json", Buffer.from("1")));
  first.note(outcome("error", error("over"), "cancelled"));
  expect(first.text).toBe("");
  first.note(outcome("error", error("one"), "error"));
  first.note(outcome("error", error("two"), "error"));
  expect(first.text).toBe("; the first is item 7:\n  Error: one");
});
