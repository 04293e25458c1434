// What the roles write to their logs is what the guide says: messages, fields and their types, and of whatever a line
// is about its id. The guide's tables are read; each line of a cluster to which much happens is compared.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { RunLog, collect, runJob, submit, upTo } from "../support/jobs.ts";
import { until } from "../support/until.ts";

const root = join(import.meta.dirname, "../..");
const guide = readFileSync(join(root, "docs/guides/operations.md"), "utf8");
const levels: Readonly<Record<string, number>> = { debug: 20, info: 30, warn: 40, error: 50 };
/** Of every line. */
const always = ["level", "time", "role", "msg"];

/** Cells of the table below a heading of the guide. */
function rowsOf(heading: string): string[][] {
  const section = guide.split(`\n### ${heading}\n`)[1]!.split(/\n##+ /)[0]!;
  const rows = section.split("\n").filter((line) => line.startsWith("|"));
  return rows.slice(2).map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const namesIn = (cell: string): string[] => [...cell.matchAll(/`(\w+)`/g)].map((match) => match[1]!);

const typeOf = new Map(
  rowsOf("Log fields").flatMap(([names, type]) =>
    namesIn(names!).map((name): [string, string] => [name, type!]),
  ),
);

interface Documented {
  readonly needed: readonly string[];
  readonly allowed: readonly string[];
}
const keyOf = (role: string, level: string, message: string): string => `${role} ${level} ${message}`;
const documented = new Map(
  rowsOf("Log messages").map(([role, level, message, fields]): [string, Documented] => {
    const needed = [...fields!.matchAll(/`(\w+)`(?!\?)/g)].map((match) => match[1]!);
    return [keyOf(role!, level!, message!), { needed, allowed: namesIn(fields!) }];
  }),
);

const isOfType: Readonly<Record<string, (value: unknown) => boolean>> = {
  number: (value) => typeof value === "number" && Number.isFinite(value),
  text: (value) => typeof value === "string" && value !== "",
  "job id": (value) => typeof value === "string" && /^[0-9a-f]{20}$/.test(value),
  "node id": (value) => typeof value === "string" && /^[0-9a-f]{16}$/.test(value),
  "lease id": (value) => typeof value === "string" && /^[0-9a-f]{32}$/.test(value),
  error: (value) => {
    const { type, message, stack } = (value ?? {}) as Record<string, unknown>;
    return [type, message, stack].every((part) => typeof part === "string");
  },
};

type Line = Readonly<Record<string, unknown>>;

/** What is wrong with a line; empty: nothing. `ids` are those of this cluster. */
function faultsOf(text: string, ids: { jobs: readonly string[]; nodes: readonly string[] }): string[] {
  const line = JSON.parse(text) as Line;
  const level = Object.keys(levels).find((name) => levels[name] === line["level"]) ?? "?";
  const known = documented.get(keyOf(String(line["role"]), level, String(line["msg"])));
  if (known === undefined) return ["a message that the guide does not have"];
  const faults: string[] = [];
  // A field that stands there twice is read by nobody as it was meant.
  if (JSON.stringify(line) !== text) faults.push("a field stands there twice");
  const allowed = [...always, ...known.allowed, ...(line["role"] === "agent" ? ["node"] : [])];
  for (const [name, value] of Object.entries(line)) {
    if (!allowed.includes(name)) faults.push(`the field ${name} is not the message's`);
    const type = typeOf.get(name);
    if (type === undefined) faults.push(`the field ${name} is not in the guide`);
    else if (!isOfType[type]!(value)) faults.push(`${name} is no ${type}`);
  }
  for (const name of [...always, ...known.needed]) {
    if (!(name in line)) faults.push(`the field ${name} is missing`);
  }
  // Whatever it names in passing, it is about.
  for (const [field, all] of [["job", ids.jobs] as const, ["node", ids.nodes] as const]) {
    const { err: _stack, cluster: _cluster, ...told } = line;
    const named = all.filter((id) => JSON.stringify(told).includes(id));
    for (const id of named)
      if (line[field] !== id) faults.push(`it names ${field} ${id} outside of "${field}"`);
  }
  return faults;
}

test("the guide has the messages that are in the sources, and no others", () => {
  const inSources = new Set<string>();
  for (const role of ["coordinator", "node-agent"]) {
    for (const file of globSync(join(root, "packages", role, "src/**/*.ts"))) {
      for (const message of messagesIn(readFileSync(file, "utf8"))) {
        inSources.add(`${role === "coordinator" ? role : "agent"}: ${message}`);
      }
    }
  }
  const inGuide = new Set(rowsOf("Log messages").map(([role, , message]) => `${role}: ${message}`));
  expect([...inSources].sort()).toEqual([...inGuide].sort());
  const used = new Set([...documented.values()].flatMap(({ allowed }) => allowed).concat(always));
  expect([...typeOf.keys()].sort()).toEqual([...used].sort());
});

/** The last argument of each call of a logger. */
function messagesIn(source: string): string[] {
  const calls = source.matchAll(/\b(?:\w*[lL]og)(?:\.(?:debug|info|warn|error)|\[[^\]]+\])\(/g);
  return [...calls].map((call) => {
    const args = argumentsFrom(source.slice(call.index + call[0].length));
    const message = /"((?:[^"\\]|\\.)+)",?\s*$/.exec(args)?.[1];
    if (message === undefined) throw new Error(`a log call without a fixed message: ${args.slice(0, 80)}`);
    return message;
  });
}

/** Up to the parenthesis that closes the call; texts with one inside are none of ours. */
function argumentsFrom(rest: string): string {
  let depth = 1;
  for (let at = 0; at < rest.length; at += 1) {
    if (rest[at] === "(") depth += 1;
    if (rest[at] === ")") depth -= 1;
    if (depth === 0) return rest.slice(0, at);
  }
  throw new Error("an open call");
}

async function live(cluster: TestCluster): Promise<string[]> {
  const { client } = cluster;
  const failing = (await runJob(client, { task: "failures.ts:odd", range: [0, 5], retries: 1 })).info.id;
  const crashing = (await runJob(client, { task: "deaths.ts:segfault", range: [3, 7] })).info.id;
  await client.retryJob(crashing);
  await client.waitJob(crashing, { timeoutMs: 60_000 });
  const [first, second, third] = cluster.agents;

  const log = new RunLog(cluster.dir);
  const items = upTo(30).map((index) => log.item(index, { isHeld: true }));
  const held = await submit(client, { task: "recorded.ts:run", items });
  const reading = collect(client, held);
  reading.catch(() => {}); // awaited below
  await log.hasBegun(3);
  await client.drainNode(second!.node);
  await first!.kill("SIGKILL");
  const draining = third!.kill("SIGTERM"); // its item may come to its end
  await cluster.restartAgent(first!);
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  log.open();
  await Promise.all([reading, draining, second!.ended()]);

  const stuck = await submit(client, { task: "failures.ts:stuckForEver", range: [0, 1] });
  await until(async () => (await client.getJob(stuck)).leased > 0, { what: "a lease" });
  await client.cancelJob(stuck, "the test has seen enough");
  await client.waitJob(stuck, { timeoutMs: 60_000 });
  const late = { task: "failures.ts:stuck", range: [3, 3], itemTimeoutMs: 200 } as const;
  const timedOut = (await runJob(client, late)).info.id;
  await client.deleteJob(failing);
  await first!.stop();
  await cluster.coordinator.stop();
  return [failing, crashing, held, stuck, timedOut];
}

test("every line of a cluster to which much happens is as the guide says", { timeout: 180_000 }, async () => {
  await using cluster = await startCluster({ agents: 3, slots: 1, logLevel: "debug" });
  const nodes = cluster.agents.map(({ node }) => node);
  const jobs = await live(cluster);
  const logs = [cluster.coordinator, ...cluster.agents].map((role) => role.log());
  const lines = logs.flatMap((log) => log.split("\n").filter(Boolean));
  const wrong = lines.flatMap((line) => {
    const faults = faultsOf(line, { jobs, nodes });
    return faults.length === 0 ? [] : [`${faults.join("; ")}: ${line}`];
  });
  expect(wrong).toEqual([]);

  // And it was much: without these lines the above would say little.
  const told = new Set(
    lines.map((line) => JSON.parse(line) as Line).map(({ role, msg }) => `${String(role)}: ${String(msg)}`),
  );
  for (const message of [
    "coordinator: coordinator ready",
    "coordinator: took over",
    "coordinator: job accepted",
    "coordinator: job opened again",
    "coordinator: job ended",
    "coordinator: items struck",
    "coordinator: node state",
    "coordinator: agent linked",
    "coordinator: agent's link is gone",
    "coordinator: coordinator ends",
    "agent: slots",
    "agent: draining",
    "agent: worker died",
    "agent: link broken",
    "agent: publishing what a former agent left",
  ]) {
    expect(told).toContain(message);
  }
  const about = (job: string, message: string): Line[] =>
    lines
      .map((line) => JSON.parse(line) as Line)
      .filter((line) => line["job"] === job && line["msg"] === message);
  const [failing, crashing, held, stuck, timedOut] = jobs as [string, string, string, string, string];
  for (const job of jobs) expect(about(job, "job accepted")).toHaveLength(1);
  expect(about(failing, "worker died")).toEqual([]);
  expect(about(crashing, "worker died").map(({ item, signal }) => ({ item, signal }))).toEqual(
    Array.from({ length: 4 }, () => ({ item: 2, signal: "SIGSEGV" })),
  );
  expect(about(crashing, "items struck")).toHaveLength(4);
  expect(about(crashing, "job ended")).toHaveLength(2);
  expect(about(held, "job ended")).toEqual([expect.objectContaining({ state: "done" })]);
  expect(about(stuck, "job ended")).toEqual([
    expect.objectContaining({ state: "cancelled", reason: "the test has seen enough" }),
  ]);
  expect(about(timedOut, "worker died")).toEqual([expect.objectContaining({ item: 0, reason: "timeout" })]);
});
