/** Flags of `map --inline`, and those that mean something only where there is a cluster. */
import { EverycoreError } from "@everycore/protocol";
import { Option } from "commander";
import type { Command } from "commander";
import type { DebugFlags } from "../here/debugging.ts";
import { withDebugFlags } from "../here/debugging.ts";

export interface InlineFlags extends DebugFlags {
  readonly inline?: boolean;
}

export const withInlineFlags = (command: Command): Command =>
  withDebugFlags(
    command.addOption(
      new Option(
        "--inline",
        "run in this very process, one item after the other, without a cluster: to debug",
      ),
    ),
  );

/** Flags that a map inline cannot keep, and why. */
const refused: Readonly<Record<string, string>> = {
  detach: "there is no cluster that goes on without the command",
  require: "there are no nodes to choose from",
  itemTimeout: "an item in the command's own process cannot be ended",
  retryDelay: "an item that fails is tried again at once",
  maxFailures: "the cluster keeps it; --halt now,fail=1 does so here",
  jobTimeout: "an item in the command's own process cannot be ended",
  speculate: "there is no second node",
  audit: "there is no second node",
  joblog: "no node runs the items",
  address: "there is no cluster",
  secretFile: "there is no cluster",
  name: "no job is kept",
  priority: "nothing else waits",
  ttl: "no job is kept",
  keep: "no job is kept",
};

const debugging = ["inspect", "inspectBrk", "inspectPort", "pdb"];

export function checkInlineFlags(flags: InlineFlags, command: Command): void {
  const isGiven = (name: string): boolean => command.getOptionValueSource(name) === "cli";
  const wordOf = (name: string): string =>
    command.options.find((option) => option.attributeName() === name)?.long ?? name;
  if (flags.inline !== true) {
    const given = debugging.find(isGiven);
    if (given === undefined) return;
    throw new EverycoreError("bad-input", `${wordOf(given)} means something only with --inline`, {
      hint: "items of a cluster run in its workers; one of them can be run here: everycore job replay",
    });
  }
  const [given] = Object.keys(refused).filter(isGiven);
  if (given === undefined) return;
  throw new EverycoreError("bad-input", `${wordOf(given)} does not go with --inline: ${refused[given]!}`, {
    hint: `leave ${wordOf(given)} or --inline away`,
  });
}
