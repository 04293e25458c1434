/** Second leases of late items (speculation.ts, queues.ts). */
import type { Mutation } from "./mutation.ts";

const coordinator = "packages/coordinator/src/core";
const speculationTest = "packages/coordinator/test/core/speculation.test.ts";
/** Wide histories: plan.ts. */
const wide100 = [1_100_001, 1_100_100] as const;

export const ofSecondTries: readonly Mutation[] = [
  {
    name: "an item runs twice though its job does not ask for it",
    rule: "9 speculation",
    edits: [
      {
        file: `${coordinator}/speculation.ts`,
        find: "if (job.spec.speculate !== true || !isLate(job)) return;",
        replace: "if (!isLate(job)) return;",
      },
    ],
    seeds: wide100,
    test: speculationTest,
  },
  {
    name: "an item that loses its first lease is queued beside its second",
    rule: "9 speculation",
    edits: [
      {
        file: `${coordinator}/queues.ts`,
        find: "  if (job.doubles.size === 0) return [range];\n",
        replace: "  if (job.doubles.size >= 0) return [range];\n",
      },
    ],
    seeds: wide100,
    test: speculationTest,
  },
  {
    name: "the second of two tries is not ended when the first has an outcome",
    rule: "9 speculation",
    edits: [
      {
        file: `${coordinator}/queues.ts`,
        find: "  if (job.doubles.size > 0) endDoubles(state, job, range, lease, effects);\n",
        replace: "",
      },
    ],
    seeds: wide100,
    test: speculationTest,
  },
  {
    name: "a second try that comes to nothing takes its item along",
    rule: "9 speculation",
    edits: [
      {
        file: `${coordinator}/queues.ts`,
        find: "  for (const part of lease.isDouble ? [] : held) {",
        replace: "  for (const part of held) {",
      },
    ],
    seeds: wide100,
    test: speculationTest,
  },
];
