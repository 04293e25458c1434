/** Patterns of files by the golden vectors, which python/tests holds its own reading against; names that may travel. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { encode, fileMatcher, isFileName, parseTask, patternFault } from "../src/index.ts";
import { decodeErrorInfo, decodeProgramValue } from "../src/index.ts";

interface Vector {
  readonly pattern: string;
  readonly matches: readonly string[];
  readonly others: readonly string[];
}
const path = new URL("../../../proto/vectors/file-patterns.json", import.meta.url);
const vectors = JSON.parse(readFileSync(path, "utf8")) as Vector[];

test.each(vectors)("pattern $pattern", ({ pattern, matches, others }) => {
  const isMatch = fileMatcher([pattern]);
  expect(matches.filter((name) => !isMatch(name))).toEqual([]);
  expect(others.filter(isMatch)).toEqual([]);
});

test("several patterns match what any of them does; none matches nothing", () => {
  expect(["a.c", "b.h", "c.o"].filter(fileMatcher(["*.c", "*.o"]))).toEqual(["a.c", "c.o"]);
  expect(fileMatcher([])("a")).toBe(false);
});

test.each([
  ["", "is empty"],
  ["/etc/*", "is an absolute path"],
  ["../x", "leads out of the folder"],
  ["a/../../x", "leads out of the folder"],
  ["a\0b", "has a null byte"],
  ["x".repeat(1_001), "is longer than 1000 characters"],
])("%j is no pattern: it %s", (pattern, fault) => {
  expect(patternFault(pattern)).toBe(fault);
});

test.each(["*", "a..b", "...", "a/**", "./a", "."])("%j is a pattern", (pattern) => {
  expect(patternFault(pattern)).toBeUndefined();
});

test("a name that may be written stays below its folder and is written in one way", () => {
  const good = ["a", "a/b", "..a", "a..", "...", "ä 🦆", "a\nb", "-", ".a"];
  const bad = ["", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/..", "../a", "a/../b", "a/./b", "a\0b"];
  expect(good.filter((name) => !isFileName(name))).toEqual([]);
  expect(bad.filter(isFileName)).toEqual([]);
  expect(isFileName("x".repeat(256))).toBe(false);
});

describe("a task with files", () => {
  const base = { seed: "0123456789abcdef", rangeStart: 0, retries: 0 };
  const exec = { runtime: "exec", argv: ["true"], ...base };
  const bundle = "a".repeat(64);

  test("is read as it was written", () => {
    const task = { ...exec, bundle, returns: ["*.png", "out/**"] };
    expect(parseTask(task)).toEqual(task);
  });

  test.each([
    ["patterns that lead out", { ...exec, returns: ["../*"] }],
    ["patterns that are no text", { ...exec, returns: [7] }],
    ["too many patterns", { ...exec, returns: Array.from({ length: 101 }, () => "*") }],
    ["a folder of its own beside files", { ...exec, bundle, cwd: "/usr" }],
    ["a folder of its own beside returns", { ...exec, returns: ["*"], cwd: "/usr" }],
    ["returns of a function", { ...base, runtime: "js", bundle, entry: "a", export: "b", returns: ["*"] }],
  ])("is refused with %s", (_, task) => {
    expect(() => parseTask(task)).toThrow(/"(returns|cwd)" is missing or malformed/);
  });
});

describe("files that came back", () => {
  const bytes = Buffer.from([0, 255]);

  test("stand in the value and in the error", () => {
    const value = decodeProgramValue(
      encode({ stdout: Buffer.from("x"), files: { "d/a": bytes }, executable: ["d/a"] }),
    );
    expect(Buffer.from(value.stdout).toString()).toBe("x");
    expect(Buffer.from(value.files["d/a"]!)).toEqual(bytes);
    expect(value.executable).toEqual(["d/a"]);
    const error = decodeErrorInfo(encode({ kind: "exit", name: "Exit", message: "", files: { a: bytes } }));
    expect(Buffer.from(error.files!["a"]!)).toEqual(bytes);
    expect(error.executable).toEqual([]);
    expect(decodeErrorInfo(encode({ kind: "exit" }))).not.toHaveProperty("files");
  });

  test("what is none is left out, and a value that is none is refused", () => {
    const odd = { stdout: bytes, files: { a: "text", b: bytes, c: null }, executable: ["b", 7, null] };
    const read = decodeProgramValue(encode(odd));
    expect([Object.keys(read.files), read.executable]).toEqual([["b"], ["b"]]);
    for (const bad of [7, [1], null, { files: {} }, { stdout: "text", files: {} }])
      expect(() => decodeProgramValue(encode(bad))).toThrow(/value of a program/);
  });
});
