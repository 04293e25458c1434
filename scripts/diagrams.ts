/**
 * Draws docs/internals/states.md from the transition tables, so that the pictures cannot disagree with the
 * code. `node scripts/diagrams.ts` writes the file; `--check` fails when it is out of date (a test runs it).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  jobTransitions,
  leaseTransitions,
  nodeTransitions,
  phaseTransitions,
  standingTransitions,
} from "@everycore/coordinator/core";

type Table = Readonly<Record<string, Readonly<Record<string, string>>>>;

const machines: readonly { name: string; text: string; table: Table; initial: string }[] = [
  {
    name: "Job",
    text: "`packages/coordinator/src/core/transitions.ts`, moved on by `jobs.ts` and `log.ts`.",
    table: jobTransitions,
    initial: "accepting",
  },
  {
    name: "Phase of a job after a takeover",
    text: "Moved on by `takeover.ts`; a job that was submitted to this leader is `open` from the start.",
    table: phaseTransitions,
    initial: "folding",
  },
  {
    name: "Node, as the leader sees it",
    text: "Moved on by `nodes.ts`.",
    table: nodeTransitions,
    initial: "connected",
  },
  {
    name: "Standing of a node",
    text: "Moved on by `quarantine.ts`; kept in EC_NODES, also of a node that is away.",
    table: standingTransitions,
    initial: "good",
  },
  {
    name: "Lease, as the leader sees it",
    text: "Moved on by `leases.ts` and `queues.ts`.",
    table: leaseTransitions,
    initial: "sending",
  },
];

function diagram(table: Table, initial: string): string {
  const lines = ["```mermaid", "stateDiagram-v2", `  [*] --> ${initial}`];
  for (const [from, moves] of Object.entries(table)) {
    const targets = new Map<string, string[]>();
    for (const [event, to] of Object.entries(moves)) targets.set(to, [...(targets.get(to) ?? []), event]);
    for (const [to, events] of targets) lines.push(`  ${from} --> ${to}: ${events.join(", ")}`);
    if (targets.size === 0) lines.push(`  ${from} --> [*]`);
  }
  return [...lines, "```"].join("\n");
}

export function statesPage(): string {
  const parts = machines.map(
    ({ name, text, table, initial }) => `## ${name}\n\n${text}\n\n${diagram(table, initial)}\n`,
  );
  return `# States\n\nDrawn from the transition tables by \`scripts/diagrams.ts\`; do not edit.\n\n${parts.join("\n")}`;
}

export const statesPath = join(import.meta.dirname, "..", "docs", "internals", "states.md");

if (process.argv[1] === import.meta.filename) {
  const page = statesPage();
  if (!process.argv.includes("--check")) writeFileSync(statesPath, page);
  else if (readFileSync(statesPath, "utf8") !== page) {
    process.stderr.write("docs/internals/states.md is out of date: run node scripts/diagrams.ts\n");
    process.exitCode = 1;
  }
}
