// Calls on their way from one coordinator to another, without a cluster: servers of this process that lead, stand by,
// or each take the other for the leader.
import { setTimeout as delay } from "node:timers/promises";
import type { Metadata, ServiceError } from "@grpc/grpc-js";
import { Client, credentials, status } from "@grpc/grpc-js";
import { EverycoreError } from "@everycore/protocol";
import { pino } from "pino";
import { expect, test } from "vitest";
import { until } from "../../../test/support/until.ts";
import { Forwarder } from "../src/control/forward.ts";
import type { Handlers } from "../src/control/handlers.ts";
import { download, duplex, unary } from "../src/control/handlers.ts";
import { ControlServer } from "../src/control/server.ts";
import { newCluster } from "../src/core/index.ts";
import { Metrics } from "../src/metrics.ts";
import { codeOf } from "./support/coordinator-process.ts";
import { bearer, serviceOf } from "./support/fake-agent.ts";

const secret = "0123456789abcdef".repeat(2);

/** A control plane with nothing behind it. */
class Door implements AsyncDisposable {
  address = "";
  leader = "";
  isLeading = false;
  /** Calls that were answered or refused here, by method and code. */
  readonly metrics = new Metrics({
    version: "test",
    state: newCluster,
    storage: () => ({ bytes: 0, reserved: 0, limit: 0, count: 0 }),
    spans: () => ({ delivered: 0, dropped: 0, failed: 0 }),
    gauges: {},
  });
  readonly forwarder = new Forwarder({
    isLeading: () => this.isLeading,
    leader: () => Promise.resolve(this.leader),
    ownAddress: () => this.address,
    heardSince: () => false,
  });
  readonly #server: ControlServer;
  readonly #clients: Client[] = [];

  /** Itself takes the place of what knows the other coordinators. */
  constructor(handlers: Handlers) {
    const log = pino({ level: "silent" });
    const coordinators = {
      forwarder: this.forwarder,
      leader: () => Promise.resolve(this.leader),
      isLeading: false,
      addresses: [],
    };
    Object.defineProperty(coordinators, "isLeading", { get: () => this.isLeading });
    Object.defineProperty(coordinators, "addresses", { get: () => [this.address, "10.0.0.9:7070"] });
    this.#server = new ControlServer({ secret, log, metrics: this.metrics, coordinators });
    this.#server.add("JobService", handlers);
  }

  async open(): Promise<this> {
    this.address = `127.0.0.1:${await this.#server.listen("127.0.0.1:0")}`;
    return this;
  }

  async handled(): Promise<string> {
    const all = await this.metrics.registry.metrics();
    return all
      .split("\n")
      .filter((line) => line.startsWith("everycore_grpc_server_handled_total{"))
      .join("\n");
  }

  get client(): Client {
    const client = new Client(this.address, credentials.createInsecure());
    this.#clients.push(client);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    this.forwarder.close();
    await this.#server.close();
  }
}

async function leaderAndStandby(handlers: Handlers) {
  const leader = await new Door(handlers).open();
  const standby = await new Door(handlers).open();
  leader.isLeading = true;
  leader.leader = standby.leader = leader.address;
  return {
    leader,
    standby,
    [Symbol.asyncDispose]: async () => {
      await standby[Symbol.asyncDispose]();
      await leader[Symbol.asyncDispose]();
    },
  };
}

// Responses are as proto-loader gives them; tests name the fields they expect.
// oxlint-disable-next-line typescript/no-explicit-any
type Response = any;

interface Asked {
  readonly answer: Promise<Response>;
  readonly head: Promise<Metadata>;
  readonly cancel: () => void;
}

function ask(client: Client, method: string, request: object, deadline: number = Date.now() + 20_000): Asked {
  const { path, requestSerialize, responseDeserialize } = serviceOf("JobService")[method]!;
  const answer = Promise.withResolvers<Response>();
  const head = Promise.withResolvers<Metadata>();
  const call = client.makeUnaryRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    bearer(secret),
    { deadline },
    (error: ServiceError | null, response) =>
      error === null ? answer.resolve(response) : answer.reject(error),
  );
  call.on("metadata", head.resolve);
  return { answer: answer.promise, head: head.promise, cancel: () => call.cancel() };
}

test("an answer, its errors and the addresses of all come through as the leader gave them", async () => {
  await using doors = await leaderAndStandby({
    Get: unary(async ({ job }: { job: string }) => {
      if (job === "") throw new EverycoreError("ambiguous", "which one?", { hint: "say which" });
      if (job === "bug") throw new Error("a bug of the leader");
      return { id: job, counts: { value: 7 } };
    }),
  });
  const { client } = doors.standby;
  const asked = ask(client, "Get", { job: "x" });
  expect(await asked.answer).toMatchObject({ id: "x", counts: { value: 7 } });
  expect((await asked.head).get("ec-coordinators")).toEqual([`${doors.standby.address},10.0.0.9:7070`]);
  const refused: ServiceError = await ask(client, "Get", { job: "" }).answer.catch((error) => error);
  expect(refused).toMatchObject({ code: status.INVALID_ARGUMENT, details: "which one?" });
  expect(codeOf(refused)).toBe("ambiguous");
  expect(refused.metadata.get("ec-hint")).toEqual(["say which"]);
  const failed: ServiceError = await ask(client, "Get", { job: "bug" }).answer.catch((error) => error);
  // The number is that of the leader's log, where the reason stands.
  expect(failed.details).toMatch(/^the coordinator failed \(error \d+ in the coordinator's log\)$/);
  expect(codeOf(failed)).toBe("internal");
});

test("a request that is no message is refused by whoever would answer it", async () => {
  await using doors = await leaderAndStandby({ Get: unary(() => Promise.resolve({})) });
  const raw = (bytes: Buffer): Buffer => bytes;
  const { path } = serviceOf("JobService")["Get"]!;
  const refused = Promise.withResolvers<ServiceError | null>();
  const poison = Buffer.from("ffffffffff", "hex");
  doors.standby.client.makeUnaryRequest(path, raw, raw, poison, bearer(secret), refused.resolve);
  expect(codeOf(await refused.promise)).toBe("bad-input");
});

test("two that each take the other for the leader refuse each other: no call goes in circles", async () => {
  let isRun = false;
  const handlers: Handlers = {
    Get: unary(async () => {
      isRun = true;
      return {};
    }),
  };
  await using one = await new Door(handlers).open();
  await using other = await new Door(handlers).open();
  one.leader = other.address;
  other.leader = one.address;
  const error = await ask(one.client, "Get", { job: "x" }, Date.now() + 1_500).answer.catch((e) => e);
  expect(codeOf(error)).toBe("no-leader");
  expect(isRun).toBe(false);
  // The one asked again and again; the other never passed any of it on.
  const refusals = Number(/code="no-leader"\} (\d+)/.exec(await other.handled())?.[1]);
  expect(refusals).toBeGreaterThan(2);
  expect(refusals).toBeLessThan(16); // and gave it time in between
  expect(await one.handled()).toBe(
    'everycore_grpc_server_handled_total{method="JobService.Get",code="no-leader"} 1',
  );
});

test("while nobody leads a call waits, and goes on as soon as somebody does; its deadline ends the wait", async () => {
  const handlers: Handlers = { Get: unary(async ({ job }: { job: string }) => ({ id: job })) };
  await using doors = await leaderAndStandby(handlers);
  const { leader, standby } = doors;
  leader.isLeading = false;
  leader.leader = standby.leader = "";
  const early = ask(standby.client, "Get", { job: "a" }, Date.now() + 700).answer.catch(codeOf);
  expect(await early).toBe("no-leader"); // and not the bare end of the deadline
  const waiting = ask(standby.client, "Get", { job: "b" });
  const own = ask(leader.client, "Get", { job: "c" });
  await delay(200); // both are at the door
  leader.isLeading = true;
  standby.leader = leader.address;
  expect(await waiting.answer).toMatchObject({ id: "b" });
  expect(await own.answer).toMatchObject({ id: "c" });
});

test("a slow reader holds the leader back, and its end ends the leader's work", async () => {
  const written = { count: 0, isOver: false };
  const pieces = 2_000;
  await using doors = await leaderAndStandby({
    Output: download(async (_request, { write, signal }) => {
      const data = Buffer.alloc(64 * 1024);
      try {
        for (; written.count < pieces && !signal.aborted; written.count += 1) await write({ data });
        await write({ data });
      } finally {
        written.isOver = true;
      }
    }),
  });
  const { path, requestSerialize, responseDeserialize } = serviceOf("JobService")["Output"]!;
  const call = doors.standby.client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    { job: "x" },
    bearer(secret),
  );
  call.on("error", () => {}); // the cancel below
  await new Promise((resolve) => call.once("readable", resolve)); // and nothing is read
  let before = -1;
  const isStill = async (): Promise<boolean> => {
    const now = written.count;
    await delay(100);
    const same = now === before && now === written.count;
    before = now;
    return same;
  };
  await until(isStill, { what: "the writer to be held back" });
  expect(written.count).toBeLessThan(pieces / 2);
  call.cancel();
  await until(() => written.isOver, { what: "the leader to hear that its reader is gone" });
});

test("both ways of a stream pass; a leader that others have replaced gives its calls back", async () => {
  await using doors = await leaderAndStandby({
    Submit: duplex<{ block?: { first: number } }>(async ({ requests, write }) => {
      for await (const { block } of requests) await write({ appended: block?.first ?? 0 });
      await write({ closed: { id: "done" } });
    }),
  });
  const { leader, standby } = doors;
  const { path, requestSerialize, responseDeserialize } = serviceOf("JobService")["Submit"]!;
  const open = () =>
    standby.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, bearer(secret));
  const echo = open();
  for (let first = 1; first <= 300; first += 1)
    echo.write({ block: { first, count: 1, data: Buffer.alloc(9) } });
  echo.end();
  const answers: Response[] = await echo.toArray();
  expect(answers.length).toBe(301);
  expect(answers[299].appended).toBe(300);
  expect(answers[300].closed.id).toBe("done");

  const hanging = open();
  hanging.write({ block: { first: 5, count: 1, data: Buffer.alloc(9) } });
  const ended = hanging.toArray().catch(codeOf);
  await until(() => standby.forwarder.count === 1, { what: "the call to be under way" });
  leader.isLeading = false; // it stands still, and does not know it
  standby.isLeading = true;
  await standby.forwarder.leaderChanged();
  expect(await ended).toBe("no-leader");
  expect(standby.forwarder.count).toBe(0);
});
