/** `everycore completion SHELL`: a script for the shell, which asks the hidden `__complete` what may come next. */
import { shortId } from "@everycore/protocol";
import { Argument, Command } from "commander";
import { complete } from "../completion.ts";
import type { Asked, Candidate } from "../completion.ts";
import { openSession } from "../session.ts";

const scripts = {
  bash: `_everycore() {
  local IFS=$'\\n'
  COMPREPLY=($("$1" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o bashdefault -o default -F _everycore everycore
`,
  zsh: `#compdef everycore
_everycore() {
  local line
  local -a found
  while IFS= read -r line; do
    found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done < <(everycore __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( \${#found} )); then _describe everycore found; else _files; fi
}
compdef _everycore everycore
`,
  fish: `function __everycore_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found (everycore __complete -- $words[2..-1] 2>/dev/null)
  if test (count $found) -gt 0
    printf '%s\\n' $found
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c everycore -f -a '(__everycore_complete)'
`,
} as const;

const shells = Object.keys(scripts) as (keyof typeof scripts)[];

export const completionCommand = (): Command =>
  new Command("completion")
    .description("print a script that completes verbs, flags and ids in your shell")
    .addArgument(new Argument("<shell>", "bash, zsh or fish").choices(shells))
    .addHelpText(
      "after",
      `
Examples:
  source <(everycore completion bash)       in ~/.bashrc
  source <(everycore completion zsh)        in ~/.zshrc, after compinit
  everycore completion fish | source        in ~/.config/fish/config.fish`,
    )
    .action((shell: keyof typeof scripts) => void process.stdout.write(scripts[shell]));

/** Hidden: a line for each candidate, its text and what it is, separated by a tab. Never a complaint: it is typing. */
export const completeCommand = (root: () => Command): Command =>
  new Command("__complete")
    .argument("[words...]")
    .allowUnknownOption()
    .action(async (words: readonly string[]) => {
      const { candidates, asked } = complete(root(), words);
      const last = words.at(-1) ?? "";
      const found = asked === undefined ? candidates : await askedFor(asked, last).catch(() => []);
      process.stdout.write(found.map(({ text, about }) => `${text}\t${about}\n`).join(""));
    });

/** A shell that waits longer than this annoys. */
const withinMs = 1_000;
const jobsMax = 200;

/** Short ids, and names beside them; the newest jobs first. A cluster that is configured or up, never one of our own. */
async function askedFor(asked: Asked, start: string): Promise<readonly Candidate[]> {
  const signal = AbortSignal.timeout(withinMs);
  await using session = await openSession({ quiet: true });
  const { cluster } = session;
  const all =
    asked === "job"
      ? (await cluster.listJobs({ limit: jobsMax }, { signal })).jobs.map(({ id, name, state }) => ({
          id,
          about: `${state} ${name}`,
        }))
      : (await cluster.listNodes({ signal })).map(({ id, host, state }) => ({
          id,
          about: `${state} ${host}`,
        }));
  return all
    .filter(({ id }) => id.startsWith(start))
    .map(({ id, about }) => ({
      text: start.length > shortId(id).length ? id : shortId(id),
      about: about.replaceAll(/[\t\r\n]/g, " "),
    }));
}
