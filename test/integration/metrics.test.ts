// What the roles export is what the guide explains, and the dashboard asks for nothing else.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { collect, submit, upTo } from "../support/jobs.ts";

const root = join(import.meta.dirname, "../..");
/** Of prom-client's own collectors. */
const isNodes = (name: string): boolean => /_(process|nodejs)_/.test(name);

/** Names of metrics by their HELP line, and samples by name and labels. */
function parse(text: string): { names: Set<string>; samples: Map<string, number> } {
  const names = new Set<string>();
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    const help = /^# HELP (\S+) \S/.exec(line)?.[1];
    if (help !== undefined && !isNodes(help)) names.add(help);
    const [, key, value] = /^([a-z_]+(?:\{[^}]*\})?) (\S+)/.exec(line) ?? [];
    if (key !== undefined) samples.set(key, Number(value));
  }
  return { names, samples };
}

/** First column of the tables below a heading of the guide. */
function documented(heading: string): Set<string> {
  const guide = readFileSync(join(root, "docs/guides/operations.md"), "utf8");
  const section = guide.split(`\n### ${heading}\n`)[1]!.split(/\n##+ /)[0]!;
  return new Set([...section.matchAll(/^\| `(everycore_\w+)` \|/gm)].map((match) => match[1]!));
}

test("each metric is explained, says what happened, and is what the dashboard asks for", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const job = await submit(cluster.client, { task: "failures.ts:odd", items: upTo(20) });
  await collect(cluster.client, job);
  const coordinator = parse((await cluster.coordinator.get("/metrics")).text);
  const agent = parse((await cluster.agents[0]!.get("/metrics")).text);
  expect([...coordinator.names].sort()).toEqual([...documented("Coordinator")].sort());
  expect([...agent.names].sort()).toEqual([...documented("Agent")].sort());

  expect(coordinator.samples.get('everycore_outcomes_total{status="value"}')).toBe(10);
  expect(coordinator.samples.get('everycore_outcomes_total{status="error"}')).toBe(10);
  expect(coordinator.samples.get('everycore_outcomes_dropped_total{reason="duplicate"}')).toBe(0);
  expect(coordinator.samples.get('everycore_jobs{state="done"}')).toBe(1);
  expect(coordinator.samples.get('everycore_items{state="queued"}')).toBe(0);
  expect(coordinator.samples.get("everycore_queue_core_seconds")).toBe(0);
  expect(coordinator.samples.get("everycore_leading")).toBe(1);
  expect(coordinator.samples.get("everycore_lease_ack_seconds_count")).toBe(
    coordinator.samples.get("everycore_leases_sent_total"),
  );
  expect(agent.samples.get("everycore_agent_record_ack_seconds_count")).toBe(
    agent.samples.get("everycore_agent_records_published_total"),
  );

  const dashboard = readFileSync(join(root, "deploy/grafana/everycore.json"), "utf8");
  JSON.parse(dashboard);
  const exported = new Set([...coordinator.names, ...agent.names]);
  for (const [name] of dashboard.matchAll(/\beverycore_\w+/g)) {
    if (!isNodes(name)) expect(exported).toContain(name.replace(/_bucket$/, ""));
    else expect((await cluster.coordinator.get("/metrics")).text).toContain(name);
  }
});

test("while nobody can run it, a job stands in the queue and in nothing else", async () => {
  await using cluster = await startCluster({ agents: 0 });
  await submit(cluster.client, { task: "arithmetic.ts:square", range: [0, 99] });
  const { samples } = parse((await cluster.coordinator.get("/metrics")).text);
  expect(samples.get('everycore_items{state="queued"}')).toBe(100);
  expect(samples.get("everycore_queue_unknown_items")).toBe(100);
  expect(samples.get('everycore_slots{state="idle"}')).toBe(0);
  expect(samples.get('everycore_outcomes_total{status="value"}')).toBe(0);
});
