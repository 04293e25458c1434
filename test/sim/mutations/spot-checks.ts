/** Audits: what is computed again, by whom, and what is said of it (spot-checks.ts, check-leases.ts). */
import type { Mutation } from "./mutation.ts";

const coordinator = "packages/coordinator/src/core";
const checksTest = "packages/coordinator/test/core/spot-checks.test.ts";
const first100 = [1_100_001, 1_100_100] as const;

export const ofSpotChecks: readonly Mutation[] = [
  {
    name: "a node is compared with itself",
    rule: "5 audit",
    edits: [
      {
        file: `${coordinator}/check-leases.ts`,
        find: "    if (first === node.id) continue;\n",
        replace: "",
      },
    ],
    seeds: first100,
    test: checksTest,
  },
  {
    name: "a job ends before its audit is over",
    rule: "5 audit",
    edits: [
      {
        file: `${coordinator}/jobs.ts`,
        find: '  if (job.state !== "cancelling" && isChecking(job)) return;\n',
        replace: "",
      },
    ],
    test: checksTest,
  },
  {
    name: "the last item that cannot be checked does not end its job",
    rule: "P5",
    edits: [
      {
        file: `${coordinator}/check-leases.ts`,
        find: "      maybeFinish(state, job, effects);\n",
        replace: "",
      },
    ],
    seeds: first100,
    test: checksTest,
  },
  {
    name: "one try without a value is enough to accuse a node",
    rule: "5 audit",
    edits: [
      {
        file: `${coordinator}/spot-checks.ts`,
        find: "const failuresMax = 2;",
        replace: "const failuresMax = 1;",
      },
    ],
    test: checksTest,
  },
  {
    name: "a failure that is stored twice counts twice",
    rule: "F2",
    edits: [
      {
        file: `${coordinator}/spot-checks.ts`,
        find: "  if (check.failedUnder.includes(lease.id)) return;\n",
        replace: "",
      },
    ],
    test: checksTest,
  },
  {
    name: "a try whose node was lost is waited for",
    rule: "P5",
    edits: [
      {
        file: `${coordinator}/check-leases.ts`,
        find: "      if (lease === undefined) cameToNoEnd(act, check, check.lease!);\n      else if",
        replace: "      if (lease === undefined) continue;\n      if",
      },
    ],
    seeds: first100,
    test: checksTest,
  },
  {
    name: "the sample is not of the share that was asked for",
    rule: "5 audit",
    edits: [
      {
        file: `${coordinator}/spot-checks.ts`,
        find: "  new Sample(keys.sampleSeed(id), share, spec.rangeItems);",
        replace: "  new Sample(keys.sampleSeed(id), share / 2, spec.rangeItems);",
      },
    ],
    seeds: first100,
    test: checksTest,
  },
  {
    name: "a job with an audit goes on from a checkpoint, which knows nothing of it",
    rule: "5 audit",
    edits: [
      {
        file: `${coordinator}/checkpoint.ts`,
        find: "  if (job.checks !== undefined) return;\n",
        replace: "",
      },
    ],
    seeds: first100,
  },
];
