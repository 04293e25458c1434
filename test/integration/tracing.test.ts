// A job's way as one trace, by a collector that reads what really travels; that it lasts over a change of leader and
// names what failed; and that nobody who wants no traces pays for them.

import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { everycore, jsonLines } from "../support/command.ts";
import { RunLog, collect, runJob, submit, taskFile, upTo, valuesOf } from "../support/jobs.ts";
import { type CollectedSpan, type OtlpCollector, startCollector } from "../support/otlp-collector.ts";
import { until } from "../support/until.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const caller = `00-${traceId}-b7ad6b7169203331-01`;

afterEach(() => void vi.unstubAllEnvs());

/** The client of this process sends its spans there too. */
function traceThisProcess(collector: OtlpCollector): void {
  vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url);
}

const idsOf = (spans: readonly CollectedSpan[]): Set<string> => new Set(spans.map(({ spanId }) => spanId));

/** Every span of the one trace hangs together: what is above each is there, up to `submit` and its caller. */
function expectOneTree(collector: OtlpCollector, root: string): void {
  const [above, below] = [
    { submit: [root], job: "submit", lease: "job", slice: "lease", item: "slice" },
    collector.spans,
  ];
  for (const span of below) {
    const parents = above[span.name as keyof typeof above];
    const allowed = typeof parents === "string" ? [...idsOf(collector.named(parents))] : parents;
    expect(allowed, `${span.name} ${span.spanId} hangs below a ${String(parents)}`).toContain(span.parentId);
  }
}

test("a job is one trace: submit, job, leases, slices, items that failed or took long", async () => {
  await using collector = await startCollector();
  await using cluster = await startCluster({ agents: 2, slots: 1, environment: collector.environment });
  const environment = {
    ...cluster.environment,
    ...collector.environment,
    TRACEPARENT: caller,
    TRACESTATE: "vendor=1",
  };
  const ended = await everycore(["map", taskFile("failures.ts:odd"), "--range", "0-9", "--quiet"], {
    environment,
  });
  expect(ended.code).toBe(1);
  await collector.has("the job and its failed items", () => {
    const items = collector.named("item").filter(({ error }) => error !== undefined);
    return collector.named("job").length === 1 && items.length === 5;
  });

  expect(new Set(collector.spans.map((span) => span.traceId))).toEqual(new Set([traceId]));
  expect(new Set(collector.spans.map((span) => span.traceState))).toEqual(new Set(["vendor=1"]));
  expectOneTree(collector, "b7ad6b7169203331");
  const kinds = new Set(
    collector.spans.map(({ service, name, kind }) => `${service} ${name} ${kind}`).sort(),
  );
  expect(kinds).toEqual(
    new Set([
      "everycore-agent item internal",
      "everycore-agent slice consumer",
      "everycore-client submit client",
      "everycore-coordinator job server",
      "everycore-coordinator lease producer",
    ]),
  );

  const [job] = collector.named("job");
  const [submitted] = collector.named("submit");
  expect(job!.attributes).toMatchObject({
    "everycore.state": "done",
    "everycore.items": 10,
    "everycore.items.value": 5,
    "everycore.items.error": 5,
  });
  expect(submitted!.attributes["everycore.job"]).toBe(job!.attributes["everycore.job"]);
  const nodes = new Set(cluster.agents.map(({ node }) => node));
  for (const slice of collector.named("slice")) {
    expect(slice.links).toEqual([slice.parentId]);
    expect(nodes).toContain(slice.attributes["everycore.node"]);
    expect(slice.error).toBeUndefined(); // its items failed, it did not
  }
  const items = collector.named("item").filter(({ error }) => error !== undefined);
  expect(new Set(items.map((item) => `${String(item.attributes["everycore.index"])} ${item.error}`))).toEqual(
    new Set([1, 3, 5, 7, 9].map((index) => `${index} RangeError: ${index} is odd`)),
  );
});

test("items that take long have their times, quick ones no span, and slices contain their items", async () => {
  await using collector = await startCollector();
  traceThisProcess(collector);
  await using cluster = await startCluster({ slots: 1, environment: collector.environment });
  const log = new RunLog(cluster.dir);
  const items = upTo(40).map((index) => log.item(index, { ms: index % 10 === 5 ? 40 : 0 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  await collect(cluster.client, job);
  await collector.has("the job's span", () => collector.named("job").length === 1);
  await collector.has("all slices", () => {
    const ran = collector.named("slice").map(({ attributes }) => Number(attributes["everycore.items"]));
    return ran.reduce((sum, count) => sum + count, 0) === 40;
  });
  const slow = collector.named("item").filter(({ startMs, endMs }) => endMs - startMs >= 40);
  expect(new Set(slow.map(({ attributes }) => attributes["everycore.index"]))).toEqual(
    new Set([5, 15, 25, 35]),
  );
  expect(collector.named("item").length).toBeLessThan(20); // a slow disk or a busy machine may make others slow
  const slices = new Map(collector.named("slice").map((slice) => [slice.spanId, slice]));
  for (const item of collector.named("item")) {
    const slice = slices.get(item.parentId)!;
    expect(item.startMs).toBeGreaterThanOrEqual(slice.startMs - 0.01);
    expect(item.endMs).toBeLessThanOrEqual(slice.endMs + 0.01);
  }
  const [jobSpan] = collector.named("job");
  const info = await cluster.client.getJob(job);
  expect(jobSpan).toMatchObject({ startMs: info.createdAt, endMs: info.endedAt });
});

test("a coordinator that is killed in the middle changes nothing of the trace", async () => {
  await using collector = await startCollector();
  traceThisProcess(collector);
  await using cluster = await startCluster({ agents: 1, slots: 1, environment: collector.environment });
  const log = new RunLog(cluster.dir);
  const items = upTo(12).map((index) => log.item(index, { isHeld: index >= 4 }));
  const job = await submit(cluster.client, { task: "recorded.ts:run", items });
  await collector.has("the submit's span", () => collector.named("submit").length === 1);
  await until(() => log.begun().some((index) => index >= 4), { what: "an item to be held" });
  await collector.has("a lease of the first leader", () => collector.named("lease").length > 0);
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  log.open();
  await collect(cluster.client, job);
  await collector.has("the job's span", () => collector.named("job").length === 1);
  const [submitted] = collector.named("submit");
  const [ended] = collector.named("job");
  expect(ended).toMatchObject({ traceId: submitted!.traceId, parentId: submitted!.spanId });
  expect(ended!.startMs).toBeLessThan(collector.named("slice")[0]!.startMs);
  // The second leader ends the job under which the first has put its leases.
  expect(new Set(collector.named("lease").map((lease) => lease.parentId))).toEqual(new Set([ended!.spanId]));
  expect(new Set(collector.spans.map((span) => span.traceId)).size).toBe(1);
});

test("a crash is an item that failed, and the lease that runs it again is linked to the one before", async () => {
  await using collector = await startCollector();
  traceThisProcess(collector);
  await using cluster = await startCluster({ agents: 2, slots: 1, environment: collector.environment });
  const { outcomes } = await runJob(cluster.client, { task: "deaths.ts:segfault", range: [0, 11] });
  expect(valuesOf(outcomes)[5]).toBe("crash");
  await collector.has("the job's span and both deaths", () => {
    const deaths = collector.named("item").filter(({ error }) => error === "killed by SIGSEGV");
    return collector.named("job").length === 1 && deaths.length === 2;
  });
  const deaths = collector.named("item").filter(({ error }) => error === "killed by SIGSEGV");
  expect(deaths.map(({ attributes }) => attributes["everycore.index"])).toEqual([5, 5]);
  const leases = deaths
    .map(({ parentId }) => collector.named("slice").find(({ spanId }) => spanId === parentId)!)
    .map((slice) => collector.named("lease").find(({ spanId }) => spanId === slice.parentId)!)
    .toSorted((one, other) => one.startMs - other.startMs);
  expect(leases[1]!.links).toEqual([leases[0]!.spanId]);
  expect(leases[0]!.links).toEqual([]);
});

test("an item over its time, and a retry: each try is an item of its own", async () => {
  await using collector = await startCollector();
  traceThisProcess(collector);
  await using cluster = await startCluster({ slots: 1, environment: collector.environment });
  await runJob(cluster.client, {
    task: "failures.ts:stuck",
    range: [2, 4],
    itemTimeoutMs: 200,
    retries: 1,
  });
  await collector.has("two tries", () => {
    return collector.named("item").filter(({ error }) => error === "timeout").length === 2;
  });
  for (const item of collector.named("item").filter(({ error }) => error === "timeout")) {
    expect(item.attributes["everycore.index"]).toBe(1);
    expect(item.endMs - item.startMs).toBeGreaterThan(150);
  }
});

describe("a task is told where it stands", () => {
  const hosts: [string, string, readonly string[] | string][] = [
    ["a program", "python", ["sh", "-c", 'echo "$TRACEPARENT $TRACESTATE"']],
    ["a program without Python", "node", ["sh", "-c", 'echo "$TRACEPARENT $TRACESTATE"']],
    ["a function in JavaScript", "", "traced.ts:place"],
    ["a function in Python", "", "traced.py:place"],
  ];
  for (const [what, execHost, task] of hosts) {
    test(what, async () => {
      await using collector = await startCollector();
      traceThisProcess(collector);
      vi.stubEnv("TRACEPARENT", caller);
      vi.stubEnv("TRACESTATE", "vendor=1");
      await using cluster = await startCluster({
        slots: 1,
        environment: collector.environment,
        ...(execHost === "" ? {} : { agentEnvironment: { EVERYCORE_EXEC_HOST: execHost } }),
      });
      // What the submitting environment has is further up in the trace, and must not win.
      const env = { PATH: process.env["PATH"]!, TRACEPARENT: caller, TRACESTATE: "vendor=1" };
      const { outcomes } = await runJob(cluster.client, {
        task,
        ...(typeof task === "string" ? {} : { env }),
        range: [0, 0],
      });
      const told = placeOf(valuesOf(outcomes)[0]);
      await collector.has("the slice", () => collector.named("slice").length === 1);
      const [slice] = collector.named("slice");
      expect(told).toEqual({ traceparent: `00-${traceId}-${slice!.spanId}-01`, tracestate: "vendor=1" });
    });
  }
});

/** As text of a program, or as what a function gave. */
function placeOf(value: unknown): unknown {
  if (!(value instanceof Uint8Array)) return value;
  const [traceparent, tracestate] = Buffer.from(value).toString().trim().split(" ");
  return { traceparent, tracestate };
}

test("roles without an endpoint hand on the trace that a job came with", async () => {
  vi.stubEnv("TRACEPARENT", caller);
  await using cluster = await startCluster({ slots: 1 });
  const { outcomes } = await runJob(cluster.client, { task: "traced.ts:place", range: [0, 0] });
  expect(valuesOf(outcomes)).toMatchObject([{ traceparent: caller }]);
});

test("a caller that does not sample is followed, and told to tasks all the same", async () => {
  await using collector = await startCollector();
  traceThisProcess(collector);
  vi.stubEnv("TRACEPARENT", caller.replace(/01$/, "00"));
  await using cluster = await startCluster({ slots: 1, environment: collector.environment });
  const { outcomes } = await runJob(cluster.client, { task: "traced.ts:place", range: [0, 0] });
  const [{ traceparent }] = valuesOf(outcomes) as [{ traceparent: string }];
  expect(traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`));
  await cluster[Symbol.asyncDispose](); // whatever waited is sent
  expect(collector.requests).toBe(0);
});

async function expectSameAsWithout(cluster: TestCluster, environment: NodeJS.ProcessEnv): Promise<void> {
  const args = ["map", taskFile("failures.ts:odd"), "--range", "0-9", "--quiet"];
  const ended = await everycore(args, { environment: { ...cluster.environment, ...environment } });
  expect(ended).toMatchObject({ code: 1, signal: null, stderr: "" });
  expect(jsonLines(ended.stdout)).toHaveLength(10);
}

test("a dead collector changes nothing, is counted, and is said once in each log", async () => {
  const collector = await startCollector();
  const { environment } = collector;
  await collector[Symbol.asyncDispose]();
  await using cluster = await startCluster({ slots: 1, environment });
  await expectSameAsWithout(cluster, environment);
  const [agent] = cluster.agents;
  const failed = async (): Promise<boolean> => {
    const counts = await Promise.all([
      cluster.coordinator.metric("everycore_trace_spans_total", 'state="failed"'),
      agent!.metric("everycore_agent_trace_spans_total", 'state="failed"'),
    ]);
    return counts.every((count) => count! > 0);
  };
  await until(failed, { withinMs: 30_000, what: "both roles to have given up on a delivery" });
  await expectSameAsWithout(cluster, environment);
  for (const role of [cluster.coordinator, agent!]) {
    const said = role
      .log()
      .split("\n")
      .filter((line) => line.includes('"msg":"traces"'));
    expect(said).toHaveLength(1);
    expect(said[0]).toContain("ECONNREFUSED");
  }
  const began = performance.now();
  expect(await agent!.stop()).toBe(0);
  expect(await cluster.coordinator.stop()).toBe(0);
  expect(performance.now() - began).toBeLessThan(5_000);
});

test("a collector that takes connections and answers nothing holds up no command and no role", async () => {
  await using collector = await startCollector();
  collector.isHanging = true;
  await using cluster = await startCluster({ slots: 1, environment: collector.environment });
  const without = await everycore(["status"], { environment: cluster.environment });
  expect(without.code).toBe(0);
  await expectSameAsWithout(cluster, collector.environment);
  await until(() => collector.requests >= 3, { what: "client, coordinator and agent to have tried" });
  const began = performance.now();
  expect(await cluster.agents[0]!.stop()).toBe(0);
  expect(await cluster.coordinator.stop()).toBe(0);
  expect(performance.now() - began).toBeLessThan(5_000);
});

/** Files of packages that the roles and a command have loaded, while a job ran. */
async function loadedBy(environment: NodeJS.ProcessEnv): Promise<string[]> {
  await using cluster = await startCluster({ slots: 1, environment });
  const file = environment["LOADED_MODULES"]!;
  const args = ["run", "--range", "0-3", "--", "true"];
  const ended = await everycore(args, { environment: { ...cluster.environment, ...environment } });
  expect(ended.code).toBe(0);
  return readFileSync(file, "utf8").split("\n");
}

test("without an endpoint nothing of OpenTelemetry's SDK is loaded", async () => {
  await using collector = await startCollector();
  await using other = await startCluster({ agents: 0 }); // for its folder
  const hook = new URL("../support/loaded-modules.mjs", import.meta.url).href;
  const watched = (name: string): NodeJS.ProcessEnv => ({
    NODE_OPTIONS: `--import=${hook}`,
    LOADED_MODULES: other.path(name),
    OTEL_SERVICE_NAME: "mine", // by itself it asks for nothing
  });
  // The API alone is loaded by prom-client, which wants it for exemplars.
  const isTracing = (path: string): boolean => /^@opentelemetry\/(?!api\/)/.test(path);
  const off = await loadedBy(watched("off"));
  expect(off.some((path) => path.startsWith("@grpc/grpc-js/"))).toBe(true);
  expect(off.filter(isTracing)).toEqual([]);
  const on = await loadedBy({ ...watched("on"), ...collector.environment });
  expect(on.filter(isTracing)).not.toEqual([]);
});
