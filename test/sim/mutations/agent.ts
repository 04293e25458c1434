/** What an agent does with a lease, a death and an outcome. */
import type { Mutation } from "./mutation.ts";

const agent = "packages/node-agent/src/core";
const agentTest = "packages/node-agent/test/core-deaths.test.ts";
const reportsTest = "packages/node-agent/test/core-reports.test.ts";
/** Full histories: plan.ts. */
const first100 = [1_000_001, 1_000_100] as const;
const first400 = [1_000_001, 1_000_400] as const;
/** Wide ones: the same with more options of jobs. */
const wide400 = [1_100_001, 1_100_400] as const;

export const ofTheAgent: readonly Mutation[] = [
  {
    name: "a worker killed for one item is held against the next",
    rule: "8 cursor",
    edits: [
      {
        file: `${agent}/workers.ts`,
        find: '(reason.kind === "timeout" && reason.item === cursor)',
        replace: 'reason.kind === "timeout"',
      },
    ],
    seeds: first400,
    test: agentTest,
  },
  {
    name: "a worker that we ended is held against its item",
    rule: "8 cursor",
    edits: [
      {
        file: `${agent}/workers.ts`,
        find: "if (!mine) return rest(cursor);",
        replace: "if (mine === undefined) return;",
      },
    ],
    seeds: first400,
    test: agentTest,
  },
  {
    name: "an item's time runs from the start of its slice",
    rule: "8 timeout",
    edits: [
      {
        file: `${agent}/slices.ts`,
        find: "if (state.now - slice.cursorAt >= timeoutMs) kill",
        replace: "if (state.now - slice.sentAt >= timeoutMs) kill",
      },
    ],
    seeds: first400,
    test: agentTest,
  },
  {
    name: "what waits of a task that does not load is kept",
    rule: "2 P5",
    edits: [
      {
        file: `${agent}/leader.ts`,
        find: 'state.drain === "draining" || job.failure !== undefined) giveJobBack',
        replace: 'state.drain === "draining") giveJobBack',
      },
    ],
    seeds: wide400,
    test: agentTest,
  },
  {
    name: "that a task does not load is said once, to whoever led then",
    rule: "2 P5",
    edits: [
      {
        file: `${agent}/jobs.ts`,
        find: "    sayFailureAgain(state.jobs.get(facts.job), facts, effects);\n",
        replace: "",
      },
    ],
    seeds: wide400,
    test: agentTest,
  },
  {
    name: "a node that goes while nobody leads goes without a goodbye",
    rule: "9 takeover 6",
    edits: [
      {
        file: `${agent}/leader.ts`,
        find: "const waits = !state.connected && state.epoch > 0 &&",
        replace: "const waits = state.epoch < 0 &&",
      },
    ],
    seeds: first100,
    test: reportsTest,
  },
  {
    name: "neighbours of a crash are forgotten",
    rule: "2 P4",
    edits: [{ file: `${agent}/workers.ts`, find: "  rest(cursor + 1);\n", replace: "" }],
    seeds: first100,
    test: agentTest,
  },
  {
    name: "of a reduced slice only what follows the crash runs again",
    rule: "5 reduction",
    edits: [
      {
        file: `${agent}/workers.ts`,
        find: "  for (const range of kept) requeue(state, slice, range);\n",
        replace: "  void kept;\n",
      },
    ],
    seeds: first400,
    test: agentTest,
  },
  {
    name: "a lease that comes twice is run twice",
    rule: "6 send",
    edits: [
      { file: `${agent}/jobs.ts`, find: "if (before !== undefined) {", replace: "if (before === -1) {" },
    ],
    seeds: first100,
    test: reportsTest,
  },
  {
    name: "a leader of a lower epoch is obeyed",
    rule: "4 epoch",
    edits: [
      {
        file: `${agent}/jobs.ts`,
        find: "if (facts.epoch < state.epoch) {",
        replace: "if (facts.epoch < 0) {",
      },
      {
        file: `${agent}/leader.ts`,
        find: "if (event.epoch < state.epoch) {",
        replace: "if (event.epoch < 0) {",
      },
    ],
    seeds: first400,
    test: reportsTest,
  },
  {
    name: "outcomes are freed when they are sent, not when they are acknowledged",
    rule: "8 spool",
    edits: [
      {
        file: `${agent}/commits.ts`,
        find: '  effects.push({ kind: "publishCommit", commit: id, segment: job.segment, record, runs });',
        replace:
          '  effects.push({ kind: "publishCommit", commit: id, segment: job.segment, record, runs });\n  effects.push({ kind: "freeOutcomes", runs });',
      },
      {
        file: `${agent}/commits.ts`,
        find: '  effects.push({ kind: "freeOutcomes", runs: commit.runs });\n  const job',
        replace: "  const job",
      },
    ],
    seeds: first400,
    test: reportsTest,
  },
  {
    name: "unacknowledged outcomes are not reported",
    rule: "9 hello",
    edits: [
      {
        file: `${agent}/jobs.ts`,
        find: "unacknowledged: lease.done.toRanges(),",
        replace: "unacknowledged: [],",
      },
    ],
    seeds: first400,
    test: reportsTest,
  },
  {
    name: "one try more than the budget",
    rule: "5 again",
    edits: [
      {
        file: `${agent}/commits.ts`,
        find: 'verdict: tried < job.task.retries ? "again" : verdict',
        replace: 'verdict: tried <= job.task.retries ? "again" : verdict',
      },
    ],
    seeds: first100,
    test: agentTest,
  },
  {
    name: "announced slices start without the leader's word",
    rule: "5 strikes",
    edits: [
      {
        file: `${agent}/slices.ts`,
        find: 'const asks = lease.mode !== "normal";',
        replace: 'const asks = lease.mode === "alone";',
      },
    ],
    seeds: first400,
    test: agentTest,
  },
  {
    name: "a slice that had not begun is blamed for its worker's death",
    rule: "8 phase",
    edits: [
      {
        file: `${agent}/workers.ts`,
        find: 'const running = event.phase === "item";',
        replace: "const running = event.phase.length > 0;",
      },
      {
        file: `${agent}/workers.ts`,
        find: "  if (cursor === undefined) return rest(slice.start);\n",
        replace: "",
      },
      {
        file: `${agent}/workers.ts`,
        find: "const cursor = sight?.cursor;",
        replace: "const cursor = sight?.cursor ?? slice.start;",
      },
    ],
    seeds: first400,
    test: agentTest,
  },
  {
    name: "a worker that dies while it loads the task is started again for ever",
    rule: "8 phase",
    edits: [
      {
        file: `${agent}/workers.ts`,
        find: '(event.phase === "load" || event.phase === "init")',
        replace: 'event.phase === "init"',
      },
    ],
    test: agentTest,
  },
  {
    name: "a dropped lease that has not begun takes the item with it that runs in front of it",
    rule: "2 P3",
    edits: [
      {
        file: `${agent}/leader.ts`,
        find: "if (waits && canBeCut && slice.cursor === undefined)",
        replace: "if (waits && canBeCut && slice.start < 0)",
      },
      {
        file: `${agent}/leader.ts`,
        find: "if (slice.start >= ownEnd(slice)) return; // cut to nothing before\n",
        replace: "",
      },
    ],
    test: agentTest,
  },
  {
    name: "a dropped lease that has begun goes on",
    rule: "9 drop",
    edits: [
      {
        file: `${agent}/slices.ts`,
        find: 'if (slice.cursor !== undefined) kill(worker, { kind: "cancel" }, effects);',
        replace: "",
      },
    ],
    test: agentTest,
  },
  {
    name: "a dropped lease is reported, and adopted by its leader",
    rule: "9 hello",
    edits: [
      {
        file: `${agent}/jobs.ts`,
        find: "if (lease.dropped) continue; // or it would be adopted, and then missed\n",
        replace: "",
      },
    ],
    test: agentTest,
  },
  {
    name: "the end of a round takes the leases of the next one with it",
    rule: "2 P5",
    edits: [
      {
        file: `${agent}/leader.ts`,
        find: "if (job === undefined || round === undefined || job.round <= round)",
        replace: "if (job === undefined || round === undefined || job.round >= 0)",
      },
    ],
    seeds: wide400,
    test: reportsTest,
  },
  {
    name: "a worker with the former code runs the items of a retry with other code",
    rule: "9 retry",
    edits: [
      {
        file: `${agent}/leader.ts`,
        find: '  for (const worker of workersOf(state, job.id)) kill(worker, { kind: "stop" }, effects);\n  job.task',
        replace: "  job.task",
      },
    ],
    seeds: wide400,
    test: "packages/node-agent/test/replaced-code.test.ts",
  },
];
