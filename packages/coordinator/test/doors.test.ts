import type { JobId } from "@everycore/protocol";
import { pino } from "pino";
import { expect, test } from "vitest";
import { checkAdvertised, checkListen, parseConfig } from "../src/config.ts";
import { bearerCheck } from "../src/control/auth.ts";
import { toServiceError } from "../src/control/errors.ts";
import { resolveJob } from "../src/control/job-info.ts";

const ids = ["0123456789abcdef0123", "0123ffff89abcdef0123", "aaaabbbbccccddddeeee"] as JobId[];

test("only the whole secret opens the door", () => {
  const check = bearerCheck("s3cret");
  expect(() => check("Bearer s3cret")).not.toThrow();
  for (const wrong of [
    undefined,
    "",
    "s3cret",
    "Bearer ",
    "Bearer s3cre",
    "Bearer s3cret ",
    "bearer s3cret",
  ]) {
    expect(() => check(wrong)).toThrow(expect.objectContaining({ code: "refused" }));
  }
});

test("a unique prefix is an id; others are named", () => {
  expect(resolveJob("aaaa", ids)).toBe(ids[2]);
  expect(resolveJob(ids[0]!, ids)).toBe(ids[0]);
  expect(() => resolveJob("0123", ids)).toThrow(/fits 2 jobs: 0123456789ab, 0123ffff89ab/);
  expect(() => resolveJob("ffff", ids)).toThrow(/no job whose id begins with ffff/);
  expect(() => resolveJob("xyz", ids)).toThrow(expect.objectContaining({ code: "bad-input" }));
});

test("beyond loopback nothing listens without TLS unless asked for", () => {
  for (const loopback of ["127.0.0.1:7070", "localhost:0", "[::1]:7070"]) checkListen(loopback, false);
  for (const open of ["0.0.0.0:7070", "10.0.0.1:1", "[::]:1"]) {
    expect(() => checkListen(open, false)).toThrow(/without TLS/);
    checkListen(open, true);
  }
});

test("what is advertised means the same on every machine", () => {
  for (const everywhere of ["0.0.0.0:7070", "[::]:7070"]) {
    expect(() => checkAdvertised({ listen: everywhere })).toThrow(/no address that other machines can use/);
    expect(() => checkAdvertised({ listen: "10.0.0.1:1", advertise: everywhere })).toThrow(/no address/);
    checkAdvertised({ listen: everywhere, advertise: "head:7070" });
  }
});

test("a malformed configuration is one sentence that names the field", () => {
  expect(() => parseConfig(undefined)).toThrow(/JSON/);
  const nats = { urls: ["nats://x"], user: "u", password: "p" };
  const good = { nats, agentNats: nats, secret: "ab".repeat(16), dataDir: "/tmp/x" };
  expect(parseConfig(JSON.stringify(good))).toMatchObject({ listen: "127.0.0.1:0", lifeline: false });
  expect(() => parseConfig(JSON.stringify({ ...good, secret: "short" }))).toThrow(/"secret"/);
  expect(() => parseConfig(JSON.stringify({ ...good, nats: { ...nats, urls: [] } }))).toThrow(/"nats.urls"/);
});

test("a bug shows its number, not its stack", () => {
  const error = toServiceError(
    new TypeError("x of undefined at secret.ts"),
    pino({ level: "silent" }),
    "Job.Get",
  );
  expect(error.details).toMatch(/^the coordinator failed \(error \d+ in the coordinator's log\)$/);
  expect(error.metadata.get("ec-code")).toEqual(["internal"]);
});
