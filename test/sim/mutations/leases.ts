/** Where items wait, who gets them, and what deaths mean. */
import type { Mutation } from "./mutation.ts";

const coordinator = "packages/coordinator/src/core";
const agent = "packages/node-agent/src/core";
const nodesTest = "packages/coordinator/test/core/nodes.test.ts";
const strikesTest = "packages/coordinator/test/core/strikes.test.ts";
const agentTest = "packages/node-agent/test/core-deaths.test.ts";
const reportsTest = "packages/node-agent/test/core-reports.test.ts";
/** Full histories: plan.ts. */
const first100 = [1_000_001, 1_000_100] as const;
const first400 = [1_000_001, 1_000_400] as const;

export const ofLeases: readonly Mutation[] = [
  {
    name: "a lease whose answer was lost is placed anew, without a question over the link",
    rule: "9 states of a range",
    edits: [
      {
        file: `${coordinator}/leases.ts`,
        find: 'if (node?.state !== "connected") return giveUp(state, job, lease, effects);',
        replace: "if (node !== null) return giveUp(state, job, lease, effects);",
      },
    ],
    test: "packages/coordinator/test/core/leases.test.ts",
  },
  {
    name: "a lease holds items of two rounds",
    rule: "5 reopen",
    edits: [
      {
        file: `${coordinator}/place.ts`,
        find: "  end = job.fold.roundRun(first.start, end).end;\n",
        replace: "",
      },
    ],
    seeds: first100,
    test: "packages/coordinator/test/core/place.test.ts",
  },
  {
    name: "a lease passes what the stored record reserves",
    rule: "9 takeover 4, C3",
    edits: [
      {
        file: `${coordinator}/jobs.ts`,
        find: "job.reserved = Math.max(job.reserved, job.puttingReserved);",
        replace: "job.reserved = Math.max(job.reserved, job.reserving ?? 0, job.puttingReserved);",
      },
    ],
    seeds: first400,
    test: "packages/coordinator/test/core/place.test.ts",
  },
  {
    name: "silence about a lease counts beyond the agent's counter",
    rule: "9 hello",
    edits: [
      {
        file: `${coordinator}/nodes.ts`,
        find: "} else if (lease.accepted !== undefined && lease.accepted <= said.accepted) {",
        replace: "} else {",
      },
    ],
    seeds: first400,
    test: nodesTest,
  },
  {
    name: "items asked back are leased before the agent has given them",
    rule: "9 give back",
    edits: [
      {
        file: `${coordinator}/place.ts`,
        find: "      const wantMs = (victim.ms * hungry) / (hungry + victim.node.slots);\n",
        replace:
          "      const wantMs = (victim.ms * hungry) / (hungry + victim.node.slots);\n" +
          "      const leases = [...job.leases.values()].filter((lease) => lease.grant.node === victim.node.id);\n" +
          "      const tail = leases.at(-1)?.open.last();\n" +
          "      if (tail !== undefined) returnToQueue(state, job, leases.at(-1)!, { start: tail.end - 1, end: tail.end });\n",
      },
      {
        file: `${coordinator}/place.ts`,
        find: 'import { hold, openMs, queuedItems, unqueue } from "./queues.ts";',
        replace: 'import { hold, openMs, queuedItems, returnToQueue, unqueue } from "./queues.ts";',
      },
    ],
    seeds: first400,
    test: "packages/coordinator/test/core/place.test.ts",
  },
  {
    name: "a give-back is told once, and forgotten",
    rule: "9 give back",
    edits: [{ file: `${agent}/slices.ts`, find: "  lease.gaveBack.addAll(ranges);\n", replace: "" }],
    seeds: first400,
    test: reportsTest,
  },
  {
    name: "the item that runs is given away with the rest of its slice",
    rule: "9 give back d",
    edits: [
      {
        file: `${agent}/slices.ts`,
        find: "const back = Math.max(slice.limit, slice.cursor === undefined ? slice.start : slice.cursor + 1);",
        replace: "const back = Math.max(slice.start, slice.cursor ?? slice.start);",
      },
    ],
    seeds: first100,
    test: agentTest,
  },
  {
    name: "an item that has crashed once is blamed at once",
    rule: "5 strikes",
    edits: [
      { file: `${coordinator}/strikes.ts`, find: "const crashesMax = 2;", replace: "const crashesMax = 1;" },
    ],
    seeds: first100,
    test: strikesTest,
  },
  {
    name: "a crashed item is tried again where it crashed",
    rule: "5 strikes",
    edits: [
      {
        file: `${coordinator}/place.ts`,
        find: "const fresh = able.filter((node) => !killed.has(node.id));",
        replace: "const fresh = able;",
      },
    ],
    seeds: first100,
    test: strikesTest,
  },
  {
    name: "two losses are a verdict",
    rule: "5 strikes",
    edits: [
      {
        file: `${coordinator}/strikes.ts`,
        find: "if (lost >= limits.lostStrikesMax) return",
        replace: "if (lost >= limits.lostStrikesMax - 1) return",
      },
    ],
    seeds: first400,
    test: strikesTest,
  },
  {
    name: "an item that takes nodes down never ends",
    rule: "5 strikes",
    edits: [
      {
        file: `${coordinator}/strikes.ts`,
        find: "if (lost >= limits.lostStrikesMax) return",
        replace: "if (lost < 0) return",
      },
      {
        file: `${coordinator}/strikes.ts`,
        find: "if (crashes + lost >= limits.strikesMax) return",
        replace: "if (lost < 0) return",
      },
    ],
    seeds: first400,
    test: strikesTest,
  },
  {
    name: "a suspect of taking nodes down runs among others",
    rule: "5 strikes",
    edits: [
      {
        file: `${coordinator}/queues.ts`,
        find: "if (care === 0) return job.queues.normal;",
        replace: "if (care >= 0) return job.queues.normal;",
      },
    ],
    seeds: first400,
    test: strikesTest,
  },
  {
    name: "a lost node's items are queued without a strike",
    rule: "5 strikes",
    edits: [
      {
        file: `${coordinator}/nodes.ts`,
        find: '  appendStrike(state, job, { lease: lease.grant, ranges: lease.open.toRanges(), cause: "lost" }, effects);',
        replace: '  dropLease(state, job, lease, "lose");',
      },
    ],
    seeds: first400,
    test: nodesTest,
  },
  {
    name: "a suspect waits for ever for what was cut and waits behind it",
    rule: "2 P5",
    edits: [
      {
        file: `${coordinator}/leases.ts`,
        find: "if (state.now - since < suspicionMs) {",
        replace: "if (state.now - since < suspicionMs * 1_000) {",
      },
    ],
    test: "packages/coordinator/test/core/leases.test.ts",
  },
];
