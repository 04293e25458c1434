/** A bench on which items die on one node and end on others: what quarantine is tested with. */
import type { JobId } from "@everycore/protocol";
import { expect } from "vitest";
import type { Standing } from "../../src/core/model.ts";
import { CoreBench, jobId, nodeId, only } from "./core-bench.ts";

/** Nodes of one slot each, and two jobs that all of them can run. */
export function benchOf(...names: string[]): CoreBench {
  const bench = new CoreBench();
  for (const name of names) bench.report(name, { slots: 1 });
  bench.submit("x", { items: 400 });
  bench.submit("y", { items: 400 });
  return bench;
}
export const x = jobId("x");
export const y = jobId("y");

const nameOf = (id: string): string => Buffer.from(id, "hex").toString().replaceAll("\0", "");
export const answerAll = (bench: CoreBench): void => {
  for (const id of bench.nodes.keys()) bench.answer(nameOf(id));
};

/** An item of the job dies on the node; gives its index. */
export function dies(bench: CoreBench, job: JobId, on: string): number {
  answerAll(bench);
  const held = [...bench.node(on).held.values()].find(
    (lease) => lease.job === job && !lease.unfinished.isEmpty,
  );
  if (held === undefined) throw new Error(`${on} has nothing of it`);
  const index = held.unfinished.first()!.start;
  bench.strike(on, job, index);
  answerAll(bench);
  return index;
}

/** Whoever has the item commits it; gives its name. */
export function ends(
  bench: CoreBench,
  job: JobId,
  index: number,
  status: "value" | "error" = "value",
  missing?: number,
): string {
  answerAll(bench);
  for (const [id, node] of bench.nodes) {
    if (![...node.held.values()].some((held) => held.job === job && held.unfinished.has(index))) continue;
    bench.commit(nameOf(id), job, { start: index, end: index + 1 }, status, missing);
    return nameOf(id);
  }
  throw new Error(`nobody holds item ${index}`);
}

/** Items of these jobs die on the node and end well elsewhere. */
export function crash(bench: CoreBench, on: string, ...jobs: JobId[]): void {
  for (const job of jobs) expect(ends(bench, job, dies(bench, job, on))).not.toBe(on);
}

/** Time goes on, and these nodes are heard. */
export function pass(bench: CoreBench, ms: number, heard = [...bench.nodes.keys()].map(nameOf)): void {
  for (let left = ms; left > 0; left -= 2_000) {
    for (const name of heard)
      bench.feed({ kind: "nodeHeartbeat", node: nodeId(name), busy: 0, diskFull: false });
    bench.tick(Math.min(left, 2_000));
  }
}

export const standing = (bench: CoreBench, name: string): Standing =>
  bench.state.standings.get(nodeId(name))!;
export const isIn = (bench: CoreBench, name: string): boolean =>
  standing(bench, name).state === "quarantined";
export const undrain = (bench: CoreBench, name: string): ReturnType<CoreBench["feed"]> =>
  bench.feed({ kind: "undrainAsked", node: nodeId(name), ask: bench.ask() });
export const reasons = (bench: CoreBench): string[] =>
  only(bench.effects, "standingChanged").map(({ reason }) => reason);

/** A new leader, to whom these nodes report. */
export function takeOver(bench: CoreBench, ...reporting: string[]): void {
  bench.lead([...bench.nodeRecords.values()].filter(({ isGone }) => !isGone).map(({ id }) => id));
  for (const name of reporting) bench.report(name);
}
