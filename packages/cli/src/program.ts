/** The verbs of the command, and how it speaks when it is used wrongly: "did you mean", exit 2. */
import { Command } from "commander";
import { completeCommand, completionCommand } from "./commands/completion.ts";
import { configCommand } from "./commands/config.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { drillCommand } from "./commands/drill.ts";
import { embeddedCommand } from "./commands/embedded.ts";
import { jobCommand } from "./commands/job.ts";
import { mapCommand } from "./commands/map.ts";
import { natsConfigCommand } from "./commands/nats-config.ts";
import { nodeCommand } from "./commands/node.ts";
import { agentCommand, coordinatorCommand } from "./commands/roles.ts";
import { runCommand } from "./commands/run.ts";
import { statusCommand } from "./commands/status.ts";
import { upCommand } from "./commands/up.ts";
import { versionHere } from "./version.ts";

export function program(): Command {
  const root = new Command("everycore")
    .description("multiprocessing that does not stop at the edge of the box")
    .enablePositionalOptions()
    .version(versionHere(), "-V, --version")
    .addHelpText("after", "\nExample:\n  everycore map square.ts --range 0-99");
  const verbs = [
    mapCommand(),
    runCommand(),
    jobCommand(),
    nodeCommand(),
    statusCommand(),
    upCommand(),
    coordinatorCommand(),
    agentCommand(),
    natsConfigCommand(),
  ];
  for (const verb of [
    ...verbs,
    doctorCommand(),
    drillCommand(),
    configCommand(),
    completionCommand(),
    versionCommand(),
  ])
    root.addCommand(verb);
  root.addCommand(completeCommand(program), { hidden: true });
  root.addCommand(embeddedCommand(), { hidden: true });
  throwInsteadOfExit(root);
  return root;
}

const versionCommand = (): Command =>
  new Command("version")
    .description("versions of everycore and of Node")
    .addHelpText("after", "\nExample:\n  everycore version")
    .action(() => {
      process.stdout.write(
        `everycore ${versionHere()} (Node ${process.versions.node}, ${process.platform}-${process.arch})\n`,
      );
    });

/** Commander would end the process itself, before stdout is written and children are ended. */
function throwInsteadOfExit(command: Command): void {
  command
    .exitOverride()
    .showSuggestionAfterError()
    .showHelpAfterError(`(everycore ${helpPath(command)}--help shows how)`);
  for (const verb of command.commands) throwInsteadOfExit(verb);
}

function helpPath(command: Command): string {
  return command.parent === null ? "" : `${helpPath(command.parent)}${command.name()} `;
}
