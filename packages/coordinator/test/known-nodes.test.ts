// EC_NODES as the leader writes it: in order, the latest of each node, until it is stored or the term is over.
import type { NodeRecord } from "@everycore/protocol";
import { decodeNodeRecord } from "@everycore/protocol";
import type { KV } from "@nats-io/kv";
import { pino } from "pino";
import { expect, test } from "vitest";
import { until } from "../../../test/support/until.ts";
import { KnownNodes } from "../src/data/known-nodes.ts";
import { nodeId } from "./support/core-bench.ts";

const a = nodeId("a");
const b = nodeId("b");
const record = (id = a, host = "one"): NodeRecord => ({ id, host, draining: false, isGone: false });

/** The other side: a bucket that may be away. */
class Bucket {
  readonly entries = new Map<string, Uint8Array>();
  readonly puts: string[] = [];
  isAway = false;

  async put(key: string, value: Uint8Array): Promise<number> {
    this.puts.push(key);
    if (this.isAway) throw new Error("timeout");
    this.entries.set(key, value);
    return this.puts.length;
  }

  async purge(key: string): Promise<void> {
    if (this.isAway) throw new Error("timeout");
    this.entries.delete(key);
  }
}

const over = (bucket: Bucket): KnownNodes =>
  new KnownNodes(bucket as unknown as KV, pino({ level: "silent" })); // what it uses of it

test("what could not be written is written once NATS is back, the latest of each node", async () => {
  const bucket = new Bucket();
  const nodes = over(bucket);
  const { signal } = new AbortController();
  bucket.isAway = true;
  nodes.put(record(a, "one"), signal);
  nodes.put(record(b), signal);
  nodes.put(record(a, "two"), signal);
  await until(() => bucket.puts.length > 0, { what: "a first try" });
  bucket.isAway = false;
  await until(() => bucket.entries.size === 2, { what: "both to be stored" });
  expect(decodeNodeRecord(a, bucket.entries.get(a)!).host).toBe("two");
  nodes.delete(a, signal);
  await until(() => bucket.entries.size === 1, { what: "one to be deleted" });
  expect([...bucket.entries.keys()]).toEqual([b]);
});

test("a leader whose term is over writes nothing more: its successor may have", async () => {
  const bucket = new Bucket();
  const nodes = over(bucket);
  const term = new AbortController();
  bucket.isAway = true;
  nodes.put(record(a), term.signal);
  await until(() => bucket.puts.length > 0, { what: "a first try" });
  bucket.isAway = false;
  term.abort();
  const next = new AbortController();
  nodes.put(record(b), next.signal);
  await until(() => bucket.entries.has(b), { what: "the next term's record" });
  expect(bucket.entries.has(a)).toBe(false);
});
