import { expect, test } from "vitest";
import { parseConfig } from "../src/config.ts";

const good = { join: ["127.0.0.1:7070"], secret: "s".repeat(64), dataDir: "/tmp/x" };
const parse = (fields: object): unknown => parseConfig(JSON.stringify({ ...good, ...fields }));

test("an agent that is asked to end gives running items ten seconds, or what the operator says", () => {
  expect(parse({})).toMatchObject({ drainMs: 10_000 });
  expect(parse({ drainMs: 0 })).toMatchObject({ drainMs: 0 });
  for (const wrong of [-1, "20s", 86_400_001])
    expect(() => parse({ drainMs: wrong })).toThrow(/drainMs must be/);
});

test("the way to NATS is the coordinator's to tell, unless whoever starts the agent knows it", () => {
  expect(parse({})).not.toHaveProperty("natsUrl");
  expect(parse({ natsUrl: "nats://127.0.0.1:4222" })).toMatchObject({ natsUrl: "nats://127.0.0.1:4222" });
  expect(() => parse({ natsUrl: 4222 })).toThrow(/"natsUrl" is missing/);
});

test("an agent leaves loopback only when it is told that the network is its own", () => {
  expect(() => parse({ join: ["head:7070"] })).toThrow(/head:7070 is beyond loopback/);
  expect(parse({ join: ["head:7070"], insecureNetwork: true })).toMatchObject({ join: ["head:7070"] });
});
