/** What an audit says in the end is true, and says something of every item of its sample. */
import type { SampleSeed } from "../../packages/coordinator/src/core/sample.ts";
import { Sample } from "../../packages/coordinator/src/core/sample.ts";
import type { JobId, JobRecord, NodeId } from "@everycore/protocol";
import type { NaiveFold } from "../../packages/protocol/test/support/naive-fold.ts";
import { must } from "./breach.ts";
import type { JobPlan } from "./plan.ts";

export type { SampleSeed };

export class AuditWatch {
  checked = 0;
  differing = 0;
  readonly #sampleSeed: (job: JobId) => SampleSeed;
  readonly #isLiar: (node: NodeId) => boolean;

  constructor(options: { sampleSeed: (job: JobId) => SampleSeed; isLiar: (node: NodeId) => boolean }) {
    this.#sampleSeed = options.sampleSeed;
    this.#isLiar = options.isLiar;
  }

  judge({ id, spec }: JobPlan, { state, audit }: JobRecord, fold: NaiveFold): void {
    if (spec.audit === undefined) {
      must(audit === undefined, "P2", () => `${id} has an audit that nobody has asked for`);
      return;
    }
    must(audit !== undefined, "P1", () => `${id} has ended without its audit`);
    const { checked, differing, unchecked, items } = audit!;
    this.checked += checked;
    this.differing += differing;
    for (const { index, first, second, how } of items) {
      const told = (): string => `item ${index} of ${id} differs (${how}) between ${first} and ${second}`;
      must(first !== second, "P2", () => `${told()}, which is one node`);
      must(fold.item(index).outcome?.status === "value", "P2", () => `${told()} and has no value`);
      // A worker may die twice by chance; a value is another one only where a node lies.
      const isTrue = how !== "value" || this.#isLiar(first) !== this.#isLiar(second);
      must(isTrue, "P2", () => `${told()}, and both are honest`);
    }
    if (state !== "done") return;
    const total = fold.total ?? 0;
    const sample = new Sample(this.#sampleSeed(id), spec.audit, spec.rangeItems).within(0, total);
    const values = sample.filter((index) => fold.item(index).outcome?.status === "value").length;
    const told = (): string =>
      `${id}: ${checked} checked and ${unchecked} not, of ${values} values in the sample`;
    must(checked + unchecked === values, "P1", told);
  }
}
