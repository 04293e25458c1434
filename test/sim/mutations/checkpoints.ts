/** What a new leader reads, and what it takes from a checkpoint instead (decision 0110). */
import type { Mutation } from "./mutation.ts";

const core = "packages/coordinator/src/core";
const codec = "packages/protocol/src/checkpoint-codec.ts";
const codecTest = "packages/protocol/test/checkpoint.test.ts";
const coreTest = "packages/coordinator/test/core/checkpoint.test.ts";
const takeoverTest = "packages/coordinator/test/core/takeover.test.ts";
/** Full histories: plan.ts. */
const first200 = [1_000_001, 1_000_200] as const;

export const ofCheckpoints: readonly Mutation[] = [
  {
    name: "a checkpoint forgets its strikes",
    rule: "4 checkpoints",
    edits: [
      {
        file: "packages/protocol/src/mishaps.ts",
        find: "mishaps.#lost = LevelSet.of(lost);",
        replace: "mishaps.#lost = LevelSet.of(lost.slice(1));",
      },
    ],
    seeds: first200,
    test: codecTest,
  },
  {
    name: "a checkpoint forgets under which leases an item was counted",
    rule: "5 F2",
    edits: [
      {
        file: "packages/protocol/src/mishaps.ts",
        find: "for (const [lease, ranges] of counted) mishaps",
        replace: "for (const [lease, ranges] of counted.slice(1)) mishaps",
      },
    ],
    seeds: first200,
    test: codecTest,
  },
  {
    name: "a checkpoint forgets rounds",
    rule: "5 F4",
    edits: [
      {
        file: "packages/protocol/src/fold.ts",
        find: "for (const [round, ranges] of rounds) fold",
        replace: "for (const [round, ranges] of rounds.slice(1)) fold",
      },
    ],
    seeds: first200,
    test: codecTest,
  },
  {
    name: "a checkpoint says that one more record was read",
    rule: "4 checkpoints",
    edits: [
      {
        file: "packages/protocol/src/fold.ts",
        find: "sums: { seq, fence, missing, appended,",
        replace: "sums: { seq: seq + 1, fence, missing, appended,",
      },
    ],
    seeds: first200,
    test: codecTest,
  },
  {
    name: "the ranges of a checkpoint lose their last one",
    rule: "4 checkpoints",
    edits: [{ file: codec, find: "at < given.length; at += 2", replace: "at < given.length - 2; at += 2" }],
    seeds: first200,
    test: codecTest,
  },
  {
    name: "whom a death is to be blamed on is not known behind a checkpoint",
    rule: "4 checkpoints",
    edits: [
      {
        file: `${core}/checkpoint.ts`,
        find: "  for (const [index, of] of checkpoint.suspicions) job.suspicions.set(index, [...of]);\n",
        replace: "",
      },
    ],
    test: coreTest,
  },
  {
    name: "where its input lies is not known behind a checkpoint",
    rule: "4 checkpoints",
    edits: [
      {
        file: `${core}/checkpoint.ts`,
        find: "  job.blocks.push(...checkpoint.blocks);\n",
        replace: "",
      },
    ],
    test: coreTest,
  },
  {
    name: "a leader that could not fold a record takes checkpoints all the same",
    rule: "4 checkpoints",
    edits: [
      {
        file: `${core}/log.ts`,
        find: "    // Without this record its fold is none of this log.\n    job.last.at = Number.POSITIVE_INFINITY;\n",
        replace: "",
      },
    ],
    test: coreTest,
  },
  {
    name: "records of an ended job are folded before its log is read",
    rule: "9 takeover 3",
    edits: [
      {
        file: `${core}/log.ts`,
        find: '  if (job.phase === "unread") return unread(state, job, record, effects);\n',
        replace: "",
      },
    ],
    seeds: first200,
    test: takeoverTest,
  },
  {
    name: "reports wait until the log of an ended job is read",
    rule: "2 P5",
    edits: [
      {
        file: `${core}/nodes.ts`,
        find: "[...state.folding].some((job) => !isEnded(job.state))",
        replace: "state.folding.size > 0 || [...state.active].some((job) => isEnded(job.state))",
      },
    ],
    test: takeoverTest,
  },
];
