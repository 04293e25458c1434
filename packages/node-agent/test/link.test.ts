// The link by itself, with a leader that takes every call: how it begins and ends.

import * as grpc from "@grpc/grpc-js";
import { setImmediate as turn } from "node:timers/promises";
import { pino } from "pino";
import { expect, test } from "vitest";
import { until } from "../../../test/support/until.ts";
import type { LooseMessage } from "../src/control/link.ts";
import { agentServiceDefinition, Link } from "../src/control/link.ts";

type Call = grpc.ServerDuplexStream<LooseMessage, LooseMessage>;

/** Takes each call, and leaves it to the other side to end it. */
class Leader implements AsyncDisposable {
  readonly calls = new Set<Call>();
  readonly heard: string[] = [];
  taken = 0;
  address = "";
  readonly #server = new grpc.Server();

  static async start(): Promise<Leader> {
    const leader = new Leader();
    leader.#server.addService(agentServiceDefinition(), { Link: (call: Call) => leader.#take(call) });
    const port = await new Promise<number>((resolve, reject) =>
      leader.#server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    leader.address = `127.0.0.1:${port}`;
    return leader;
  }

  #take(call: Call): void {
    this.calls.add(call);
    this.taken += 1;
    const over = (): void => void this.calls.delete(call);
    call.on("data", (message: LooseMessage) => this.heard.push(String(message["part"])));
    call.on("cancelled", over).on("error", over);
    call.on("end", () => {
      over();
      call.end();
    });
    call.sendMetadata(new grpc.Metadata());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
  }
}

function linkTo(address: string): { link: Link; opened: Promise<void> } {
  const opened = Promise.withResolvers<void>();
  const link = new Link({
    addresses: [address],
    isAllowed: () => true,
    secret: "5".repeat(32),
    log: pino({ level: "silent" }),
    onOpen: opened.resolve,
    onClose: () => {},
    onMessage: () => {},
    onRefused: opened.reject,
  });
  link.open();
  return { link, opened: opened.promise };
}

// An agent whose drain is over in the very moment in which its coordinator comes back had stayed for ever.
test("closed while it connects or is being taken, at whatever point, it ends, and no leader keeps it", async () => {
  await using leader = await Leader.start();
  for (let turns = 0; turns < 60; turns += 1) {
    const { link } = linkTo(leader.address);
    for (let at = 0; at < turns; at += 1) await turn();
    await link.close();
  }
  await until(() => leader.calls.size === 0, { what: "the leader to be left" });
  expect(leader.taken).toBeGreaterThan(0); // some were closed late enough
});

test("what was written before it was closed arrives", async () => {
  await using leader = await Leader.start();
  for (let round = 0; round < 10; round += 1) {
    const { link, opened } = linkTo(leader.address);
    await opened;
    link.send({ drained: {} });
    await link.close();
  }
  await until(() => leader.heard.length === 10, { what: "every goodbye to be heard" });
});

test("where nobody listens, it looks on until it is closed", async () => {
  const leader = await Leader.start();
  const { address } = leader;
  await leader[Symbol.asyncDispose]();
  const { link } = linkTo(address);
  await turn();
  await link.close();
  expect(link.send({ drained: {} })).toBe(false);
});
