// EC_NODES as leaders write it, on a real server: the latest of each node, until it is stored or the term is over, and
// never over what another leader wrote.
import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import type { KV } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";
import type { NodeId, NodeRecord } from "@everycore/protocol";
import { buckets, decodeNodeRecord } from "@everycore/protocol";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startNatsServer } from "../../../test/support/nats-server.ts";
import { until } from "../../../test/support/until.ts";
import { KnownNodes } from "../src/data/known-nodes.ts";
import { nodeId } from "./support/core-bench.ts";

const a = nodeId("a");
const b = nodeId("b");

/** A leader of an epoch: its term, and why it thinks that this should be over. */
class Leader {
  readonly epoch: number;
  readonly term = new AbortController();
  readonly reasons: string[] = [];
  readonly nodes: KnownNodes;

  constructor(bucket: KV, epoch: number) {
    this.epoch = epoch;
    this.nodes = new KnownNodes(bucket, pino({ level: "silent" }), (reason) => this.reasons.push(reason));
  }

  async lists(): Promise<readonly NodeRecord[]> {
    return (await this.nodes.all(this.epoch)).toSorted((x, y) => (x.id < y.id ? -1 : 1));
  }

  puts(id: NodeId, host: string, more: Partial<NodeRecord> = {}): void {
    const record = { id, host, epoch: this.epoch, draining: false, isGone: false, ...more };
    this.nodes.put(record, this.term.signal);
  }

  deletes(id: NodeId): void {
    this.nodes.delete(id, this.term.signal);
  }
}

async function setUp() {
  const server = await startNatsServer();
  const nats = await connect({ servers: server.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  const bucket = await new Kvm(jetstream(nats, { timeout: 500 })).create(buckets.nodes, { history: 1 });
  const hostOf = async (id: NodeId): Promise<string | undefined> => {
    const entry = await bucket.get(id);
    return entry?.operation === "PUT" ? decodeNodeRecord(id, entry.value).host : undefined;
  };
  return {
    server,
    bucket,
    hostOf,
    until: (id: NodeId, host: string | undefined): Promise<unknown> =>
      until(async () => (await hostOf(id)) === host, { what: `${id} to be of ${host ?? "nobody"}` }),
    leader: (epoch: number): Leader => new Leader(bucket, epoch),
    async [Symbol.asyncDispose]() {
      await nats.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

let store: Awaited<ReturnType<typeof setUp>>;
beforeEach(async () => {
  store = await setUp();
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
});

const foreign = (id: NodeId): string => `another leader has written node ${id}`;

test("what could not be written is written once NATS is back, the latest of each node", async () => {
  const leader = store.leader(1);
  expect(await leader.lists()).toEqual([]);
  leader.puts(a, "one");
  await store.until(a, "one");
  await store.server.stop();
  leader.puts(a, "two");
  leader.puts(b, "one");
  leader.puts(a, "three");
  await store.server.restart();
  await store.until(a, "three");
  await store.until(b, "one");
  leader.deletes(a);
  await store.until(a, undefined);
  leader.puts(a, "four"); // on the mark of its own deletion
  await store.until(a, "four");
  expect(await store.hostOf(b)).toBe("one");
  expect(leader.reasons).toEqual([]);
});

test("a leader whose term is over writes nothing more", async () => {
  const leader = store.leader(1);
  await leader.lists();
  leader.term.abort();
  leader.puts(a, "one");
  leader.deletes(a);
  const next = store.leader(2);
  await next.lists();
  next.puts(b, "one");
  await store.until(b, "one");
  expect(await store.hostOf(a)).toBeUndefined();
});

test("one that was deposed and does not know it writes over nothing of its successor, and steps down", async () => {
  const former = store.leader(1);
  await former.lists();
  former.puts(a, "one");
  await store.until(a, "one");
  const next = store.leader(2);
  expect(await next.lists()).toMatchObject([{ id: a, host: "one", epoch: 1 }]);
  const quarantine = { since: 1, until: 2, crashes: [] };
  next.puts(a, "two", { draining: true, standing: { countsFrom: 0, times: 1, quarantine } });
  await store.until(a, "two");
  const written = (await store.bucket.get(a))!;

  former.puts(a, "one");
  await until(() => former.reasons.length === 1, { what: "it to step down" });
  former.deletes(a);
  await until(() => former.reasons.length === 2, { what: "it to step down" });
  expect(former.reasons).toEqual([foreign(a), foreign(a)]);
  expect(await store.bucket.get(a)).toMatchObject({ revision: written.revision, value: written.value });
  next.puts(a, "three");
  await store.until(a, "three");
  expect(next.reasons).toEqual([]);
});

test("nor does it make anew what its successor has deleted", async () => {
  const former = store.leader(1);
  await former.lists();
  former.puts(a, "one");
  await store.until(a, "one");
  const next = store.leader(2);
  await next.lists();
  next.deletes(a);
  await store.until(a, undefined);
  former.puts(a, "one");
  await until(() => former.reasons.length === 1, { what: "it to step down" });
  former.deletes(a); // that it is gone is what it wanted
  former.puts(b, "one");
  await store.until(b, "one");
  expect(former.reasons).toEqual([foreign(a)]);
  expect(await store.hostOf(a)).toBeUndefined();
});

test("what a former leader wrote late is neither written over nor left unknown: the next listing has it", async () => {
  const former = store.leader(1);
  await former.lists();
  const next = store.leader(2);
  await next.lists();
  former.puts(a, "late");
  await store.until(a, "late");
  next.puts(a, "two");
  await until(() => next.reasons.length === 1, { what: "it to step down" });
  expect(next.reasons).toEqual([foreign(a)]);
  expect(await store.hostOf(a)).toBe("late");
  const again = store.leader(3);
  expect(await again.lists()).toMatchObject([{ host: "late" }]);
  again.puts(a, "three");
  await store.until(a, "three");
  expect(again.reasons).toEqual([]);
});

test("a write whose answer was lost is its own, a put and a deletion", async () => {
  // The other side: it does what is asked, and its next answer does not come.
  let isLost = false;
  const whoseAnswerIsLost = async <T>(written: Promise<T>): Promise<T> => {
    const answer = await written;
    if (!isLost) return answer;
    isLost = false;
    throw new Error("timeout");
  };
  const { bucket } = store;
  const bound = new Proxy(bucket, {
    get(target, name) {
      if (name === "put") return (...args: Parameters<KV["put"]>) => whoseAnswerIsLost(target.put(...args));
      if (name === "purge")
        return (...args: Parameters<KV["purge"]>) => whoseAnswerIsLost(target.purge(...args));
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  const leader = new Leader(bound, 1);
  await leader.lists();
  isLost = true;
  leader.puts(a, "one");
  await store.until(a, "one");
  leader.puts(a, "two");
  await store.until(a, "two");
  isLost = true;
  leader.puts(a, "three");
  leader.deletes(a); // while the put is under way
  await store.until(a, undefined);
  isLost = true;
  leader.puts(a, "four");
  await store.until(a, "four");
  isLost = true;
  leader.deletes(a);
  leader.puts(b, "one");
  await store.until(b, "one");
  leader.puts(a, "five");
  await store.until(a, "five");
  expect(leader.reasons).toEqual([]);
});
