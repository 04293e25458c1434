/** What counts: rules of the fold. */
import type { Mutation } from "./mutation.ts";

const fold = "packages/protocol/src/fold.ts";
const mishaps = "packages/protocol/src/mishaps.ts";
const foldTest = "packages/protocol/test/fold.test.ts";
/** Full histories: plan.ts. */
const first100 = [1_000_001, 1_000_100] as const;
const first400 = [1_000_001, 1_000_400] as const;

export const ofTheFold: readonly Mutation[] = [
  {
    name: "a resent strike counts twice",
    rule: "5 F2",
    edits: [
      {
        file: fold,
        find: "for (const fresh of this.mishaps.countOnce(piece, lease.id))",
        replace: "for (const fresh of [piece])",
      },
    ],
    seeds: first100,
    test: foldTest,
  },
  {
    name: "a resent `again` counts twice",
    rule: "5 F2",
    edits: [
      {
        file: fold,
        find: "const fresh = open ? this.mishaps.countOnce(piece, grant.id) : [];",
        replace: "const fresh = open ? [piece] : [];",
      },
    ],
    seeds: first100,
    test: foldTest,
  },
  {
    name: "a seal of which one item is covered is dropped whole",
    rule: "5 F3",
    edits: [
      {
        file: fold,
        find: "      for (const open of this.covered.missingIn(range.start, range.end)) {",
        replace:
          "      if (this.covered.intersects(range.start, range.end)) continue;\n      for (const open of this.covered.missingIn(range.start, range.end)) {",
      },
    ],
    seeds: first400,
    test: foldTest,
  },
  {
    name: "a seal of a former round ends items of the new one",
    rule: "5 F3",
    edits: [
      {
        file: fold,
        find: "if (run.round === record.round) this.#seal(seq, run, record, delta);",
        replace: "this.#seal(seq, run, record, delta);",
      },
    ],
    seeds: first400,
    test: foldTest,
  },
  {
    name: "strikes survive a reopen",
    rule: "5 F4",
    edits: [{ file: mishaps, find: "    this.#lost.clear(start, end);\n", replace: "" }],
    seeds: first400,
    test: foldTest,
  },
  {
    name: "crashes survive a reopen",
    rule: "5 F4",
    edits: [
      {
        file: mishaps,
        find: "if (index >= start && index < end) this.#crashes.delete(index);",
        replace: "if (index < 0) this.#crashes.delete(index);",
      },
    ],
    seeds: first100,
    test: foldTest,
  },
  {
    name: "tries survive a reopen",
    rule: "5 F4",
    edits: [{ file: mishaps, find: "    this.#agains.clear(start, end);\n", replace: "" }],
    seeds: first100,
    test: foldTest,
  },
  {
    name: "a reopen stored twice takes the new round's outcomes away",
    rule: "5 F4",
    edits: [
      {
        file: fold,
        find: "if (run.round < record.round) this.#reopen(run, record.round, delta);",
        replace: "if (run.round <= record.round) this.#reopen(run, record.round, delta);",
      },
    ],
    seeds: first400,
    test: foldTest,
  },
  {
    name: "the last part that contains an item counts, not the first",
    rule: "5 F1",
    edits: [
      {
        file: fold,
        find: 'else if (this.covered.intersects(piece.start, piece.end)) drop(piece, "duplicate");',
        replace: "",
      },
    ],
    seeds: first100,
    test: foldTest,
  },
  {
    name: "a span of which some items are covered is taken for the rest",
    rule: "5 F1",
    edits: [
      {
        file: fold,
        find: "const pieces = isSpan ? [{ start, end }] : this.#sameFate(start, end);",
        replace: "const pieces = this.#sameFate(start, end);",
      },
    ],
    seeds: first400,
    test: foldTest,
  },
  {
    name: "a commit of a former round counts in the new one",
    rule: "5 F1",
    edits: [
      {
        file: fold,
        find: 'if (run.round !== grant.round || run.end < piece.end) drop(piece, "stale");',
        replace: 'if (run.end < piece.end) drop(piece, "stale");',
      },
    ],
    seeds: first400,
    test: foldTest,
  },
  {
    name: "a lease's id is not looked at",
    rule: "5 F1",
    edits: [
      {
        file: fold,
        find: "if (grant === undefined || !valid[part.lease]) {",
        replace: "if (grant === undefined) {",
      },
    ],
    test: foldTest,
  },
  {
    name: "a commit covers items outside its lease",
    rule: "5 F1",
    edits: [
      {
        file: fold,
        find: 'if (!(start < end) || start < grant.start || end > grant.end) return drop(part, "invalid");',
        replace: 'if (!(start < end)) return drop(part, "invalid");',
      },
    ],
    test: foldTest,
  },
  {
    name: "a fence stops nobody",
    rule: "5 F5",
    edits: [
      {
        file: fold,
        find: "const fenced = record.byLeader && record.epoch < this.fence;",
        replace: "const fenced = false;",
      },
      {
        file: fold,
        find: "#applySeal(seq: number, record: SealRecord, delta: FoldDelta): void {\n    if (record.epoch < this.fence) {",
        replace:
          "#applySeal(seq: number, record: SealRecord, delta: FoldDelta): void {\n    if (record.epoch < 0) {",
      },
      {
        file: fold,
        find: "#applyReopen(record: ReopenRecord, delta: FoldDelta): void {\n    if (record.epoch < this.fence) {",
        replace: "#applyReopen(record: ReopenRecord, delta: FoldDelta): void {\n    if (record.epoch < 0) {",
      },
    ],
    seeds: first400,
    test: foldTest,
  },
  {
    name: "a fence stops agents too",
    rule: "5 F5",
    edits: [
      {
        file: fold,
        find: "const fenced = record.byLeader && record.epoch < this.fence;",
        replace: "const fenced = record.epoch < this.fence;",
      },
    ],
    seeds: first400,
    test: foldTest,
  },
];
