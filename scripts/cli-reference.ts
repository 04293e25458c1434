/**
 * docs/cli.md, the reference of the command: the help of every verb as the command itself prints it. Written by
 * `node scripts/cli-reference.ts`; `--check` fails when it is out of date (scripts/verify.ts and a test run it).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program } from "../packages/cli/src/program.ts";

export const referenceFile = join(import.meta.dirname, "..", "docs", "cli.md");

type Command = ReturnType<typeof program>;

const columns = 100;

const head = `# The command

Every verb with its help, as \`everycore VERB --help\` prints it. Drawn from the program by \`scripts/cli-reference.ts\`; do not edit. What the exit codes mean stands at the end; guides are in [guides](guides).
`;

const exitCodes = `## Exit codes

| code | meaning |
|---|---|
| 0 | all good |
| 1 | items failed, or the job failed, or \`--halt\` ended it |
| 2 | wrong usage, bad input, unknown id |
| 3 | cancelled or expired |
| 4 | unreachable, refused, not allowed |
| 5 | an internal error |
| 124 | \`wait --timeout\` gave up |
| 130 | a second Ctrl-C; on verbs that only look on, such as \`job watch\`, the first |
`;

export function reference(): string {
  const sections: string[] = [head];
  section(program(), "everycore", sections);
  return `${[...sections, exitCodes].join("\n")}`;
}

function section(command: Command, path: string, sections: string[]): void {
  const verbs = command.createHelp().visibleCommands(command);
  sections.push(`## ${path}\n\n\`\`\`\n${helpOf(command)}\n\`\`\`\n`);
  for (const verb of verbs) if (verb.name() !== "help") section(verb, `${path} ${verb.name()}`, sections);
}

/** With what is added before and after it. */
function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (part) => void (text += part),
    getOutHelpWidth: () => columns,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")
    .trim();
}

if (process.argv[1] === import.meta.filename) {
  const page = reference();
  if (!process.argv.includes("--check")) writeFileSync(referenceFile, page);
  else if (readFileSync(referenceFile, "utf8") !== page) {
    process.stderr.write("docs/cli.md is out of date: run node scripts/cli-reference.ts\n");
    process.exitCode = 1;
  }
}
