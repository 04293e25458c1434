/** A job that no node can run is refused at submit, with what was asked for and what there is. */
import { expect, test } from "vitest";
import { CoreBench, nodeId } from "../support/core-bench.ts";
import { jobView } from "@everycore/coordinator/core";
import type { Effect } from "@everycore/coordinator/core";

const python = (version?: string): { task: { runtime: "python"; python?: string } } => ({
  task: { runtime: "python", ...(version === undefined ? {} : { python: version }) },
});

const answerOf = (effects: readonly Effect[]): unknown =>
  effects.find((effect) => effect.kind === "answer")?.answer;

const refused = (message: string): unknown => ({
  ok: false,
  code: "bad-task",
  message,
  hint: expect.stringMatching(/install it/) as string,
});

test("a version that no node has is refused, naming it and all that there are; nothing is stored", () => {
  const bench = new CoreBench();
  bench.report("a", { runtimes: ["js", "python", "python3.11", "python3.9"] });
  bench.report("b", { runtimes: ["js", "python", "python3.11", "python3.14"] });
  const { job, effects } = bench.submit("j", { ...python("3.10"), open: true });
  expect(answerOf(effects)).toEqual(refused("no node has Python 3.10; they have 3.9, 3.11, 3.14"));
  expect(bench.job(job)).toBeUndefined();
  expect(bench.records.size).toBe(0);
});

test("no Python at all is refused, with and without a version", () => {
  const bench = new CoreBench();
  bench.report("a", { runtimes: ["js", "exec"] });
  for (const [name, wanted] of [
    ["any", python()],
    ["one", python("3.11")],
  ] as const)
    expect(answerOf(bench.submit(name, { ...wanted, open: true }).effects)).toEqual(
      refused("no node has Python"),
    );
});

test("a version goes to the nodes that have it, none in particular to any", () => {
  const bench = new CoreBench();
  bench.report("a", { slots: 1, runtimes: ["python", "python3.11"] });
  bench.report("b", { slots: 1, runtimes: ["python", "python3.12"] });
  const nodesOf = (effects: readonly Effect[]): string[] =>
    effects.flatMap((effect) => (effect.kind === "sendLease" ? [effect.node] : []));
  expect(new Set(nodesOf(bench.submit("exact", { items: 40, ...python("3.12") }).effects))).toEqual(
    new Set([nodeId("b")]),
  );
  expect(nodesOf(bench.submit("any", { items: 40, ...python() }).effects)).toContain(nodeId("a"));
});

test("while nobody can know what there will be, the job is taken and waits", () => {
  const empty = new CoreBench();
  expect(answerOf(empty.submit("j", { ...python("3.11"), open: true }).effects)).toMatchObject({ ok: true });

  const bench = new CoreBench();
  bench.report("a", { runtimes: ["js"] });
  bench.report("b", { runtimes: ["python", "python3.11"] });
  bench.lead();
  bench.report("a", { runtimes: ["js"] });
  const { effects } = bench.submit("after-takeover", { ...python("3.11"), open: true });
  expect(answerOf(effects)).toMatchObject({ ok: true });
});

test("a node that is away may come back with what it has", () => {
  const bench = new CoreBench();
  bench.report("a", { runtimes: ["js"] });
  bench.report("b", { runtimes: ["python", "python3.11"] });
  bench.breakLink("b");
  expect(bench.state.nodes.get(nodeId("b"))?.state).toBe("suspected");
  const { effects } = bench.submit("j", { ...python("3.11"), open: true });
  expect(answerOf(effects)).toMatchObject({ ok: true });
});

test("a required label goes to the nodes that have it; a missing one is waited for, and said", () => {
  const bench = new CoreBench();
  bench.report("a", { labels: ["gpu=t4", "zone=x"] });
  const needs = (...require: string[]): { task: { require: string[] } } => ({ task: { require } });
  const wanting = bench.submit("j", { items: 8, ...needs("gpu=a100", "zone") });
  expect(answerOf(wanting.effects)).toMatchObject({ ok: true });
  expect(jobView(bench.state, wanting.job)?.reason).toBe(
    "blocked: no-node (no node has the label gpu=a100; they have gpu=t4, zone=x)",
  );
  bench.report("b", { labels: ["gpu=a100"] });
  expect(jobView(bench.state, wanting.job)?.reason).toBe(
    "blocked: no-node (no node has all of gpu=a100, zone)",
  );
  const effects = bench.report("c", { labels: ["gpu=a100", "zone=y"] });
  const nodes = effects.flatMap((effect) => (effect.kind === "sendLease" ? [effect.node] : []));
  expect(new Set(nodes)).toEqual(new Set([nodeId("c")]));
  bench.runAll();
  expect(bench.job(wanting.job).state).toBe("done");
});

test("a required interpreter that no node has is refused like one that the task asks for", () => {
  const bench = new CoreBench();
  bench.report("a", { runtimes: ["js", "exec", "python", "python3.12"] });
  const { effects } = bench.submit("j", { task: { require: ["python=3.11"] }, open: true });
  expect(answerOf(effects)).toEqual(refused("no node has Python 3.11; they have 3.12"));
  const fits = bench.submit("k", { task: { require: ["python=3.12"] }, open: true });
  expect(answerOf(fits.effects)).toMatchObject({ ok: true });
});
