import { expect, test } from "vitest";
import { type AddressFlags, listenFor, planAddresses } from "../src/local/addresses.ts";

const urls = (flags: AddressFlags): { listen: string | undefined; agents: string; own: string } => {
  const { natsListen, agentNatsUrl, ownNatsUrl } = planAddresses(flags);
  return { listen: natsListen, agents: agentNatsUrl(4222), own: ownNatsUrl(4222) };
};

test("on one machine everything stays on loopback", () => {
  expect(urls({ listen: "127.0.0.1:7070" })).toEqual({
    listen: "127.0.0.1:4222",
    agents: "nats://127.0.0.1:4222",
    own: "nats://127.0.0.1:4222",
  });
  expect(planAddresses({ listen: "127.0.0.1:0" }, 0).natsListen).toBe("127.0.0.1:0");
});

test("for other machines the own nats-server listens where the coordinator does, and has its advertised host", () => {
  expect(urls({ listen: "0.0.0.0:7070", advertise: "head.lan:7070" })).toEqual({
    listen: "0.0.0.0:4222",
    agents: "nats://head.lan:4222",
    own: "nats://127.0.0.1:4222",
  });
  expect(urls({ listen: "10.0.0.5:7070" })).toEqual({
    listen: "10.0.0.5:4222",
    agents: "nats://10.0.0.5:4222",
    own: "nats://10.0.0.5:4222",
  });
  expect(urls({ listen: "[::]:7070", advertise: "[fd00::1]:7070", natsListen: "[::]:4333" })).toMatchObject({
    listen: "[::]:4333",
    agents: "nats://[fd00::1]:4222",
  });
  const chosen = {
    listen: "0.0.0.0:1",
    advertise: "a:1",
    natsListen: "127.0.0.1:4222",
    agentNats: "nats://b:9",
  };
  expect(urls(chosen).agents).toBe("nats://b:9");
});

test("advertised to other machines, it listens for them; a flag decides otherwise, and so does loopback", () => {
  const otherwise = "127.0.0.1:0";
  expect(listenFor({ advertise: "head.lan:7070" }, otherwise)).toBe("0.0.0.0:7070");
  expect(listenFor({ advertise: "[fd00::1]:7171" }, otherwise)).toBe("[::]:7171");
  expect(listenFor({ advertise: "head.lan:7070", listen: "10.0.0.5:1" }, otherwise)).toBe("10.0.0.5:1");
  expect(listenFor({ advertise: "localhost:7070" }, otherwise)).toBe(otherwise);
  expect(listenFor({}, otherwise)).toBe(otherwise);
});

test("a server that runs already is used as it is, with another URL for agents if they need one", () => {
  const nats = "nats://10.0.0.9:4222";
  const network = { listen: "0.0.0.0:7070", advertise: "head:7070" };
  expect(urls({ ...network, nats })).toEqual({ listen: undefined, agents: nats, own: nats });
  const local = { ...network, nats: "nats://127.0.0.1:4222" };
  expect(urls({ ...local, agentNats: "nats://head:4222" }).agents).toBe("nats://head:4222");
  expect(urls({ listen: "127.0.0.1:7070", nats: local.nats }).agents).toBe(local.nats);
});

const open = { listen: "0.0.0.0:7070", advertise: "head:7070" };
const refused: readonly [string, AddressFlags, RegExp][] = [
  [
    "nothing advertised",
    { listen: "0.0.0.0:7070" },
    /0\.0\.0\.0:7070 is no address that other machines can use/,
  ],
  ["nothing advertised, IPv6", { listen: "[::]:7070" }, /no address that other machines can use/],
  ["0.0.0.0 advertised", { ...open, advertise: "0.0.0.0:7070" }, /no address that other machines can use/],
  [
    "loopback advertised",
    { ...open, advertise: "127.0.0.1:7070" },
    /would send other machines to themselves/,
  ],
  ["NATS on loopback", { ...open, natsListen: "127.0.0.1:4222" }, /4222 cannot be reached by agents/],
  [
    "NATS elsewhere on loopback",
    { ...open, nats: "nats://localhost:4222" },
    /cannot reach NATS at nats:\/\/localhost/,
  ],
  [
    "agents sent to 0.0.0.0",
    { ...open, agentNats: "nats://0.0.0.0:4222" },
    /cannot reach NATS at nats:\/\/0/,
  ],
  ["agents sent to [::1]", { ...open, agentNats: "nats://u:p@[::1]:4222" }, /cannot reach NATS/],
  [
    "one of several on loopback",
    { ...open, nats: "nats://a:4222,nats://127.0.0.1:4222" },
    /cannot reach NATS at nats:\/\/127\.0\.0\.1:4222$/,
  ],
  ["two servers", { ...open, nats: "nats://a:1", natsListen: "0.0.0.0:1" }, /exclude each other/],
];

test.each(refused)("refused with one sentence: %s", (_, flags, message) => {
  expect(() => planAddresses(flags)).toThrow(message);
  expect(() => planAddresses(flags)).toThrow(expect.objectContaining({ code: "bad-input" }));
});
