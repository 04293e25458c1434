/**
 * What may come next on a command line, read off the program itself: verbs, flags, their choices, and where a job or a
 * node is named, the ids that the cluster has. Where nothing fits the shell completes names of files.
 */
import type { Argument, Command, Option } from "commander";

export interface Candidate {
  readonly text: string;
  readonly about: string;
}

/** Things whose names only the cluster knows. */
export type Asked = "job" | "node";

export interface Completion {
  readonly candidates: readonly Candidate[];
  readonly asked: Asked | undefined;
}

const nothing: Completion = { candidates: [], asked: undefined };

/** For the words after the program's name; the last one is unfinished, maybe empty. */
export function complete(root: Command, words: readonly string[]): Completion {
  const last = words.at(-1) ?? "";
  const place = walk(root, words.slice(0, -1));
  if (place === undefined) return nothing;
  if (place.option !== undefined) return fitting(choicesOf(place.option), last);
  if (last.startsWith("-")) return fitting(flagsOf(place.command), last);
  const verbs = place.command.createHelp().visibleCommands(place.command);
  if (verbs.length > 0)
    return fitting(
      verbs.map((verb) => ({ text: verb.name(), about: verb.description() })),
      last,
    );
  const argument = place.command.registeredArguments[place.arguments];
  if (argument === undefined) return nothing;
  const name = argument.name();
  if (name === "job" || name === "node") return { candidates: [], asked: name };
  return fitting(choicesOf(argument), last);
}

const fitting = (candidates: readonly Candidate[], start: string): Completion => ({
  candidates: candidates.filter(({ text }) => text.startsWith(start)),
  asked: undefined,
});

const choicesOf = ({ argChoices }: Option | Argument): Candidate[] =>
  (argChoices ?? []).map((text) => ({ text, about: "" }));

const flagsOf = (command: Command): Candidate[] =>
  command
    .createHelp()
    .visibleOptions(command)
    .flatMap(({ long, short, description }) => {
      const text = long ?? short;
      return text === undefined ? [] : [{ text, about: description }];
    });

interface Place {
  readonly command: Command;
  /** Arguments given so far. */
  readonly arguments: number;
  /** Whose value comes next. */
  readonly option: Option | undefined;
}

/** undefined: what follows is another program's. */
function walk(root: Command, words: readonly string[]): Place | undefined {
  let command = root;
  let given = 0;
  let option: Option | undefined;
  for (const word of words) {
    if (option !== undefined) {
      option = undefined; // this was its value
    } else if (word === "--") {
      return undefined;
    } else if (word.startsWith("-")) {
      const known = command.options.find(({ long, short }) => word === long || word === short);
      if (known?.required === true) option = known;
    } else {
      const verb = command.commands.find((other) => other.name() === word);
      if (verb === undefined) given += 1;
      else command = verb;
      if (given > 0 && command.registeredArguments[0]?.name() === "program") return undefined;
    }
  }
  const isMany = command.registeredArguments.at(-1)?.variadic === true;
  const last = Math.max(0, command.registeredArguments.length - 1);
  return { command, arguments: isMany ? Math.min(given, last) : given, option };
}
