import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { freePort, isFree } from "../src/local/free-port.ts";

test("a port is free unless somebody listens there", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // on TCP
  expect(await isFree("127.0.0.1", port)).toBe(false);
  server.close();
  await once(server, "close");
  expect(await isFree("127.0.0.1", port)).toBe(true);
});

test("the port of a program to come is none that an outgoing connection could be given", async () => {
  for (let turn = 0; turn < 20; turn += 1) {
    const port = await freePort();
    expect(port).toBeLessThan(32_768);
    expect(await isFree("127.0.0.1", port)).toBe(true);
  }
});
