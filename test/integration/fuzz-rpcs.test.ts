// Poison on every RPC: bytes that are no message, messages whose fields are hostile, streams that say everything in the
// wrong order. Each is answered and counted; the coordinator neither restarts nor stalls.

import { fileURLToPath } from "node:url";
import { Client, Metadata, type ServiceError, credentials, status } from "@grpc/grpc-js";
import { type MethodDefinition, loadSync } from "@grpc/proto-loader";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Dice, dice, hostileNumber, hostileText, randomBytesOf } from "../support/fuzz.ts";
import { runJob, upTo, valuesOf } from "../support/jobs.ts";
import { withoutStall } from "../support/stall.ts";

/** Messages of each RPC. */
const messages = 10_000;
const atOnce = 12;
const includeDirs = [fileURLToPath(new URL("../../proto", import.meta.url))];
const files = ["jobs", "nodes", "cluster", "agent"].map((name) => `everycore/v1/${name}.proto`);
const loaded = loadSync(files, {
  includeDirs,
  keepCase: false,
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});

interface Field {
  readonly name: string;
  readonly type: string;
  readonly label: string;
  readonly typeName: string;
}
interface Type {
  readonly field: readonly Field[];
  readonly nestedType: readonly Type[];
  readonly name: string;
}
type Method = MethodDefinition<object, object>;

/** proto-loader's result holds services and message types side by side; what has a format is a type. */
const typeOf = (name: string): Type | undefined => {
  const found = loaded[`everycore.v1.${name}`];
  return found !== undefined && "type" in found ? (found.type as unknown as Type) : undefined;
};

const methods: Method[] = ["JobService", "NodeService", "ClusterService", "AgentService"].flatMap((name) =>
  Object.values(loaded[`everycore.v1.${name}`] as unknown as Record<string, Method>),
);

function hostileMessage(of: Dice, type: Type, depth = 3): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  for (const field of type.field) {
    if (of.roll(3) === 0) continue;
    const value = hostileField(of, field, type, depth);
    if (value !== undefined)
      message[camel(field.name)] = field.label === "LABEL_REPEATED" ? listOf(of, value) : value;
  }
  return message;
}

const listOf = (of: Dice, value: unknown): unknown[] => upTo(of.roll(3)).map(() => value);
const camel = (name: string): string => name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());

function hostileField(of: Dice, field: Field, owner: Type, depth: number): unknown {
  switch (field.type) {
    case "TYPE_STRING":
      return of.roll(2) === 0
        ? hostileText(of)
        : of.pick(["0123456789abcdef0123", "0123456789abcdef", "msgpack", "done"]);
    case "TYPE_BYTES":
      return randomBytesOf(of, 200);
    case "TYPE_BOOL":
      return of.roll(2) === 0;
    case "TYPE_MESSAGE": {
      const name = field.typeName.split(".").at(-1)!;
      const type = typeOf(name) ?? owner.nestedType.find((nested) => nested.name === name);
      if (type === undefined || type.name.endsWith("Entry")) return undefined; // maps stay empty
      return depth === 0 ? undefined : hostileMessage(of, type, depth - 1);
    }
    default: {
      const number = hostileNumber(of);
      return Number.isFinite(number) ? number : 0;
    }
  }
}

let cluster: TestCluster;
let client: Client;
beforeAll(async () => {
  cluster = await startCluster({ slots: 1, logLevel: "error" });
  client = new Client(cluster.address, credentials.createInsecure(), { "grpc.enable_http_proxy": 0 });
});
afterAll(async () => {
  client?.close();
  await cluster?.[Symbol.asyncDispose]();
});

const metadata = (): Metadata => {
  const made = new Metadata();
  made.set("authorization", `Bearer ${cluster.secret}`);
  return made;
};

const raw = (bytes: Buffer): Buffer => bytes;

interface Answer {
  readonly code: number;
  /** False: the transport or the deadline ended it, and not the coordinator. */
  readonly isAnswered: boolean;
  readonly text: string;
}

/** How the call ended. */
function call(method: Method, messages: readonly Buffer[], head = metadata()): Promise<Answer> {
  const options = { deadline: Date.now() + 10_000 };
  const ended = Promise.withResolvers<Answer>();
  const end = (error: ServiceError | null): void =>
    ended.resolve({
      code: error?.code ?? 0,
      isAnswered:
        error === null || error.code === status.INTERNAL || error.metadata.get("ec-code").length > 0,
      text: `${method.path}: ${error?.code} ${error?.details}`,
    });
  if (!method.requestStream && !method.responseStream) {
    client.makeUnaryRequest(method.path, raw, raw, messages[0]!, head, options, end);
    return ended.promise;
  }
  if (!method.requestStream) {
    const stream = client.makeServerStreamRequest(method.path, raw, raw, messages[0]!, head, options);
    stream
      .on("data", () => {})
      .on("error", end)
      .on("end", () => end(null));
    return ended.promise;
  }
  const stream = method.responseStream
    ? client.makeBidiStreamRequest(method.path, raw, raw, head, options)
    : client.makeClientStreamRequest(method.path, raw, raw, head, options, end);
  stream.on("error", end);
  if ("read" in stream) stream.on("data", () => {}).on("end", () => end(null));
  for (const message of messages) stream.write(message);
  stream.end();
  return ended.promise;
}

function fuzzed(of: Dice, method: Method): Buffer {
  if (of.roll(4) === 0) return randomBytesOf(of, 300);
  const type = (method.requestType as unknown as { type: Type }).type;
  return method.requestSerialize(hostileMessage(of, type));
}

/** Sends until so many messages are answered, a window of calls at a time; gives what was not answered. */
async function pour(of: Dice, method: Method): Promise<string[]> {
  const unanswered: string[] = [];
  let sent = 0;
  const sendOn = async (): Promise<void> => {
    // A call that hangs takes all of its deadline: a few of them tell enough.
    while (sent < messages && unanswered.length < atOnce) {
      const some = upTo(method.requestStream ? 1 + of.roll(3) : 1).map(() => fuzzed(of, method));
      sent += some.length;
      const { isAnswered, text } = await call(method, some);
      if (!isAnswered) unanswered.push(text);
    }
  };
  await Promise.all(upTo(atOnce).map(sendOn));
  return unanswered;
}

test(
  "10,000 fuzzed messages to each RPC: each call answered, none brings the coordinator down or stalls it",
  { timeout: 600_000 }, // a minute alone; a crowded machine runs it twice as slowly, and some of it again
  async () => {
    expect(methods.length).toBeGreaterThan(15);
    const { pid } = cluster.coordinator;
    const handled = async (): Promise<number> =>
      (await cluster.coordinator.metric("everycore_grpc_server_handled_total")) ?? 0;
    const before = await handled();
    for (const [seed, method] of methods.entries()) {
      await withoutStall(cluster.coordinator, async () => {
        expect(await pour(dice(seed + 11), method)).toEqual([]); // every call has an answer (P5)
      });
    }
    expect((await handled()) - before).toBeGreaterThan((methods.length * messages) / 4);
    expect(cluster.coordinator.isRunning && cluster.coordinator.pid).toBe(pid);
    const { outcomes } = await runJob(cluster.client, { task: "arithmetic.ts:square", range: [0, 9] });
    expect(valuesOf(outcomes)).toEqual(upTo(10).map((n) => n * n));
  },
);

test("no RPC answers without the secret, with a wrong one, or with half of it", async () => {
  for (const method of methods) {
    for (const authorization of [
      undefined,
      "Bearer ",
      `Bearer ${cluster.secret.slice(0, 32)}`,
      "Basic abc",
      `Bearer ${"0".repeat(64)}`,
    ]) {
      const head = new Metadata();
      if (authorization !== undefined) head.set("authorization", authorization);
      expect(await call(method, [Buffer.alloc(0)], head)).toMatchObject({ code: status.UNAUTHENTICATED });
    }
  }
});

test("a request larger than the limit is refused, not read into memory", async () => {
  const [submit] = methods.filter(({ path }) => path.endsWith("/Submit"));
  const answer = await call(submit!, [Buffer.alloc(5 * 1024 * 1024)]);
  expect(answer).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
});
