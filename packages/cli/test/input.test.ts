import { limits } from "@everycore/protocol";
import { expect, test } from "vitest";
import { LineSplitter } from "../src/input/lines.ts";
import {
  isLoopback,
  parseCount,
  parseDuration,
  parseListen,
  parseNatsUrls,
  parsePythonVersion,
  parseRange,
  parseReplicas,
  parseSeed,
} from "../src/input/values.ts";
import { divideSlots } from "../src/local/cores.ts";
import { natsConfig, natsUser, natsUsers, sharedNatsConfig } from "../src/local/nats-config.ts";
import { bytesText, durationText, table } from "../src/terminal/table.ts";

test("a range has both ends, may be negative, and never runs backwards", () => {
  expect(parseRange("0-999")).toEqual({ start: 0, items: 1000 });
  expect(parseRange("-3--1")).toEqual({ start: -3, items: 3 });
  expect(parseRange("-1-1")).toEqual({ start: -1, items: 3 });
  expect(() => parseRange("9-1")).toThrow("runs backwards");
  expect(() => parseRange("0-1e30")).toThrow("not a range");
  expect(() => parseRange("0-9007199254740991")).toThrow("a job may have");
});

test("several NATS servers are one list, by commas or by flags; replicas are 1, 3 or 5", () => {
  expect(parseNatsUrls("nats://a:4222, b:4222")).toBe("nats://a:4222,b:4222");
  expect(parseNatsUrls("nats://c:1", "nats://a:1,nats://b:1")).toBe("nats://a:1,nats://b:1,nats://c:1");
  expect(() => parseNatsUrls("nats://a:4222,")).toThrow('"" is not the URL of a NATS server');
  expect(() => parseNatsUrls("http://a:4222")).toThrow("http://a:4222");
  expect(["1", "3", "5"].map(parseReplicas)).toEqual([1, 3, 5]);
  for (const wrong of ["0", "2", "7", "", "3.0", "three"]) expect(() => parseReplicas(wrong)).toThrow(wrong);
});

test("durations, counts, seeds and addresses are read strictly", () => {
  expect(["500ms", "30s", "1.5m", "2h", "1d", "7"].map(parseDuration)).toEqual([
    500, 30_000, 90_000, 7_200_000, 86_400_000, 7_000,
  ]);
  expect(() => parseDuration("soon")).toThrow("not a duration");
  expect(parseCount("--retries", { min: 0, max: 5 })("5")).toBe(5);
  expect(() => parseCount("--retries", { min: 0, max: 5 })("6")).toThrow("--retries");
  expect(() => parseCount("--retries", { min: 0, max: 5 })("1.5")).toThrow("whole number");
  expect(parseSeed("7")).toBe("0000000000000007");
  expect(parseSeed("00000000000000FF")).toBe("00000000000000ff");
  expect(() => parseSeed("-1")).toThrow("not a seed");
  expect(parseListen("7070")).toBe("127.0.0.1:7070");
  expect(parseListen("[::1]:7070")).toBe("[::1]:7070");
  expect(() => parseListen("host")).toThrow("not an address");
  expect(isLoopback("127.0.0.1:1")).toBe(true);
  expect(isLoopback("0.0.0.0:1")).toBe(false);
  expect(isLoopback("127.0.0.1.evil.example:1")).toBe(false);
});

test("a version of Python has two numbers", () => {
  expect(["3.11", "python3.9", " 3.14 "].map(parsePythonVersion)).toEqual(["3.11", "3.9", "3.14"]);
  for (const text of ["3", "2.7", "3.11.4", "latest", "/usr/bin/python3"])
    expect(() => parsePythonVersion(text)).toThrow("is not a version of Python");
});

const texts = (lines: Buffer[]): string[] => lines.map((line) => line.toString());

test("lines are the same however the bytes were cut", () => {
  const bytes = Buffer.from("eins\r\nzwei ä\n\nlast");
  for (let size = 1; size <= bytes.length; size += 1) {
    const splitter = new LineSplitter({ file: "f", codec: "utf8" });
    const lines: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size)
      lines.push(...splitter.push(bytes.subarray(at, at + size)));
    expect(texts([...lines, ...splitter.end()])).toEqual(["eins", "zwei ä", "", "last"]);
  }
});

test("a broken JSON line is named by its number; blank lines are skipped", () => {
  const splitter = new LineSplitter({ file: "items.jsonl", codec: "json" });
  expect(texts(splitter.push(Buffer.from('1\n\n{"a":2}\n')))).toEqual(["1", '{"a":2}']);
  expect(() => splitter.push(Buffer.from("{nope\n"))).toThrow("line 4 of items.jsonl is not JSON");
});

test("a line without end is refused at the limit of an item, not kept growing", () => {
  const splitter = new LineSplitter({ file: "f", codec: "utf8" });
  const chunk = Buffer.alloc(1024 * 1024, "a");
  expect(() => {
    for (let at = 0; at <= limits.itemBytesMax / chunk.length + 1; at += 1) splitter.push(chunk);
  }).toThrow("the limit of an item");
});

test("tables are aligned, numbers to the right", () => {
  expect(
    table(
      ["JOB", "ITEMS"],
      [
        ["a", "5"],
        ["bcde", "1000"],
      ],
    ),
  ).toBe("JOB   ITEMS\na         5\nbcde   1000\n");
  expect([950, 65_000, 200_000, 90_061_000].map(durationText)).toEqual([
    "950 ms",
    "1 min 5 s",
    "3 min 20 s",
    "1 d 1 h",
  ]);
  expect([999, 1536, 10 * 1024 ** 3].map(bytesText)).toEqual(["999 B", "1.5 KB", "10.0 GB"]);
});

test("slots are divided over agents, at least one each", () => {
  expect(divideSlots(5, 2)).toEqual([3, 2]);
  expect(divideSlots(1, 3)).toEqual([1, 1, 1]);
});

test("NATS users follow from the secret, and an agent may neither read JetStream nor publish leases", () => {
  const secret = "s".repeat(64);
  expect(natsUser(secret, "agent").password).not.toBe(natsUser(secret, "coordinator").password);
  const text = natsConfig({ dir: "/tmp/x", secret, listen: "127.0.0.1:-1", storeBytes: 1024 ** 3 });
  expect(text).not.toContain(secret);
  expect(text).toContain('publish: ["ec.v1.log.>", "ec.v1.fetch"]');
  expect(text).toContain('listen: "127.0.0.1:-1"');
});

test("a nats-server that somebody else starts has the same users, and syncs before it acknowledges", () => {
  const secret = "s".repeat(64);
  const at = {
    listen: "0.0.0.0:4222",
    httpListen: "127.0.0.1:8222",
    storeDir: "/data/store",
    storeBytes: 1e9,
  };
  const text = sharedNatsConfig({ secret, ...at });
  expect(text).not.toContain(secret);
  expect(text).toContain("sync_interval: always");
  expect(text).toContain(natsUsers(secret));
});
