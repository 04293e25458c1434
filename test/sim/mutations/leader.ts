/** Who leads, and what of it a new leader may believe. */
import type { Mutation } from "./mutation.ts";

const coordinator = "packages/coordinator/src/core";
const takeoverTest = "packages/coordinator/test/core/takeover.test.ts";
const nodesTest = "packages/coordinator/test/core/nodes.test.ts";
const standingTest = "packages/coordinator/test/core/standing.test.ts";
const jobsTest = "packages/coordinator/test/core/jobs.test.ts";
/** Full histories: plan.ts. */
const first100 = [1_000_001, 1_000_100] as const;
const first400 = [1_000_001, 1_000_400] as const;
/** Of these wide ones, those in which nothing may be started again have nodes that go in order. */
const wide1000 = [1_100_001, 1_101_000] as const;

export const ofTheLeader: readonly Mutation[] = [
  {
    name: "n is used again by each new leader",
    rule: "5 lease id",
    edits: [
      {
        file: `${coordinator}/leases.ts`,
        find: "n: state.epoch * 2 ** 32 + state.counter }",
        replace: "n: 2 ** 32 + state.counter }",
      },
    ],
    seeds: first400,
    test: takeoverTest,
  },
  {
    name: "no barrier at takeover: what was leased is queued before the nodes have reported",
    rule: "9 takeover 6",
    edits: [
      {
        file: `${coordinator}/takeover.ts`,
        find: "  if (state.awaited.size > 0 && state.now < state.awaitUntil) return;\n",
        replace: "",
      },
    ],
    seeds: first100,
    test: takeoverTest,
  },
  {
    name: "what nobody reported is struck, leased or not, when a node is missing",
    rule: "F6",
    edits: [
      {
        file: `${coordinator}/takeover.ts`,
        find: 'cause: "suspected" }',
        replace: 'cause: "lost" }',
      },
    ],
    seeds: first100,
    test: takeoverTest,
  },
  {
    name: "what lies below `reserved` is placed at once by a new leader",
    rule: "9 takeover 4",
    edits: [
      {
        file: `${coordinator}/takeover.ts`,
        find: "if (range.start < job.reserved) job.queues.awaiting.add(range.start, Math.min(range.end, job.reserved));",
        replace:
          "if (range.start < job.reserved) enqueue(state, job, { start: range.start, end: Math.min(range.end, job.reserved) });",
      },
    ],
    seeds: first100,
    test: takeoverTest,
  },
  {
    name: "a new leader decides before it has read the logs to their end",
    rule: "9 takeover 3",
    edits: [
      {
        file: `${coordinator}/takeover.ts`,
        find: "  if (job.fold.seq < job.foldTo || !job.stored) return false;\n  return isEnded(job.state) || job.fold.fence >= state.epoch;",
        replace: "  return job.stored || isEnded(job.state);",
      },
    ],
    seeds: first100,
    test: takeoverTest,
  },
  {
    name: "a takeover skips the fence",
    rule: "9 takeover 2",
    edits: [
      {
        file: `${coordinator}/leader-records.ts`,
        find: '  append(job, { kind: "fence", job: job.id, epoch: state.epoch }, effects);\n',
        replace: "",
      },
      {
        file: `${coordinator}/takeover.ts`,
        find: "  return isEnded(job.state) || job.fold.fence >= state.epoch;",
        replace: "  return true;",
      },
    ],
    seeds: first400,
    test: takeoverTest,
  },
  {
    name: "an old leader writes the record of a newer one",
    rule: "4 EC_JOBS",
    edits: [
      {
        file: `${coordinator}/takeover.ts`,
        find: "if (record.epoch > state.epoch) {",
        replace: "if (record.epoch < 0) {",
      },
    ],
    seeds: first400,
    test: takeoverTest,
  },
  {
    name: "a leader goes on behind the fence of a later one",
    rule: "5 F5",
    edits: [
      {
        file: `${coordinator}/log.ts`,
        find: 'if (record.kind === "fence" && record.epoch > state.epoch) {',
        replace: 'if (record.kind === "fence" && record.epoch < 0) {',
      },
    ],
    seeds: first400,
    test: takeoverTest,
  },
  {
    name: "a report is taken before what it acknowledges is folded",
    rule: "9 takeover 5",
    edits: [
      {
        file: `${coordinator}/nodes.ts`,
        find: "  if (!isFolded(state, said.acknowledged)) return;\n",
        replace: "  if (!isFolded(state, new Map())) return;\n",
      },
    ],
    seeds: first400,
    test: takeoverTest,
  },
  {
    name: "an item that was struck under a lease is adopted with it",
    rule: "5 F2",
    edits: [
      {
        file: `${coordinator}/nodes.ts`,
        find: ".flatMap((free) => job.fold.mishaps.membersOf(grant.id, free));",
        replace: ";",
      },
    ],
    seeds: first400,
    test: takeoverTest,
  },
  {
    name: "a lease is adopted for items of another round",
    rule: "5 reopen",
    edits: [
      {
        file: `${coordinator}/nodes.ts`,
        find: "    if (run.round !== grant.round) continue;\n",
        replace: "",
      },
    ],
    seeds: first400,
    test: "packages/coordinator/test/core/place.test.ts",
  },
  {
    name: "a cancel acts before its intent is stored",
    rule: "4 EC_JOBS",
    edits: [
      {
        file: `${coordinator}/jobs.ts`,
        find: "  job.intent = intent;\n  job.intentActed = false;\n  save(state, job, effects);",
        replace:
          "  job.intent = intent;\n  job.intentActed = false;\n  act(state, job, intent, effects);\n  save(state, job, effects);",
      },
    ],
    seeds: first100,
    test: jobsTest,
  },
  {
    name: "a cancel that crosses a reopen acts before its intent is stored",
    rule: "4 EC_JOBS",
    edits: [
      {
        file: `${coordinator}/log.ts`,
        find: "if (job.intentActed) sealRest(state, job, job.intent, effects);",
        replace: "sealRest(state, job, job.intent, effects);",
      },
    ],
    seeds: [1_101_101, 1_101_200],
    test: "packages/coordinator/test/core/retry.test.ts",
  },
  {
    name: "a new leader does not complete the intent that it finds",
    rule: "9 takeover 2",
    edits: [
      {
        file: `${coordinator}/takeover.ts`,
        find: "if (job.intent !== undefined && !job.intentActed && isStored) act(state, job, job.intent, effects);",
        replace: "if (job.intent !== undefined && !job.intentActed && isStored) job.intentActed = true;",
      },
    ],
    seeds: first400,
    test: takeoverTest,
  },
  {
    name: "a submit is answered before its record is stored",
    rule: "6 submit",
    edits: [
      {
        file: `${coordinator}/jobs.ts`,
        find: "  job.asks.push(event.ask);\n  state.jobs.set(id, job);",
        replace:
          '  effects.push({ kind: "answer", ask: event.ask, answer: { ok: true, job: id } });\n  state.jobs.set(id, job);',
      },
    ],
    seeds: first100,
    test: jobsTest,
  },
  {
    name: "a clock that is set back stops the leader's time",
    rule: "2 P5",
    edits: [
      {
        file: `${coordinator}/event-clock.ts`,
        find: "if (furthest !== undefined && now.wall < own) return Math.floor(own);",
        replace: "if (furthest !== undefined && now.wall < own) return now.wall;",
      },
    ],
    seeds: first400,
    test: "packages/coordinator/test/core/event-clock.test.ts",
  },
  {
    name: "a node that was forgotten and is there is not told so",
    rule: "2 P5",
    edits: [
      {
        file: `${coordinator}/nodes.ts`,
        find: '  if (node?.state === "drained") return;\n  if (node === undefined || node.state === "lost") {',
        replace:
          '  if (node === undefined || node.state === "drained") return;\n  if (node.state === "lost") {',
      },
    ],
    seeds: first400,
    test: nodesTest,
  },
  {
    name: "a node that goes in order is gone before what it committed last is folded",
    rule: "2 P3",
    edits: [
      {
        file: `${coordinator}/drains.ts`,
        find: "node.deferred !== undefined || !isFolded(state, node.leaving)) return;",
        replace: "node.deferred !== undefined) return;",
      },
    ],
    seeds: wide1000,
    test: nodesTest,
  },
  {
    name: "what a node holds of a task that it cannot load is placed anew by its word",
    rule: "2 P3",
    edits: [
      {
        file: `${coordinator}/nodes.ts`,
        find: "  job.failedOn.set(event.node, event.message);\n",
        replace: `  job.failedOn.set(event.node, event.message);
  for (const lease of [...job.leases.values()]) {
    if (lease.grant.node !== event.node) continue;
    for (const open of lease.open.toRanges()) returnToQueue(state, job, lease, open);
  }
`,
      },
    ],
    seeds: wide1000,
    test: jobsTest,
  },
  {
    name: "a node fails to load a task before its log is read, and the job is failed",
    rule: "9 takeover 3",
    edits: [
      {
        file: `${coordinator}/nodes.ts`,
        find: 'if (message === undefined || job.phase !== "open" || isEnded(job.state)) return;',
        replace: "if (message === undefined || isEnded(job.state)) return;",
      },
    ],
    seeds: wide1000,
    test: takeoverTest,
  },
  {
    name: "what counts against a node is found by a new leader in logs alone, and is gone with deleted jobs",
    rule: "5 strikes",
    edits: [
      {
        file: `${coordinator}/standing.ts`,
        find: "for (const crash of record.crashes ?? [])",
        replace: "for (const crash of record.crashes?.slice(0, 0) ?? [])",
      },
    ],
    test: standingTest,
  },
  {
    name: "a node that is waited for is written as gone",
    rule: "9 takeover 6",
    edits: [
      {
        file: `${coordinator}/standing.ts`,
        find: "node === undefined ? !state.awaited.has(id) :",
        replace: "node === undefined ? true :",
      },
    ],
    test: standingTest,
  },
];
